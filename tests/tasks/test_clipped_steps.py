import functools

import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import scale_by_l0l1
from kexue_jax.tasks.clipped_steps import (
    TOYS,
    ClippedSteps,
    stable_rate,
    steps_to_rest,
)


def counts(starts, tx):
    """Steps on x^4 in float64, from each start."""
    walk = functools.partial(steps_to_rest, TOYS["quartic"].slope, tx)
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(walk))(np.array(starts, float))).tolist()


def test_single_starts_take_the_steps_that_were_counted_elsewhere():
    assert counts([2, 10, 100], scale_by_l0l1(16.0, 1.0)) == [501, 509, 599]
    paper = optax.chain(optax.clip_by_global_norm(16.0), optax.scale(1 / 160))
    assert counts([2, 10, 100], paper) == [5032, 5112, 6012]


@pytest.mark.parametrize(
    ("start", "want"), [(2.0, (1505, 3016)), (10.0, (37789, 252975))]
)
def test_fixed_rates_take_the_steps_that_were_counted_elsewhere(start, want):
    with jax.enable_x64(True):
        rates = np.array([1 / (12 * start**2), 1 / (2 * (4 * start**3 + 16))])
        walk = jax.vmap(
            lambda r: steps_to_rest(
                TOYS["quartic"].slope, optax.scale(r), start + 0 * r
            )
        )
        assert tuple(jax.jit(walk)(rates).tolist()) == want


def test_the_largest_rate_is_that_which_steps_as_high_on_the_other_side():
    for start in (2.0, 5.0):
        np.testing.assert_allclose(
            stable_rate(TOYS["quartic"], start), 1 / (2 * start**2), rtol=1e-6
        )
        np.testing.assert_allclose(
            stable_rate(TOYS["cosh"], start), 2 * start / np.sinh(start), rtol=1e-4
        )


def test_counts_stop_at_the_most_and_at_rest_there_is_no_step():
    slow = functools.partial(
        steps_to_rest, TOYS["quartic"].slope, optax.scale(1e-9), most=5
    )
    assert jax.jit(jax.vmap(slow))(np.array([2.0, 0.0], np.float32)).tolist() == [5, 0]


@pytest.mark.slow
def test_scores_are_a_function_of_the_key_and_name_what_was_asked_for(keys):
    task = ClippedSteps(
        method=scale_by_l0l1, places={"quartic": (2.0, 3.0)}, draws=4, rates=2
    )
    one, two = next(keys), next(keys)
    scores, again = task.evaluate(*task.init(one)), task.evaluate(*task.init(one))
    assert scores == again
    assert scores != task.evaluate(*task.init(two))
    assert scores["quartic/hessian"] == 1.0
    assert scores["quartic/displacement"] > 10.0
    assert len(task.exhibits(*task.init(one))) == 3


def test_settings_that_measure_nothing_are_refused():
    with pytest.raises(ValueError, match="places must be of"):
        ClippedSteps(method=scale_by_l0l1, places={"cubic": (2.0,)})
    with pytest.raises(ValueError, match="draws >= 1"):
        ClippedSteps(method=scale_by_l0l1, places={"exp": (2.0,)}, draws=0)
