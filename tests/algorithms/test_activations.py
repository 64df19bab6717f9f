import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.activations import squared_relu


def test_squares_what_is_positive_and_drops_the_rest():
    inputs = jnp.array([-2.0, 0.0, 0.5, 3.0])
    np.testing.assert_allclose(squared_relu(inputs), [0.0, 0.0, 0.25, 9.0])


def test_the_gradient_is_zero_at_zero_and_keeps_the_dtype():
    grad = jax.grad(lambda x: squared_relu(x).sum())(jnp.array([0.0, 2.0]))
    np.testing.assert_allclose(grad, [0.0, 4.0])
    assert squared_relu(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16
