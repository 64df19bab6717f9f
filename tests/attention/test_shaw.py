import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.shaw import shaw_attention
from kexue_jax.attention.softmax import softmax_attention


def inputs(t=5, s=5):
    draws = np.random.default_rng(0)
    return [draws.normal(size=(2, n, 2, 4)).astype(np.float32) for n in (t, s, s)]


def tables(clip=2, scale=1.0):
    drawn = scale * np.random.default_rng(1).normal(size=(2, 2 * clip + 1, 4))
    return dict(zip(("key_table", "value_table"), np.float32(drawn), strict=True))


def slow(query, key, value, mask, key_table, value_table):
    arrays = (query, key, value, key_table, value_table)
    query, key, value, key_table, value_table = (np.float64(x) for x in arrays)
    out, clip = np.zeros(query.shape), len(key_table) // 2
    offset = key.shape[1] - query.shape[1]
    for b, t, n in np.ndindex(query.shape[:3]):
        row = [
            min(max(t + offset - s, -clip), clip) + clip for s in range(key.shape[1])
        ]
        scores = (key[b, :, n] + key_table[row]) @ query[b, t, n] / 2.0
        weights = np.where(mask[t], np.exp(scores), 0.0)
        if weights.any():
            weights /= weights.sum()
        out[b, t, n] = weights @ (value[b, :, n] + value_table[row])
    return out


@pytest.mark.parametrize(("t", "s"), [(5, 5), (2, 6), (1, 4), (4, 2)])
@pytest.mark.parametrize("is_causal", [True, False])
def test_keys_and_values_know_their_distance(t, s, is_causal):
    (q, k, v), given = inputs(t, s), tables()
    run = jax.jit(shaw_attention, static_argnames="is_causal")
    got = run(q, k, v, is_causal=is_causal, **given)
    mask = np.tri(t, s, s - t, bool) if is_causal else np.ones((t, s), bool)
    np.testing.assert_allclose(got, slow(q, k, v, mask, **given), 1e-5, 1e-5)


def test_tables_of_zeros_change_nothing():
    q, k, v = inputs()
    want = jax.jit(softmax_attention)(q, k, v)
    for given in (tables(scale=0.0), {"key_table": np.zeros((3, 4))}):
        got = jax.jit(shaw_attention)(q, k, v, **given)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_values_term_tells_every_position_of_equal_inputs():
    same = np.ones((1, 8, 1, 4), np.float32)
    given = tables()
    got = np.asarray(jax.jit(shaw_attention)(same, same, same, **given))
    apart = np.abs(got[0, :, None, 0] - got[0, None, :, 0]).max(-1) + np.eye(8)
    assert apart.min() > 1e-3
    # Without it the outputs are equal: scores alone cannot count.
    got = jax.jit(shaw_attention)(same, same, same, key_table=given["key_table"])
    np.testing.assert_allclose(got, same, rtol=1e-5)


def test_the_scores_of_equal_inputs_are_the_same_along_diagonals():
    same = np.broadcast_to(inputs()[0][:1, :1, :1], (1, 6, 1, 4))
    eye = np.eye(6, dtype=np.float32)[None, :, None]
    table = tables()["key_table"]
    weights = jax.jit(shaw_attention)(same, same, eye, key_table=table)
    scores = np.log(np.asarray(weights)[0, :, 0])
    ratio = scores - scores.diagonal()[:, None]
    np.testing.assert_allclose(ratio[1:, 1:], ratio[:-1, :-1], atol=1e-5)
    assert np.abs(ratio - ratio.T).max() > 1e-2  # left and right differ


def test_tables_of_another_shape_are_refused_by_name():
    q, k, v = inputs()
    with pytest.raises(ValueError, match=r"key_table must be .*\(4, 4\)"):
        shaw_attention(q, k, v, key_table=np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"value_table must be .*\(3, 5\)"):
        shaw_attention(
            q, k, v, key_table=np.zeros((3, 4)), value_table=np.zeros((3, 5))
        )


@pytest.mark.slow
@pytest.mark.parametrize(("t", "s"), [(1, 1), (4, 4), (16, 16)])
@pytest.mark.parametrize("heads", [1, 2])
def test_bfloat16_runs_at_every_length_with_its_gradients(t, s, heads):
    arrays = [x[:, :, :heads].astype(jnp.bfloat16) for x in inputs(t, s)]
    given = tables()

    def loss(arrays, given):
        return jnp.sum(shaw_attention(*arrays, **given).astype(jnp.float32))

    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(arrays, given)
    assert all(np.isfinite(np.float32(g)).all() for g in jax.tree.leaves(grads))
