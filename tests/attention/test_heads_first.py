import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.heads_first import heads_first_attention
from tests.attention.test_softmax import drawn, inputs, normal, slow

attend = jax.jit(heads_first_attention, static_argnames="is_causal")


@pytest.mark.parametrize("key_heads", [6, 3, 1])
def test_is_the_average_of_visible_values(key_heads):
    arrays = inputs(heads=6, key_heads=key_heads)
    mask, bias = drawn(0.5, (2, 1, 3, 5)), normal(1, 6, 3, 5, seed=5)
    mask[1, 0, 2] = False  # a query that sees nothing
    got = attend(*arrays, mask, bias=bias)
    np.testing.assert_allclose(got, slow(*arrays, mask, bias), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[1, 2], 0.0)


def test_a_causal_query_sees_the_keys_up_to_its_own():
    arrays = inputs()
    seen = np.arange(5) <= np.arange(3)[:, None] + 2
    got = attend(*arrays, is_causal=True)
    np.testing.assert_allclose(got, slow(*arrays, seen), rtol=1e-5, atol=1e-6)


def test_gradients_are_slopes_also_where_nothing_is_seen():
    arrays = inputs()
    mask = drawn(0.5, (2, 1, 3, 5))
    mask[0] = False
    change = normal(2, 3, 2, 4, seed=6)
    total = lambda *a: jnp.vdot(heads_first_attention(*a, mask), change)  # noqa: E731
    grads = jax.jit(jax.grad(total, (0, 1, 2)))(*arrays)
    step = 1e-6
    for at, grad in enumerate(grads):
        move = normal(*grad.shape, seed=7 + at).astype(np.float64)
        sides = []
        for sign in (1.0, -1.0):
            moved = [np.asarray(a, np.float64) for a in arrays]
            moved[at] = moved[at] + sign * step * move
            sides.append(np.vdot(slow(*moved, mask), change))
        slope = (sides[0] - sides[1]) / (2.0 * step)
        np.testing.assert_allclose(np.vdot(grad, move), slope, rtol=1e-4, atol=1e-5)
        assert np.isfinite(grad).all()


def test_keeps_the_dtype_and_a_scale_may_differ_between_queries():
    arrays = inputs()
    low = [jnp.asarray(a, jnp.bfloat16) for a in arrays]
    got = attend(*low)
    assert got.dtype == jnp.bfloat16
    want = slow(*(np.asarray(a, np.float32) for a in low))
    np.testing.assert_allclose(got.astype(np.float32), want, rtol=1e-2, atol=1e-2)
    scale = np.array([0.5, 1.0, 2.0], np.float32).reshape(1, 1, 3, 1)
    queries = arrays[0] * scale.reshape(1, 3, 1, 1) * 2.0  # the usual one is 1 / 2
    got = attend(*arrays, scale=scale)
    np.testing.assert_allclose(got, slow(queries, *arrays[1:]), rtol=1e-5, atol=1e-6)


def test_shapes_that_disagree_are_refused():
    query, key, value = inputs()
    with pytest.raises(ValueError, match="query, key"):
        heads_first_attention(query, key[:, :2], value)
    with pytest.raises(ValueError, match="mask"):
        heads_first_attention(query, key, value, np.ones((2, 1, 3, 4), bool))
    wrong = functools.partial(heads_first_attention, bias=normal(2, 3, 3, 5))
    with pytest.raises(ValueError, match="bias"):
        wrong(query, key, value)
