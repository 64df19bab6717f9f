import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention import transformer_xl
from kexue_jax.attention.relative_shift import relative_distances
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.position.sinusoidal import sinusoidal_halves

transformer_xl_attention = jax.jit(
    transformer_xl.transformer_xl_attention, static_argnames="is_causal"
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs(t=4, s=4):
    return [normal(2, n, 2, 4, seed=i) for i, n in enumerate((t, s, s))]


def parameters(t=4, s=4):
    biases, kernel = normal(2, 2, 4, seed=3), normal(6, 2, 4, seed=4)
    rows = sinusoidal_halves(relative_distances(t, s), size=6)
    relative_key = np.einsum("ld,dnh->lnh", rows, kernel)
    names = ("content_bias", "position_bias", "relative_key")
    return dict(zip(names, (*biases, relative_key), strict=True)), kernel


def slow(query, key, value, mask, content_bias, position_bias, kernel):
    arrays = (query, key, value, content_bias, position_bias, kernel)
    query, key, value, content_bias, position_bias, kernel = map(np.float64, arrays)
    out, offset = np.zeros(query.shape), key.shape[1] - query.shape[1]
    theta = 10000.0 ** (-np.arange(0, 6, 2) / 6)
    for b, t, n in np.ndindex(query.shape[:3]):
        weights = np.zeros(key.shape[1])
        for s in np.flatnonzero(mask[t]):
            angle = (t + offset - s) * theta
            place = np.concatenate([np.sin(angle), np.cos(angle)]) @ kernel[:, n]
            score = (query[b, t, n] + content_bias[n]) @ key[b, s, n]
            score += (query[b, t, n] + position_bias[n]) @ place
            weights[s] = np.exp(score / 2.0)
        if weights.any():
            out[b, t, n] = weights / weights.sum() @ value[b, :, n]
    return out


@pytest.mark.parametrize(("t", "s"), [(4, 4), (2, 5), (3, 2)])
@pytest.mark.parametrize("is_causal", [True, False])
def test_is_the_formula_also_with_a_memory(t, s, is_causal):
    q, k, v = inputs(t, s)
    given, kernel = parameters(t, s)
    got = transformer_xl_attention(q, k, v, is_causal=is_causal, **given)
    mask = np.tri(t, s, s - t, bool) if is_causal else np.ones((t, s), bool)
    want = slow(q, k, v, mask, given["content_bias"], given["position_bias"], kernel)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_parameters_of_zero_change_nothing():
    q, k, v = inputs()
    given = jax.tree.map(np.zeros_like, parameters()[0])
    got = transformer_xl_attention(q, k, v, **given)
    want = jax.jit(softmax_attention)(q, k, v)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_memory_gives_the_rows_of_the_whole():
    q, k, v = inputs()
    given, kernel = parameters()
    want = np.asarray(transformer_xl_attention(q, k, v, is_causal=True, **given))
    rows = sinusoidal_halves(relative_distances(1, 4), size=6)
    given["relative_key"] = np.einsum("ld,dnh->lnh", rows, kernel)
    got = transformer_xl_attention(q[:, 3:], k, v, is_causal=True, **given)
    np.testing.assert_allclose(got, want[:, 3:], rtol=1e-5, atol=1e-6)


def test_biases_are_not_rounded_with_the_queries():
    q, k, v = (x.astype(jnp.bfloat16) for x in inputs())
    given = jax.tree.map(np.zeros_like, parameters()[0])
    given["content_bias"] = np.full((2, 4), 1e-3, np.float32)
    q = np.full_like(q, 2.0)  # a bfloat16 beside 2 would swallow the bias

    @jax.jit
    def loss(bias):
        out = transformer_xl_attention(q, k, v, **{**given, "content_bias": bias})
        return jnp.sum(out[..., 0].astype(jnp.float32))

    assert np.asarray(jax.grad(loss)(given["content_bias"])).any()


def test_parameters_of_another_shape_are_refused_by_name():
    q, k, v = inputs()
    given, _ = parameters()
    for name in given:
        with pytest.raises(ValueError, match=f"{name} must be"):
            transformer_xl_attention(q, k, v, **{**given, name: given[name][1:]})
