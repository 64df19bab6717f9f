import jax
import numpy as np
import pytest

from kexue_jax.optim import child_tuning_driven, child_tuning_free, largest_fraction


def test_a_drawn_part_is_made_larger_so_that_the_mean_stays():
    tx = child_tuning_free(0.3, seed=1)
    grads = np.full((40, 50), 2.0, np.float32)

    @jax.jit
    def drawn(g):
        def step(state, _):
            updates, state = tx.update(g, state)
            return state, updates

        return jax.lax.scan(step, tx.init(g), None, 50)[1]

    got = np.asarray(drawn(grads))
    np.testing.assert_allclose(np.unique(got), [0.0, 2 / 0.3], rtol=1e-6)
    assert abs(got.mean() - 2.0) < 0.02
    spread = 2.0**2 * (1 - 0.3) / 0.3
    np.testing.assert_allclose(got.var(), spread, rtol=0.02)
    assert (got[0] != got[1]).any()


def test_leaves_are_drawn_apart_and_all_is_kept_at_one():
    def both(g):
        ways = (child_tuning_free(0.5), child_tuning_free(1.0))
        return [tx.update(g, tx.init(g))[0] for tx in ways]

    grads = {"a": np.ones(64, np.float32), "b": np.ones(64, np.float32)}
    half, whole = jax.device_get(jax.jit(both)(grads))
    assert (half["a"] != half["b"]).any()
    np.testing.assert_array_equal(whole["a"], grads["a"])


def test_a_driven_child_is_the_part_with_the_largest_squares():
    fisher = {"a": np.array([[5.0, 1.0], [0.0, 4.0]]), "b": np.array([3.0, 2.0])}
    mask = largest_fraction(fisher, 0.5)
    np.testing.assert_array_equal(mask["a"], [[True, False], [False, True]])
    np.testing.assert_array_equal(mask["b"], [True, False])
    grads = {"a": np.full((2, 2), 7, np.float32), "b": np.full(2, np.nan, np.float32)}
    tx = child_tuning_driven(mask)
    got = jax.device_get(jax.jit(lambda g: tx.update(g, tx.init(g))[0])(grads))
    np.testing.assert_array_equal(got["a"], [[7, 0], [0, 7]])
    np.testing.assert_array_equal(got["b"], [np.nan, 0])


def test_masks_and_fractions_that_do_not_fit_are_refused():
    for call, message in (
        (lambda: child_tuning_free(0.0), r"keep must be in \(0, 1\], got 0.0"),
        (lambda: largest_fraction({"a": np.ones(2)}, 2.0), "keep must be in"),
        (lambda: largest_fraction({"a": np.array([np.nan])}), "must not have a nan"),
        (
            lambda: child_tuning_driven({"a": np.ones(2, bool)}).init(
                {"a": np.ones(3, np.float32)}
            ),
            r"mask has the shapes \[\(2,\)\], params \[\(3,\)\]",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert largest_fraction({}) == {}
