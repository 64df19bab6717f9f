import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.losses.flooding import flooded, flooding


def test_it_is_the_distance_from_the_level_above_it():
    losses = np.array([0.0, 0.05, 0.1, 0.3], np.float32)
    np.testing.assert_allclose(flooded(losses, 0.1), np.abs(losses - 0.1) + 0.1)
    np.testing.assert_array_equal(flooded(losses, 0.0), losses)
    slopes = jax.grad(lambda x: flooded(x, np.float32(0.1)).sum())(losses)
    np.testing.assert_array_equal(slopes, [-1.0, -1.0, 1.0, 1.0])


def test_parts_are_flooded_each_and_the_plain_loss_is_scored(problem):
    def loss(params, extras, batch, rng):
        return jnp.stack([params, 2.0 * params]), (extras, {"own": params})

    value, (extras, scores) = flooding(loss, level=0.3)(0.2, {"kept": 1}, None, None)
    np.testing.assert_allclose(value, [0.4, 0.4], rtol=1e-6)
    assert extras == {"kept": 1}
    np.testing.assert_allclose(scores["unflooded"], 0.6, rtol=1e-6)
    assert scores["own"] == 0.2
    with pytest.raises(ValueError, match="level must be finite, got nan"):
        flooding(loss, level=float("nan"))


def steps(signs, size, start):
    """Gradient steps on a quartic, down or up, in float64."""
    slope = lambda x: 4 * x**3 - 2 * x + 0.3  # noqa: E731
    for sign in signs:
        start = start - sign * size * slope(start)
    return start


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1)])
def test_a_step_down_and_one_up_descend_on_the_square_of_the_gradient(signs):
    def error(size, x=0.8):
        slope, curve = 4 * x**3 - 2 * x + 0.3, 12 * x**2 - 2
        return steps(signs, size, x) - (x - size**2 * curve * slope)

    assert 7.5 < error(1e-2) / error(5e-3) < 8.5


def test_unequal_steps_descend_on_the_loss_with_a_penalty():
    def error(size, x=0.8):
        down, up = size, 0.5 * size
        slope, curve = 4 * x**3 - 2 * x + 0.3, 12 * x**2 - 2
        step = (down - up) * slope + down * up * curve * slope
        after = steps((1,), down, x)
        return steps((-1,), up, after) - (x - step)

    assert 7.5 < error(1e-2) / error(5e-3) < 8.5
