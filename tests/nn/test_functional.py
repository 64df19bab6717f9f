from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from kexue_jax.nn.functional import functional

INPUTS = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


class Tower(nnx.Module):
    """Twelve maps and a counter: more than ten places, so their order is at stake."""

    def __init__(self, size, *, rngs):
        self.maps = nnx.List(nnx.Linear(size, size, rngs=rngs) for _ in range(12))
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, inputs):
        self.calls[...] = self.calls[...] + 1
        for layer in self.maps:
            inputs = jnp.tanh(layer(inputs))
        return inputs

    def first(self, inputs, *, factor):
        return factor * self.maps[0](inputs)


def test_equals_the_module_that_it_views(keys):
    key = next(keys)
    init, apply = functional(partial(Tower, 3))
    params, extras = init(key)
    got, _ = apply(params, extras, INPUTS)
    want = Tower(3, rngs=nnx.Rngs(key))(INPUTS)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_everything_outside_is_dicts_of_arrays_with_string_keys(keys):
    init, _ = functional(partial(Tower, 3))
    for tree in init(next(keys)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            assert all(isinstance(part, jax.tree_util.DictKey) for part in path)
            assert all(isinstance(part.key, str) for part in path)
            assert isinstance(leaf, jax.Array)


def test_extras_are_threaded_and_arguments_unchanged(keys):
    init, apply = functional(partial(Tower, 3))
    params, extras = init(next(keys))
    inputs = jnp.ones((1, 3))
    _, once = jax.jit(apply)(params, extras, inputs)
    _, twice = jax.jit(apply)(params, once, inputs)
    assert [int(tree["calls"]) for tree in (extras, once, twice)] == [0, 1, 2]


def test_reaches_other_methods_and_their_options(keys):
    init, apply = functional(partial(Tower, 3))
    params, extras = init(next(keys))
    inputs = jnp.ones((1, 3))
    got, _ = apply(params, extras, inputs, method="first", factor=2.0)
    first = params["maps"]["0"]
    want = 2.0 * (inputs @ first["kernel"] + first["bias"].reshape(1, -1))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_gradients_reach_every_parameter(keys):
    init, apply = functional(partial(Tower, 3))
    params, extras = init(next(keys))

    def loss(params):
        return apply(params, extras, INPUTS)[0].sum()

    grads = jax.device_get(jax.jit(jax.grad(loss))(params))
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert all(leaf.any() for leaf in jax.tree.leaves(grads))


def test_the_same_key_gives_the_same_parameters(keys):
    key = next(keys)
    init, _ = functional(partial(Tower, 2))
    one, two = init(key)[0], init(key)[0]
    jax.tree.map(np.testing.assert_array_equal, one, two)
