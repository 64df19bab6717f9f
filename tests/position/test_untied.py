from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.positions import UntiedBias
from kexue_jax.position import untied

untied_bias, untied_front = jax.jit(untied.untied_bias), jax.jit(untied.untied_front)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def places(t=4, s=5):
    return normal(t, 2, 3), normal(s, 2, 3, seed=1)


def test_is_the_product_of_positions_over_the_root_of_twice_their_size():
    query, key = places()
    got = untied_bias(query, key)
    want = np.einsum("tnh,snh->nts", *map(np.float64, (query, key))) / np.sqrt(6)
    np.testing.assert_allclose(got, want[None], rtol=1e-5, atol=1e-6)


def test_a_symbol_at_the_front_has_one_number_for_all_its_places():
    to, of = np.array([7.0, 8.0]), np.array([-1.0, -2.0])
    numbers = dict(first_query=of, first_key=to)
    plain = np.asarray(untied_bias(*places()))
    got = np.asarray(untied_front(plain, np.arange(4), np.arange(5), **numbers))
    np.testing.assert_array_equal(got[..., 1:, 1:], plain[..., 1:, 1:])
    for head in range(2):
        assert (got[0, head, 0] == of[head]).all()
        assert (got[0, head, 1:, 0] == to[head]).all()


def test_with_its_scale_the_scores_are_those_of_both_products_over_their_size():
    """Content and position side by side are one vector of twice the size."""
    q, k, v = normal(3, 1, 4, 2, 3, seed=2)
    query, key = places(4, 4)
    bias, scale = untied_bias(query, key), 6**-0.5
    attend = jax.jit(softmax_attention)
    got = attend(q, k, v, bias=bias, scale=scale)
    joined = [np.concatenate([x, y[None]], -1) for x, y in ((q, query), (k, key))]
    want = attend(*joined, v)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_module_knows_places_and_its_first_token():
    sizes = dict(heads=2, head_size=3, length=9, features=8)

    def make(**more):
        made = nnx.jit(partial(UntiedBias, **sizes, **more))(rngs=nnx.Rngs(0))
        bias = nnx.jit(made)
        return lambda *positions: np.asarray(bias(*positions))

    plain = make()
    bias = plain(np.arange(4), np.arange(6))
    assert bias.shape == (1, 2, 4, 6)
    later = plain(np.arange(4) + 1, np.arange(6) + 1)
    assert np.abs(later - bias).max() > 1e-4  # absolute, not relative
    np.testing.assert_allclose(later[..., :3, :5], bias[..., 1:, 1:], rtol=1e-5)
    with_front = make(has_front=True)
    assert not with_front(np.arange(4), np.arange(6))[..., 0].any()
    # A later query meets the front by its position, wherever a window begins.
    here = with_front(np.arange(2) + 2, np.arange(4))
    whole = with_front(np.arange(4), np.arange(4))
    np.testing.assert_allclose(here, whole[..., 2:, :], rtol=1e-6)


def test_what_does_not_fit_is_refused_by_name():
    query, key = places()
    with pytest.raises(ValueError, match=r"\(4, 2, 3\) and \(5, 2, 2\)"):
        untied_bias(query, key[..., :2])
    with pytest.raises(ValueError, match=r"first_key must be \[2\], got \(3,\)"):
        untied_front(
            untied_bias(query, key),
            np.arange(4),
            np.arange(5),
            first_query=np.ones(2),
            first_key=np.ones(3),
        )
