import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.losses.units import in_units


def losses(params, extras, batch, rng):
    del batch, rng
    return jnp.stack([params**2, 3 * params]), (extras, {"seen": params})


def test_factors_act_on_gradients_and_constants_do_not():
    changed = in_units(losses, scales=(0.5, 2.0), shifts=(10.0, -1.0))
    grads = jax.jacobian(lambda p: changed(p, (), {}, None)[0])
    value, (extras, scores) = changed(jnp.float32(2.0), (), {}, None)
    np.testing.assert_allclose(value, [12.0, 11.0])
    np.testing.assert_allclose(grads(jnp.float32(2.0)), [2.0, 6.0])
    assert extras == ()
    assert scores == {"seen": 2.0}


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.0,)])
def test_scales_without_a_shift_or_of_zero_are_refused(scales):
    with pytest.raises(ValueError, match="scales must be positive"):
        in_units(losses, scales=scales, shifts=(0.0,))


def test_another_number_of_losses_is_refused():
    with pytest.raises(ValueError, match="scales are for 1 losses"):
        in_units(losses, scales=(1.0,), shifts=(0.0,))(jnp.float32(1.0), (), {}, None)
