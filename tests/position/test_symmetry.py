"""What attention cannot see without positions, and what each kind of them lets it see.

The network is one layer of bidirectional attention whose output is summed up: it is
blind to order if that sum does not change when the input is put in another order.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.deberta import deberta_attention
from kexue_jax.attention.rectified_rotary import rectified_rotary_attention
from kexue_jax.attention.relative_shift import relative_distances
from kexue_jax.attention.scored import scored_attention
from kexue_jax.attention.shaw import shaw_attention
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.attention.transformer_xl import transformer_xl_attention
from kexue_jax.position.alibi import alibi_bias, alibi_slopes
from kexue_jax.position.kerple import kerple_log_bias
from kexue_jax.position.rotary import rotary
from kexue_jax.position.sandwich import sandwich_bias
from kexue_jax.position.sinusoidal import sinusoidal, sinusoidal_halves
from kexue_jax.position.t5 import t5_bias
from kexue_jax.position.zero_padding import zero_padded_convolution

LENGTH = 6
ORDER = np.array([2, 0, 1, 5, 3, 4])


def places():
    return jnp.arange(LENGTH)


def table(*shape):
    return jnp.sin(1.0 + jnp.arange(np.prod(shape), dtype=jnp.float32)).reshape(shape)


def heads(inputs):
    """Queries, keys and values ``[1, T, 2, 4]`` of inputs ``[T, 8]``."""
    return [
        (inputs @ table(8, 24)).reshape(1, -1, 2, 12)[..., 4 * i :][..., :4]
        for i in range(3)
    ]


def with_bias(bias, inputs):
    q, k, v = heads(inputs)
    return scored_attention(jnp.einsum("btnh,bsnh->bnts", q, k) / 2.0 + bias, v)


def with_rotary(inputs):
    q, k, v = heads(inputs)
    return softmax_attention(rotary(q, places()), rotary(k, places()), v)


def with_padding(inputs):
    return softmax_attention(
        *heads(zero_padded_convolution(inputs[None], table(3, 8))[0])
    )


def with_alibi(inputs):
    return with_bias(alibi_bias(alibi_slopes(2), places(), places()), inputs)


def with_kerple(inputs):
    ones = jnp.ones(2)
    return with_bias(kerple_log_bias(ones, ones, places(), places()), inputs)


def with_sandwich(inputs):
    return with_bias(sandwich_bias(jnp.ones(2), places(), places(), size=8), inputs)


def with_t5(inputs):
    return with_bias(t5_bias(table(32, 2), places(), places()), inputs)


def with_rectified_rotary(inputs):
    return rectified_rotary_attention(*heads(inputs), window=2, rotate=rotary)


def with_shaw(inputs):
    return shaw_attention(*heads(inputs), key_table=table(5, 4))


def with_transformer_xl(inputs):
    rows = sinusoidal_halves(relative_distances(LENGTH, LENGTH), size=6)
    return transformer_xl_attention(
        *heads(inputs),
        content_bias=table(2, 4),
        position_bias=table(2, 4),
        relative_key=jnp.einsum("ld,dnh->lnh", rows, table(6, 2, 4)),
    )


def with_deberta(inputs):
    tables = dict(relative_key=table(8, 2, 4), relative_query=table(8, 2, 4))
    return deberta_attention(*heads(inputs), **tables)


def with_sinusoids(inputs):
    return softmax_attention(*heads(inputs + sinusoidal(np.arange(LENGTH), size=8)))


SYMMETRIC = [with_alibi, with_kerple, with_sandwich]
SIDED = [
    with_t5,
    with_rotary,
    with_rectified_rotary,
    with_shaw,
    with_transformer_xl,
    with_deberta,
]
ABSOLUTE = [with_sinusoids, with_padding]
RELATIVE = SYMMETRIC + SIDED


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def moved_by(network, order):
    """How far the output, put back in order, is from that of the input as it was."""
    inputs, network = normal(LENGTH, 8), jax.jit(network)
    moved = np.asarray(network(inputs[order]))
    return np.abs(moved - np.asarray(network(inputs))[:, order]).max()


def test_without_positions_attention_is_blind_to_order():
    assert moved_by(functools.partial(with_bias, 0.0), ORDER) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("network", RELATIVE + ABSOLUTE)
def test_every_position_breaks_the_symmetry(network):
    assert moved_by(network, ORDER) > 1e-3


@pytest.mark.parametrize("network", SYMMETRIC)
def test_a_function_of_the_size_of_distance_cannot_tell_left_from_right(network):
    assert moved_by(network, np.arange(LENGTH)[::-1]) < 1e-5


@pytest.mark.parametrize("network", SIDED)
def test_a_function_of_the_distance_itself_can(network):
    assert moved_by(network, np.arange(LENGTH)[::-1]) > 1e-3


@pytest.mark.parametrize("network", RELATIVE)
def test_no_edit_of_the_scores_tells_equal_inputs_apart(network):
    """The probe: n zeros in, 1 to n out, is beyond what moves weights that sum to 1."""
    same = np.broadcast_to(normal(1, 8), (LENGTH, 8))
    output = np.asarray(jax.jit(network)(same))
    np.testing.assert_allclose(output, np.roll(output, 1, axis=1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", ABSOLUTE)
def test_positions_in_the_features_do(network):
    same = np.broadcast_to(normal(1, 8), (LENGTH, 8))
    output = np.asarray(jax.jit(network)(same))
    # Attention mixes; what the queries know stays in their weights.
    assert np.abs(output - np.roll(output, 1, axis=1)).max() > 1e-4


def test_one_other_token_lets_scores_count():
    """With a token at the front that differs, weights on it do vary with the place."""
    inputs = np.ones((LENGTH, 8), np.float32)
    inputs[0] = -1.0
    output = np.asarray(jax.jit(with_alibi)(inputs))[0, 1:, 0]
    apart = np.abs(output[:, None] - output[None]).max(-1) + np.eye(LENGTH - 1)
    assert apart.min() > 1e-5
