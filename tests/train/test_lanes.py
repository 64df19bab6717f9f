import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.train import lanes
from kexue_jax.train.loop import Watchers, fit
from kexue_jax.train.options import Options
from kexue_jax.train.parallel import make_layout
from kexue_jax.train.step import Refused
from tests.reliability.tiny import Examples, Tiny

SEEDS, RATES = (0, 5), (1e-3, 1e-2)


def options(**more):
    return Options(**dict(steps=30, log_every=5, eval_every=10, save_every=30) | more)


def rule(learning_rate):
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, 5, 30)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))


def alone(folder, seed, rate, **more):
    task = Tiny(source=Examples())
    made = options(seed=seed, **more)
    return fit(task, rule(rate), made, workdir=folder, layout=make_layout(data=1))


def side_by_side(folder, seeds=SEEDS, rates=RATES, **more):
    task = lanes.Lanes(Tiny(source=Examples()), seeds)
    tx = lanes.lanes_transform([rule(rate) for rate in rates])
    return fit(task, tx, options(**more), workdir=folder, layout=make_layout(data=1))


def test_each_lane_has_the_numbers_of_a_run_of_its_own(tmp_path):
    whole = side_by_side(tmp_path)
    for lane, (seed, rate) in enumerate(zip(SEEDS, RATES, strict=True)):
        folder = tmp_path / str(lane)
        folder.mkdir()
        single = alone(folder, seed, rate)
        state = lanes.lane_state(whole.state, lane)
        assert jax.tree.structure(state) == jax.tree.structure(single.state)
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(
                np.asarray(got, np.float32),
                np.asarray(want, np.float32),
                rtol=1e-5,
                atol=1e-6,
            ),
            state,
            single.state,
        )
        rows = [lanes.lane_row(row, lane) for row in whole.rows]
        assert [row["step"] for row in rows] == [row["step"] for row in single.rows]
        for got, want in zip(rows, single.rows, strict=True):
            assert {"held/mse"} <= got.keys() or "loss" in got
            for name in got.keys() & want.keys():
                np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6)


def test_lanes_go_on_from_a_checkpoint(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    whole = side_by_side(one)
    side_by_side(two, steps=20, save_every=10)
    again = side_by_side(two)
    jax.tree.map(np.testing.assert_array_equal, again.state.params, whole.state.params)


def test_lanes_with_the_same_seed_are_the_same(tmp_path):
    state = side_by_side(tmp_path, (3, 3), (1e-3, 1e-3)).state
    jax.tree.map(lambda x: np.testing.assert_array_equal(x[0], x[1]), state.params)


class Two(Tiny):
    def loss(self, params, extras, batch, rng):
        loss, more = super().loss(params, extras, batch, rng)
        return jnp.stack([loss, loss]), more


def test_what_cannot_be_put_side_by_side_is_refused(tmp_path):
    task = lanes.Lanes(Two(source=Examples()), (0, 1))
    tx = lanes.lanes_transform([rule(1e-3)] * 2)
    with pytest.raises(Refused, match=r"lanes need a loss of shape \[\], got \(2,\)"):
        fit(task, tx, options(), workdir=tmp_path, watchers=Watchers())
    for name, value in [("best", "a"), ("micro_batches", 2), ("max_skips", 1)]:
        with pytest.raises(Refused, match=f"need {name} = "):
            lanes.check_options(options(**{name: value}))


def test_a_transform_that_all_lanes_share_is_mapped(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    tx, task = rule(1e-3), lanes.Lanes(Tiny(source=Examples()), SEEDS)
    layout = make_layout(data=1)
    mapped = lanes.lanes_transform([tx] * 2)
    shared = fit(task, mapped, options(), workdir=one, layout=layout)
    each = side_by_side(two, SEEDS, (1e-3,) * 2)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7),
        shared.state.params,
        each.state.params,
    )
