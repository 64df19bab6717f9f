import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.decay import mean_cosine
from kexue_jax.position.frequencies import rotary_frequencies
from kexue_jax.position.sinusoidal import sinusoidal, sinusoidal_halves

traced = jax.jit(sinusoidal, static_argnames=("size", "base"))


def known(encode, positions, **options):
    """The table of positions that are known before the program runs."""
    return np.asarray(jax.jit(lambda: encode(positions, **options))())


def slow(positions, size, base=10000.0):
    out = np.zeros((len(positions), size))
    for k, place in enumerate(positions):
        for i in range(size // 2):
            angle = place / base ** (2 * i / size)
            out[k, 2 * i], out[k, 2 * i + 1] = np.sin(angle), np.cos(angle)
    return out


@pytest.mark.parametrize("host", [True, False])
def test_is_the_formula_at_any_positions(host):
    positions = np.array([0.0, 1.0, 2.5, 100.0])
    options = dict(size=6, base=50.0)
    got = (
        known(sinusoidal, positions, **options)
        if host
        else traced(positions, **options)
    )
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, slow(positions, 6, 50.0), rtol=1e-5, atol=1e-5)


def test_known_positions_are_exact_where_traced_ones_are_not():
    positions = np.array([1_000_003])
    want = slow(positions, 4)
    got = known(sinusoidal, positions, size=4)
    np.testing.assert_allclose(got, want, atol=1e-7)
    assert np.abs(np.asarray(traced(positions, size=4)) - want).max() > 1e-6


def test_halves_have_the_same_features_in_another_order():
    order = [0, 2, 4, 1, 3, 5]
    want = known(sinusoidal, np.arange(5), size=6)[..., order]
    got = known(sinusoidal_halves, np.arange(5), size=6)
    np.testing.assert_array_equal(got, want)


def test_positions_of_examples_may_differ():
    got = known(sinusoidal, np.array([[0, 1], [7, 8]]), size=4)
    want = known(sinusoidal, np.array([7, 8]), size=4)
    np.testing.assert_array_equal(got[1], want)


def test_products_depend_on_the_difference_alone_and_are_even_in_it():
    frequencies = rotary_frequencies(32)
    table = np.float64(known(sinusoidal, np.arange(40), size=32))
    products = table @ table.T
    for d in (0, 1, 7, 20):
        want = 16 * mean_cosine(np.array(d), frequencies)
        np.testing.assert_allclose(np.diag(products, d), want, atol=3e-6)
        np.testing.assert_allclose(np.diag(products, -d), want, atol=3e-6)
    np.testing.assert_allclose(np.diag(products), 16.0, rtol=1e-6)


def test_a_step_is_one_block_rotation_wherever_it_begins():
    table, d = np.float64(known(sinusoidal, np.arange(20), size=4)), 3
    turn = np.zeros((4, 4))
    for i, angle in enumerate(d * rotary_frequencies(4)):
        c, s = np.cos(angle), np.sin(angle)
        turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, s], [-s, c]]
    np.testing.assert_allclose(table[:-d] @ turn.T, table[d:], atol=1e-6)


def test_a_diagonal_form_splits_into_difference_and_sum():
    theta, (first, second) = rotary_frequencies(2)[0], (1.3, 0.4)
    m, n = 5, 12
    pair = np.float64(known(sinusoidal, np.array([m, n]), size=2))
    got = pair[0] @ np.diag([first, second]) @ pair[1]  # sine first, then cosine
    want = (first + second) / 2 * np.cos((m - n) * theta)
    want -= (first - second) / 2 * np.cos((m + n) * theta)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_a_mixed_second_difference_of_attention_is_the_form_of_its_hessian():
    """The post's expansion: positions meet in p_m H p_n, up to third order."""
    draws = np.random.default_rng(0)
    inputs, kernels = draws.normal(size=(4, 6)), 0.3 * draws.normal(size=(3, 6, 6))

    def network(inputs):
        query, key, value = (inputs @ kernel for kernel in kernels)
        return jnp.sum(jnp.tanh(jax.nn.softmax(query @ key.T) @ value)[0])

    @jax.jit
    def moved(at_m, at_n):
        return network(jnp.asarray(inputs).at[1].add(at_m).at[3].add(at_n))

    with jax.enable_x64(True):
        table = np.float64(known(sinusoidal, np.arange(4), size=6))
        zero = np.zeros(6)
        hessian = jax.jit(jax.jacfwd(jax.grad(moved), argnums=1))(zero, zero)
        hessian = np.asarray(hessian)
        form = table[1] @ hessian @ table[3]
        errors = []
        for eps in (1e-1, 1e-2):
            p, q = eps * table[1], eps * table[3]
            ends = (p, q), (p, zero), (zero, q), (zero, zero)
            both, first, second, none = (float(moved(*ats)) for ats in ends)
            errors.append(abs(both - first - second + none - eps**2 * form))
    assert errors[1] < 2e-3 * errors[0]
    assert errors[1] < 1e-2 * eps**2


@pytest.mark.parametrize("encode", [sinusoidal, sinusoidal_halves])
def test_an_odd_size_is_refused(encode):
    with pytest.raises(ValueError, match="size 5"):
        encode(np.arange(2), size=5)
