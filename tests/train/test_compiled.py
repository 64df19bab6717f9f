import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.train import parallel
from kexue_jax.train.compiled import abstract_state, compile_step, pack
from kexue_jax.train.options import Options
from kexue_jax.train.step import init_state, make_step


class Line:
    def init(self, rng):
        return {"w": jax.random.normal(rng, (3,))}, {}

    def batch(self, step):
        return {"x": np.random.default_rng(step).normal(size=(8, 3)).astype("float32")}

    def loss(self, params, extras, batch, rng):
        loss = jnp.mean(jnp.square(batch["x"] @ params["w"] - 1.0))
        return loss, (extras, {"mse": loss, "rows": jnp.int32(8)})


def test_a_row_is_what_the_pure_step_gives_and_the_schedules():
    task, tx = Line(), optax.sgd(0.1)
    layout = parallel.make_layout(data=2)
    like, options = abstract_state(task, tx, 0, layout), Options(steps=2)
    placed = [parallel.place_batch(task.batch(i), layout) for i in range(2)]
    rate = optax.linear_schedule(1.0, 0.0, 4)
    compiled = compile_step(
        task, tx, options, layout, like, placed[0], schedules={"learning_rate": rate}
    )
    places = jax.tree.map(lambda x: x.sharding, like)
    state = jax.jit(lambda: init_state(task, tx, 0), out_shardings=places)()
    plain = jax.jit(lambda: init_state(task, tx, 0))()
    pure = jax.jit(make_step(task, tx, seed=0))
    for number in range(2):
        state, scores = compiled(state, placed[number])
        plain, want = pure(plain, task.batch(number))
        found = scores.read()
        assert found.pop("learning_rate") == 1.0 - number / 4
        assert found.keys() == want.keys()
        for name, value in found.items():
            np.testing.assert_allclose(value, want[name], rtol=1e-5, err_msg=name)


def test_scores_are_one_array_on_the_devices_and_numbers_by_name_on_the_host():
    scores = jax.jit(lambda: pack({"b": jnp.float32(0.1), "a": jnp.int32(7)}))()
    assert scores.numbers.shape == (2,)
    assert scores.read() == {"a": 7.0, "b": float(np.float32(0.1))}
    assert list(scores.read()) == ["a", "b"]


def test_a_score_that_is_no_scalar_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'curve': \(3,\)"):
        pack({"loss": jnp.float32(1), "curve": jnp.zeros(3)})
