from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.nn.convolution_encoder import ConvolutionEncoder
from kexue_jax.nn.functional import functional


@pytest.fixture(scope="module")
def made():
    make = partial(ConvolutionEncoder, 11, features=6, layers=2, width=3)
    init, apply = functional(make)
    return jax.jit(init)(jax.random.key(0))[0], jax.jit(apply)


def test_a_state_depends_on_what_is_near_and_not_on_where(made):
    params, apply = made
    tokens = np.random.default_rng(0).integers(0, 11, (1, 20)).astype(np.int32)
    kept = np.ones((1, 20), bool)
    states, _ = apply(params, {}, tokens, kept=kept)
    other = tokens.copy()
    other[0, 10] = (other[0, 10] + 1) % 11
    changed, _ = apply(params, {}, other, kept=kept)
    differs = np.abs(np.asarray(states) - changed).max(-1)[0] > 0
    assert np.flatnonzero(differs).tolist() == [8, 9, 10, 11, 12]
    later, _ = apply(params, {}, np.roll(tokens, 5, axis=1), kept=kept)
    np.testing.assert_allclose(later[0, 8:18], states[0, 3:13], rtol=1e-5, atol=1e-6)


def test_padding_is_as_the_end_of_a_text(made):
    params, apply = made
    tokens = np.arange(8, dtype=np.int32)[None]
    kept = np.arange(8)[None] < 5
    states, _ = apply(params, {}, tokens, kept=kept)
    alone, _ = apply(params, {}, tokens[:, :5], kept=kept[:, :5])
    np.testing.assert_allclose(states[:, :5], alone, rtol=1e-5, atol=1e-6)


def test_widths_have_a_middle():
    with pytest.raises(ValueError, match="width odd, got 1 and 4"):
        functional(partial(ConvolutionEncoder, 11, features=6, width=4))
