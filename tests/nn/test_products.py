import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.nn.backbone import FeedForward
from kexue_jax.nn.functional import functional
from kexue_jax.nn.products import linear_product, with_linear_products


def plain(inputs, kernel):
    numbers = (((inputs.ndim - 1,), (0,)), ((), ()))
    return linear_product(inputs, kernel, numbers)


@jax.jit
def pulled(inputs, kernel, change):
    output, pull = jax.vjp(plain, inputs, kernel)
    return output, *pull(change)


@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
@pytest.mark.parametrize("sizes", [(4, 7), (7, 4), (4, 4)])
def test_product_and_gradients_are_those_of_sums(leading, sizes):
    draws = np.random.default_rng(0)
    shapes = (*leading, sizes[0]), sizes, (*leading, sizes[1])
    x, w, g = (draws.normal(size=shape) for shape in shapes)
    rows, changes = x.reshape(-1, sizes[0]), g.reshape(-1, sizes[1])
    want = [np.zeros(s) for s in (changes.shape, rows.shape, sizes)]
    for t, d, f in np.ndindex(len(rows), *sizes):
        want[0][t, f] += rows[t, d] * w[d, f]
        want[1][t, d] += changes[t, f] * w[d, f]
        want[2][d, f] += rows[t, d] * changes[t, f]
    got = pulled(*(jnp.float32(a) for a in (x, w, g)))
    for found, right, like in zip(got, want, (g, x, w), strict=True):
        assert found.shape == like.shape
        np.testing.assert_allclose(
            found, right.reshape(like.shape), rtol=1e-5, atol=1e-6
        )


def test_dtypes_stay_and_sums_may_be_wider():
    x, w = jnp.ones((3, 300), jnp.bfloat16), jnp.ones((300, 2), jnp.bfloat16)
    numbers = (((1,), (0,)), ((), ()))

    def total(x, w):
        wide = linear_product(x, w, numbers, preferred_element_type=jnp.float32)
        return jnp.sum(wide), wide

    grads, wide = jax.grad(total, (0, 1), has_aux=True)(x, w)
    assert wide.dtype == jnp.float32
    assert [g.dtype for g in grads] == [jnp.bfloat16] * 2


def test_all_maps_of_a_model_use_it_and_the_model_stays_the_same():
    def make(*, rngs):
        return FeedForward(6, hidden=10, is_gated=True, rngs=rngs)

    changed = with_linear_products(make)
    parts = [p for _, p in nnx.iter_graph(changed(rngs=nnx.Rngs(0)))]
    maps = [p for p in parts if isinstance(p, nnx.Linear)]
    assert len(maps) == 3
    assert all(m.dot_general is linear_product for m in maps)
    x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
    found = []
    for maker in (make, changed):
        init, apply = functional(maker)
        params, extras = init(jax.random.key(0))

        def total(params, x, apply=apply, extras=extras):
            output, _ = apply(params, extras, x)
            return jnp.sum(jnp.sin(output)), output

        found.append(jax.grad(total, (0, 1), has_aux=True)(params, x))
    assert jax.tree.structure(found[0]) == jax.tree.structure(found[1])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *found
    )


def test_other_products_are_refused():
    x = jnp.ones((3, 3))
    for numbers in ((((0,), (0,)), ((), ())), (((1,), (1,)), ((), ()))):
        with pytest.raises(ValueError, match=r"must be that of \[..., D\]"):
            linear_product(x, x, numbers)
    with pytest.raises(ValueError, match="without out_sharding"):
        linear_product(x, x, (((1,), (0,)), ((), ())), out_sharding="x")
