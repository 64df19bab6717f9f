import numpy as np
import pytest

from kexue_jax.position import frequencies as room
from kexue_jax.position.frequencies import (
    interpolated_frequencies,
    ntk_fixed_frequencies,
    ntk_frequencies,
    ntk_mixed_frequencies,
    rotary_frequencies,
    yarn_attention_factor,
    yarn_frequencies,
    yarn_frequencies_by_index,
)

EXTENSIONS = [
    interpolated_frequencies,
    ntk_frequencies,
    ntk_fixed_frequencies,
    ntk_mixed_frequencies,
]


def test_ntk_keeps_the_highest_and_interpolates_the_lowest():
    usual = rotary_frequencies(128)
    got = ntk_frequencies(128, factor=8.0)
    assert got[0] == usual[0]
    np.testing.assert_allclose(got[1] / usual[1], 8.0 ** (-2 / 126), rtol=1e-12)
    want = interpolated_frequencies(128, factor=8.0)
    np.testing.assert_allclose(got[-1], want[-1], rtol=1e-12)
    assert round(8.0 ** (128 / 126), 3) == 8.268


def test_ntk_fixed_is_the_number_system_with_a_larger_digit():
    size, factor = 16, 4.0
    beta, lam = 10000.0 ** (2 / size), factor ** (2 / size)
    want = [1.0 / (lam * (beta * lam) ** (m - 1)) for m in range(1, size // 2 + 1)]
    got = ntk_fixed_frequencies(size, factor=factor)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_ntk_mixed_lies_between_interpolation_and_ntk_fixed():
    def mixed(exponent):
        return ntk_mixed_frequencies(16, factor=4.0, exponent=exponent)

    np.testing.assert_allclose(mixed(0.0), interpolated_frequencies(16, factor=4.0))
    np.testing.assert_allclose(mixed(1.0), ntk_fixed_frequencies(16, factor=4.0))
    a = np.log(4.0) / 8**0.625
    want = rotary_frequencies(16) * np.exp(-a * np.arange(1, 9) ** 0.625)
    np.testing.assert_allclose(mixed(0.625), want, rtol=1e-12)
    assert (mixed(0.0) < mixed(0.625))[:-1].all()
    assert (mixed(0.625) < mixed(1.0))[:-1].all()


@pytest.mark.parametrize("extend", EXTENSIONS)
def test_a_factor_of_one_extends_nothing(extend):
    got = extend(16, factor=1.0)
    np.testing.assert_allclose(got, rotary_frequencies(16), rtol=1e-12)


@pytest.mark.parametrize("yarn", [yarn_frequencies, yarn_frequencies_by_index])
def test_yarn_keeps_what_turns_often_and_interpolates_what_does_not(yarn):
    usual = rotary_frequencies(128)
    got = yarn(128, factor=16.0, length=4096)
    turns = 4096 * usual / (2 * np.pi)
    far = turns > 40  # by index the ramp begins at a rounded place
    np.testing.assert_allclose(got[far], usual[far], rtol=1e-12)
    np.testing.assert_allclose(got[turns < 0.8], usual[turns < 0.8] / 16.0, rtol=1e-12)
    between = (turns > 1.5) & (turns < 28)
    assert (got[between] < usual[between]).all()
    assert (got[between] > usual[between] / 16.0).all()


def test_the_ramp_of_yarn_is_linear_in_turns():
    theta = rotary_frequencies(128)
    got = yarn_frequencies(128, factor=16.0, length=4096, fast=32.0)
    for theta_i, got_i in zip(theta, got, strict=True):
        turns = 4096 * theta_i / (2 * np.pi)
        keep = 1.0 if turns > 32 else 0.0 if turns < 1 else (turns - 1) / 31
        np.testing.assert_allclose(got_i, (keep + (1 - keep) / 16) * theta_i, rtol=1e-9)


def test_the_ramp_by_index_has_rounded_ends():
    got = yarn_frequencies_by_index(128, factor=16.0, length=4096)
    share = (got / rotary_frequencies(128) - 1 / 16) / (1 - 1 / 16)
    # 32 turns are made at index 20.94, one turn at 45.03.
    want = np.clip((46 - np.arange(64)) / 26, 0, 1)
    np.testing.assert_allclose(share, want, atol=1e-12)


def test_the_attention_factor_is_one_without_extension():
    assert yarn_attention_factor(1.0) == 1.0
    np.testing.assert_allclose(yarn_attention_factor(np.exp(10.0)), 2.0)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        ("rotary_frequencies", dict(size=5), "got size 5"),
        ("rotary_frequencies", dict(size=4, base=0.0), "base"),
        ("ntk_frequencies", dict(size=2, factor=2.0), "got 2"),
        ("interpolated_frequencies", dict(size=4, factor=0.5), "factor.*0.5"),
        ("ntk_mixed_frequencies", dict(size=4, factor=2.0, exponent=2.0), "exponent"),
        ("yarn_frequencies", dict(size=4, factor=2.0, length=0), "length"),
        ("yarn_frequencies", dict(size=4, factor=2.0, length=9, slow=40.0), "slow"),
        ("yarn_attention_factor", dict(factor=0.1), "factor"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(make, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(room, make)(**options)
