import math

import pytest

from kexue_jax.scores.language import bits_per_character, perplexity


def test_a_uniform_guess_of_v_tokens_has_the_perplexity_v():
    assert perplexity(7 * math.log(50), 7) == pytest.approx(50, rel=1e-12)
    assert perplexity(0.0, 7) == 1.0
    assert perplexity(1e6, 2) == math.inf


def test_bits_do_not_depend_on_how_the_text_is_cut():
    # Four characters from an alphabet of 16, as two tokens of an alphabet of 256.
    single, double = 4 * math.log(16), 2 * math.log(256)
    assert bits_per_character(single, 4) == pytest.approx(4, rel=1e-12)
    assert bits_per_character(double, 4) == pytest.approx(4, rel=1e-12)
    assert perplexity(single, 4) != pytest.approx(perplexity(double, 2))


@pytest.mark.parametrize("count", [0, -1, math.nan])
def test_a_text_of_nothing_is_refused(count):
    with pytest.raises(ValueError, match="tokens must be positive"):
        perplexity(1.0, count)
    with pytest.raises(ValueError, match="characters must be positive"):
        bits_per_character(1.0, count)
