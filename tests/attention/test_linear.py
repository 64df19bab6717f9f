import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention import linear
from kexue_jax.attention.feature_maps import (
    ScaledFeatures,
    cosine_features,
    elu_plus_one,
    exp_features,
    relu_features,
    taylor_features,
)
from kexue_jax.attention.linear import linear_attention_init
from kexue_jax.position.rotary import rotary

HOW = ("feature_map", "scale", "rotate")
linear_attention = jax.jit(
    linear.linear_attention, static_argnames=(*HOW, "is_causal", "chunk_size")
)
linear_attention_parallel = jax.jit(
    linear.linear_attention_parallel, static_argnames=HOW
)
linear_attention_step = jax.jit(
    linear.linear_attention_step, static_argnames=(*HOW, "chunk_size")
)
MAPS = (elu_plus_one, exp_features, relu_features, cosine_features, taylor_features)
FEW = [  # one whose features have a factor, one with few of them; the others are slow
    pytest.param(
        f, marks=[] if f in (exp_features, cosine_features) else pytest.mark.slow
    )
    for f in MAPS
]
SIZES = dict(batch=2, heads=2, head_size=4, value_size=3)


def inputs(t=7, s=7):
    shapes, draws = ((2, t, 2, 4), (2, s, 2, 4), (2, s, 2, 3)), np.random.default_rng(0)
    return [draws.normal(size=shape).astype(np.float32) for shape in shapes]


def eye(size):
    """Values of which the average is the matrix of weights."""
    each = np.eye(size, dtype=np.float32)[None, :, None]
    return np.broadcast_to(each, (2, size, 2, size))


@functools.partial(jax.jit, static_argnums=0)
def features_of(feature_map, x):
    features = feature_map(x)
    return features.product() if isinstance(features, ScaledFeatures) else features


def slow(query, key, value, keep, *, feature_map, is_causal=False, scale=1.0):
    """The dense matrix of similarities, in float64."""
    query, key = (
        np.float64(features_of(feature_map, x * np.float32(np.sqrt(scale))))
        for x in (query, key)
    )
    weights = np.einsum("btnm,bsnm->bnts", query, key)
    if keep is not None:
        weights = weights * keep
    if is_causal:
        t, s = weights.shape[-2:]
        weights = weights * np.tri(t, s, s - t)
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total, total, 1)
    return np.einsum("bnts,bsnv->btnv", weights, np.float64(value))


@functools.partial(jax.jit, static_argnames=HOW)
def stepwise(query, key, value, mask=None, *, feature_map, **more):
    """The recurrent form, token by token."""
    mask = jnp.ones((1, 1, 1, 1), bool) if mask is None else mask
    mask = jnp.broadcast_to(mask, (*mask.shape[:3], key.shape[1]))

    def step(state, token):
        *token, seen = (x[:, None] for x in token)
        return linear_attention_step(
            state, *token, jnp.moveaxis(seen, 1, 3), feature_map=feature_map, **more
        )

    state = linear_attention_init(**SIZES, feature_map=feature_map)
    tokens = [jnp.moveaxis(x, 1, 0) for x in (query, key, value)]
    _, output = jax.lax.scan(step, state, (*tokens, jnp.moveaxis(mask, 3, 0)))
    return jnp.moveaxis(output[:, :, 0], 0, 1)


def with_gradients(f, *arrays):
    """The result, and the gradients of its sum."""

    def run(*arrays):
        out, pull = jax.vjp(f, *arrays)
        return out, pull(jnp.ones_like(out))

    return jax.device_get(jax.jit(run)(*arrays))


chunked = functools.partial(linear_attention, is_causal=True, chunk_size=3)
FORMS = (chunked, linear_attention_parallel, stepwise)


@pytest.mark.parametrize("feature_map", FEW)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_is_the_average_by_products_of_features(
    feature_map, is_causal, chunk_size, keys
):
    q, k, v = inputs()
    how = dict(feature_map=feature_map, is_causal=is_causal, scale=0.5)
    got = linear_attention(q, k, v, chunk_size=chunk_size, **how)
    want = slow(q, k, v, None, **how)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("t", "s"), [(3, 8), (8, 3), (1, 5), (1, 1)])
def test_queries_stand_at_the_last_keys(is_causal, t, s):
    q, k, v = inputs(t, s)
    mask = np.random.default_rng(1).random((2, 1, 1, s)) < 0.6
    how = dict(feature_map=exp_features, is_causal=is_causal)
    want = slow(q, k, v, mask, **how)
    got = linear_attention(q, k, v, mask, chunk_size=2, **how)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    if is_causal:
        got = linear_attention_parallel(q, k, v, mask, feature_map=exp_features)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        assert not np.asarray(got)[:, : max(t - s, 0)].any()


@pytest.mark.parametrize(
    ("feature_map", "rotate"),
    [
        (exp_features, None),
        (elu_plus_one, rotary),
        pytest.param(elu_plus_one, None, marks=pytest.mark.slow),
        pytest.param(cosine_features, None, marks=pytest.mark.slow),
        pytest.param(exp_features, rotary, marks=pytest.mark.slow),
        pytest.param(cosine_features, rotary, marks=pytest.mark.slow),
    ],
)
def test_the_three_causal_forms_agree_in_value_and_gradient(feature_map, rotate):
    if rotate is not None and feature_map is cosine_features:
        feature_map = taylor_features  # one plus four features have no halves
        rotate = functools.partial(rotary_of_evens, feature_map)
    q, k, v = inputs()
    mask = np.ones((2, 1, 1, 7), bool)
    mask[0, ..., :2] = mask[1, ..., 4] = False
    weight = np.random.default_rng(1).normal(size=v.shape).astype(np.float32)

    def result(form):
        attend = functools.partial(form, feature_map=feature_map, rotate=rotate)
        out, pull = jax.vjp(lambda *x: attend(*x, mask), q, k, v)
        return out, *pull(weight)

    want = jax.jit(functools.partial(result, linear_attention_parallel))()
    for form in (chunked, stepwise):
        for got, expected in zip(
            jax.jit(functools.partial(result, form))(), want, strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


def rotary_of_evens(feature_map, features, positions):
    """Rotates all but the first of an odd number of features."""
    first, rest = features[..., :1], features[..., 1:]
    return jnp.concatenate([first, rotary(rest, positions)], axis=-1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("feature_map", FEW)
def test_nothing_leaks_from_the_future(form, feature_map):
    q, k, v = inputs()
    before = np.asarray(form(q, k, v, feature_map=feature_map))
    for size in (3.0, 10.0, 100.0):
        times = np.where(np.arange(7) == 6, np.float32(size), 1)[:, None, None]
        after = np.asarray(form(q, k * times, v * times, feature_map=feature_map))
        np.testing.assert_allclose(after[:, :-1], before[:, :-1], atol=1e-6, rtol=0)
        assert np.isfinite(after).all()


def test_a_chunk_hears_nothing_of_its_last_key_to_the_last_bit():
    q, k, v = inputs()
    before = np.asarray(chunked(q, k, v, feature_map=exp_features))
    k[:, -1] = 1e4
    after = np.asarray(chunked(q, k, v, feature_map=exp_features))
    np.testing.assert_array_equal(after[:, :-1], before[:, :-1])


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_size_of_keys_and_queries_may_be_anything_for_exp_features(is_causal):
    q, k, v = inputs()
    lift = np.float32([-200.0, 300.0, 0.0, 150.0, 90.0, -90.0, 200.0])[:, None, None]
    attend = functools.partial(
        linear_attention, feature_map=exp_features, is_causal=is_causal, chunk_size=2
    )
    np.testing.assert_allclose(
        attend(q + 500.0, k, v), attend(q, k, v), rtol=2e-4, atol=2e-5
    )
    got = attend(q, k + lift, v)
    power = np.float64(q)[:, :, None] + np.float64(k + lift)[:, None]
    power = np.where(
        np.tri(7, dtype=bool)[None, :, :, None, None] | (not is_causal), power, -np.inf
    )
    power = np.exp(power - power.max(axis=(2, 4), keepdims=True)).sum(-1)
    power = power / power.sum(2, keepdims=True)
    want = np.einsum("btsn,bsnv->btnv", power, np.float64(v))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("feature_map", [elu_plus_one, exp_features])
def test_hidden_tokens_change_nothing_whatever_they_hold(feature_map, is_causal):
    q, k, v = inputs()
    how = dict(feature_map=feature_map, is_causal=is_causal, chunk_size=3)
    junk = np.full((2, 2, 2, 4), np.nan, np.float32)
    junk[0] = np.inf
    longer = [np.concatenate([junk[..., : x.shape[-1]], x], axis=1) for x in (k, v)]
    mask = (np.arange(9) >= 2)[None, None, None]
    out, grads = with_gradients(
        lambda *x: linear_attention(*x, mask, **how), q, *longer
    )
    want = linear_attention(q, k, v, **how)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)
    assert all(np.isfinite(g).all() for g in grads)
    assert not grads[1][:, :2].any()
    assert not grads[2][:, :2].any()


@pytest.mark.slow
@pytest.mark.parametrize("form", [linear_attention, *FORMS])
@pytest.mark.parametrize("feature_map", [elu_plus_one, exp_features])
def test_a_query_without_keys_gets_zeros_and_zero_gradients(form, feature_map):
    nothing = np.zeros((1, 1, 1, 7), bool)
    attend = functools.partial(form, mask=nothing, feature_map=feature_map)
    out, grads = with_gradients(attend, *inputs())
    assert not out.any()
    assert all(np.isfinite(g).all() and not g.any() for g in grads)


@pytest.mark.parametrize("size", [1e-12, 1e-16])
def test_tiny_similarities_keep_their_gradients(size):
    q, k, v = inputs()

    def attend(query, tiny):
        def feature_map(x):
            return elu_plus_one(x) * tiny

        return linear.linear_attention(query, k, v, feature_map=feature_map)

    slope = jax.jit(jax.jacrev(attend))
    want = slope(q, np.float32(1.0))
    np.testing.assert_allclose(slope(q, np.float32(size)), want, rtol=1e-4, atol=1e-5)


def test_a_factor_of_the_features_of_a_query_cancels():
    q, k, v = inputs()
    sizes = np.random.default_rng(1).uniform(1.0, 9.0, (2, 7, 2, 1)).astype(np.float32)
    positive = functools.partial(relu_features, eps=0.0)
    got = linear_attention(q * sizes, k, v, feature_map=positive)
    want = linear_attention(q, k, v, feature_map=positive)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("feature_map", FEW)
def test_weights_are_not_negative_and_sum_to_one(feature_map):
    q, k, _ = inputs()
    weights = np.asarray(linear_attention(q, k, eye(7), feature_map=feature_map))
    assert (weights > -1e-6).all()
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


def test_the_first_causal_query_gets_the_first_value():
    q, k, v = inputs()
    for form in FORMS:
        first = np.asarray(form(q, k, v, feature_map=exp_features))[:, 0]
        np.testing.assert_allclose(first, v[:, 0], rtol=1e-5)


def test_rotation_turns_the_numerator_alone_and_sees_distances_only():
    q, k, v = inputs()
    features = [features_of(elu_plus_one, x) for x in (q, k)]
    turned = [jax.jit(rotary)(x, np.arange(7)) for x in features]
    above = np.einsum("btnm,bsnm->bnts", *map(np.float64, turned))
    below = np.einsum("btnm,bsnm->bnt", *map(np.float64, features))
    want = np.einsum("bnts,bsnv->btnv", above / below[..., None], np.float64(v))
    got = linear_attention(q, k, v, rotate=rotary, chunk_size=3)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)

    def later(features, positions):
        return rotary(features, positions + 11)

    moved = linear_attention(q, k, v, rotate=later)
    np.testing.assert_allclose(moved, want, rtol=1e-4, atol=1e-5)


def test_the_cosine_form_is_exact_if_queries_and_keys_are_rotated():
    q, k = (jax.jit(rotary)(x, np.arange(7)) for x in inputs()[:2])
    weights = np.asarray(
        linear_attention(q, k, eye(7), feature_map=cosine_features, is_causal=True)
    )
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert (weights > -1e-6).all()


def test_second_order_features_give_taylor_softmax_attention():
    q, k, v = inputs()
    for is_causal in (False, True):
        got = linear_attention(
            q, k, v, feature_map=taylor_features, scale=0.5, is_causal=is_causal
        )
        scores = np.einsum("btnh,bsnh->bnts", np.float64(q), np.float64(k)) / 2
        weights = (1 + scores + scores**2 / 2) * (np.tri(7) if is_causal else 1)
        weights = weights / weights.sum(-1, keepdims=True)
        want = np.einsum("bnts,bsnv->btnv", weights, np.float64(v))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_rank_of_the_matrix_is_the_number_of_features_unless_it_is_causal():
    q, k, each = *inputs(32, 32)[:2], eye(32)
    for feature_map, rank in ((elu_plus_one, 4), (cosine_features, 5)):
        matrix = np.float64(linear_attention(q, k, each, feature_map=feature_map))
        assert np.linalg.matrix_rank(matrix[0, :, 0], tol=1e-4) == rank
    causal = np.float64(linear_attention(q, k, each, is_causal=True))
    assert np.linalg.matrix_rank(causal[0, :, 0], tol=1e-4) == 32


def test_the_state_takes_a_prompt_and_then_one_token_at_a_time():
    q, k, v = inputs()
    want = np.asarray(chunked(q, k, v, feature_map=exp_features))
    state = linear_attention_init(**SIZES, feature_map=exp_features)
    step = functools.partial(linear_attention_step, feature_map=exp_features)
    sizes = jax.tree.map(jnp.shape, state)
    state, first = step(state, q[:, :5], k[:, :5], v[:, :5], chunk_size=2)
    np.testing.assert_allclose(first, want[:, :5], rtol=1e-5, atol=1e-6)
    for t in (5, 6):
        here = slice(t, t + 1)
        state, out = step(state, q[:, here], k[:, here], v[:, here])
        np.testing.assert_allclose(out, want[:, here], rtol=1e-5, atol=1e-6)
    assert state.position == 7
    assert jax.tree.map(jnp.shape, state) == sizes


@pytest.mark.parametrize("feature_map", [elu_plus_one, exp_features])
def test_bfloat16_stays_near_float32_under_vmap_and_keeps_its_dtype(feature_map):
    q, k, v = inputs()
    half = [x.astype(jnp.bfloat16)[None] for x in (q, k, v)]
    for is_causal in (False, True):
        attend = functools.partial(
            linear_attention, feature_map=feature_map, is_causal=is_causal, chunk_size=3
        )
        got = np.asarray(jax.vmap(attend)(*half))[0]
        assert got.dtype == jnp.bfloat16
        want = attend(*(x[0].astype(np.float32) for x in half))
        np.testing.assert_allclose(np.float32(got), want, rtol=1e-2, atol=1e-2)


def test_features_of_the_whole_length_are_never_stored():
    q = jax.ShapeDtypeStruct((1, 4096, 2, 16), jnp.float32)

    def loss(query, key, value):
        return linear.linear_attention(
            query, key, value, feature_map=taylor_features, is_causal=True
        ).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, q, q).compile()
    features = 4096 * 2 * 153 * 4  # bytes, of the queries alone
    states = features * 16 // 64
    inner = 4096 * 2 * 16 * 4  # of one input
    assert compiled.memory_analysis().temp_size_in_bytes < features + states + 8 * inner


def test_what_cannot_be_honoured_is_refused_by_name():
    q, k, v = inputs()
    with pytest.raises(ValueError, match=r"\(2, 6, 2, 4\)"):
        linear_attention(q, k[:, :6], v)
    with pytest.raises(ValueError, match="before it sees a query"):
        linear_attention(q, k, v, np.ones((1, 1, 7, 7), bool))
    with pytest.raises(ValueError, match=r"must be bool .* float32"):
        linear_attention(q, k, v, np.ones((1, 1, 1, 7)))
    with pytest.raises(ValueError, match="one row for all queries"):
        linear_attention_parallel(q, k, v, np.ones((2, 7), bool))
    with pytest.raises(ValueError, match=r"scale must be positive, got -1\.0"):
        linear_attention(q, k, v, scale=-1.0)
    with pytest.raises(ValueError, match="chunk_size must be positive, got 0"):
        linear_attention(q, k, v, chunk_size=0)
    state = linear_attention_init(**SIZES)
    with pytest.raises(ValueError, match="equally long"):
        linear_attention_step(state, q[:, :1], k, v)
    with pytest.raises(ValueError, match="the state"):
        linear_attention_step(state, q, k, v, feature_map=cosine_features)
