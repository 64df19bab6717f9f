import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from kexue_jax.train import parallel
from kexue_jax.train.compiled import abstract_state, compile_step
from kexue_jax.train.options import Options
from kexue_jax.train.step import init_state


class Layers:
    """Two layers and a mean over examples, which draws nothing."""

    def init(self, rng):
        one, two = jax.random.split(rng)
        return {
            "first": {"kernel": jax.random.normal(one, (4, 16)), "bias": jnp.zeros(16)},
            "second": {"kernel": jax.random.normal(two, (16, 1))},
        }, {"mean": jnp.zeros(16)}

    def batch(self, step):
        draw = np.random.default_rng(step)
        x = draw.normal(size=(16, 4)).astype(np.float32)
        return {"x": x, "y": np.sin(x.sum(axis=1))}

    def loss(self, params, extras, batch, rng):
        hidden = jnp.tanh(
            batch["x"] @ params["first"]["kernel"] + params["first"]["bias"][None]
        )
        guess = (hidden @ params["second"]["kernel"])[:, 0]
        loss = jnp.mean(jnp.square(guess - batch["y"]))
        return loss, ({"mean": jnp.mean(hidden, axis=0)}, {"mse": loss})


def losses(**mesh):
    task, tx, options = Layers(), optax.adam(0.01), Options(steps=5)
    layout = parallel.make_layout(**mesh)
    like = abstract_state(task, tx, 0, layout)
    shardings = jax.tree.map(lambda x: x.sharding, like)
    state = jax.jit(lambda: init_state(task, tx, 0), out_shardings=shardings)()
    step, found = None, []
    for number in range(5):
        batch = parallel.place_batch(task.batch(number), layout)
        step = step or compile_step(task, tx, options, layout, like, batch)
        state, scores = step(state, batch)
        found.append(scores.read()["loss"])
    return found, state


MESHES = {
    "data": dict(data=8),
    "data of a few": dict(data=2),
    "fsdp": dict(data=1, fsdp=8),
    "both": dict(data=2, fsdp=4),
    "tensor": dict(
        data=2,
        tensor=4,
        rules=(("first/kernel", (None, "tensor")), ("second", ("tensor", None))),
    ),
    "pmap": dict(mode="pmap", data=8),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("data", "tensor")))
        for name in MESHES
    ],
)
def test_every_mesh_gives_the_losses_of_one_device(name):
    want, alone = losses(data=1)
    found, state = losses(**MESHES[name])
    np.testing.assert_allclose(found, want, rtol=1e-6 if name != "pmap" else 1e-5)
    for x, y in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(alone.params), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_what_an_optimizer_keeps_lies_where_its_parameter_lies():
    _, state = losses(data=1, fsdp=8)
    kernel = state.params["first"]["kernel"].sharding.spec
    assert kernel == PartitionSpec(None, "fsdp")
    assert state.opt_state[0].mu["first"]["kernel"].sharding.spec == kernel
    assert state.params["second"]["kernel"].sharding.spec == PartitionSpec("fsdp", None)


def params():
    return jax.eval_shape(lambda: Layers().init(jax.random.key(0))[0])


def test_a_rule_that_matches_nothing_is_refused_with_what_there_is():
    layout = parallel.make_layout(data=1, fsdp=8, rules=(("thrid", "fsdp"),))
    with pytest.raises(ValueError, match=r"\['thrid'\] match no parameter.*first/bias"):
        parallel.place_params(params(), layout)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (("first/kernel", ("tensor", None)), "tensor = 8 does not divide 4"),
        (("first/kernel", ("tensor",)), "has 1 entries"),
        (("first/kernel", ("rows", None)), "no axes of the mesh"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(rule, message):
    layout = parallel.make_layout(data=1, tensor=8, rules=(rule,))
    with pytest.raises(ValueError, match=message):
        parallel.place_params(params(), layout)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (dict(mode="jti"), "mode must be"),
        (dict(data=-1, fsdp=-1), "only one axis may be -1"),
        (dict(data=-1, fsdp=3), "do not divide the 8 devices"),
        (dict(data=16), "ask for 16 devices"),
        (dict(data=0), "must be positive or -1"),
        (dict(mode="pmap", data=4, fsdp=2), "splits only over data"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(mesh, message):
    with pytest.raises(ValueError, match=message):
        parallel.make_layout(**mesh)


def test_a_batch_that_the_devices_do_not_divide_is_refused():
    layout = parallel.make_layout(data=8)
    with pytest.raises(ValueError, match=r"batch\['x'\] of shape \(6, 2\)"):
        parallel.place_batch({"x": np.zeros((6, 2))}, layout)
