import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.positions import UntiedBias
from kexue_jax.position.untied import untied_bias, untied_front


def places(keys, t=4, s=5):
    return (jax.random.normal(next(keys), (length, 2, 3)) for length in (t, s))


def test_is_the_product_of_positions_over_the_root_of_twice_their_size(keys):
    query, key = places(keys)
    got = jax.jit(untied_bias)(query, key)
    want = np.einsum("tnh,snh->nts", *map(np.float64, (query, key))) / np.sqrt(6)
    np.testing.assert_allclose(got, want[None], rtol=1e-5, atol=1e-6)


def test_a_symbol_at_the_front_has_one_number_for_all_its_places(keys):
    to, of = jnp.array([7.0, 8.0]), jnp.array([-1.0, -2.0])
    numbers = dict(first_query=of, first_key=to)
    plain = untied_bias(*places(keys))
    got = untied_front(plain, jnp.arange(4), jnp.arange(5), **numbers)
    np.testing.assert_array_equal(got[..., 1:, 1:], plain[..., 1:, 1:])
    for head in range(2):
        assert (got[0, head, 0] == of[head]).all()
        assert (got[0, head, 1:, 0] == to[head]).all()


def test_with_its_scale_the_scores_are_those_of_both_products_over_their_size(keys):
    """Content and position side by side are one vector of twice the size."""
    q, k, v = (jax.random.normal(next(keys), (1, 4, 2, 3)) for _ in range(3))
    query, key = places(keys, 4, 4)
    bias, scale = untied_bias(query, key), 6**-0.5
    got = softmax_attention(q, k, v, bias=bias, scale=scale)
    joined = [jnp.concatenate([x, y[None]], -1) for x, y in ((q, query), (k, key))]
    want = softmax_attention(*joined, v)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_module_knows_places_and_its_first_token(keys):
    sizes = dict(heads=2, head_size=3, length=9, features=8)

    def make(**more):
        return nnx.jit(UntiedBias(**sizes, **more, rngs=nnx.Rngs(0)))

    bias = make()(jnp.arange(4), jnp.arange(6))
    assert bias.shape == (1, 2, 4, 6)
    later = make()(jnp.arange(4) + 1, jnp.arange(6) + 1)
    assert jnp.abs(later - bias).max() > 1e-4  # absolute, not relative
    np.testing.assert_allclose(later[..., :3, :5], bias[..., 1:, 1:], rtol=1e-5)
    with_front = make(has_front=True)
    assert not with_front(jnp.arange(4), jnp.arange(6))[..., 0].any()
    # A later query meets the front by its position, wherever a window begins.
    here = with_front(jnp.arange(2) + 2, jnp.arange(4))
    whole = with_front(jnp.arange(4), jnp.arange(4))
    np.testing.assert_allclose(here, whole[..., 2:, :], rtol=1e-6)


def test_what_does_not_fit_is_refused_by_name(keys):
    query, key = places(keys)
    with pytest.raises(ValueError, match=r"\(4, 2, 3\) and \(5, 2, 2\)"):
        untied_bias(query, key[..., :2])
    with pytest.raises(ValueError, match=r"first_key must be \[2\], got \(3,\)"):
        untied_front(
            untied_bias(query, key),
            jnp.arange(4),
            jnp.arange(5),
            first_query=jnp.ones(2),
            first_key=jnp.ones(3),
        )
