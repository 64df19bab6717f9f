import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from kexue_jax.algorithms.log_sums import logsumexp

SCORES = np.array(
    [
        [1.0, -2.0, 0.5],
        [1e4, 1e4 - 1.0, -1e4],
        [-np.inf, 3.0, -np.inf],
        [-np.inf, -np.inf, -np.inf],
        [-1e30, -np.inf, -1e30],
    ]
)


def test_values_and_gradients_are_those_of_the_sum_and_zero_where_it_is_empty():
    scores = jnp.array(SCORES, jnp.float32)
    with np.errstate(divide="ignore"):
        want = scipy.special.logsumexp(SCORES, axis=1)
    np.testing.assert_allclose(jax.jit(logsumexp)(scores), want, rtol=1e-6)
    grads = jax.jit(jax.grad(lambda s: logsumexp(s).sum()))(scores)
    grads = np.asarray(grads)
    assert not grads[3].any()
    some = [0, 1, 2, 4]
    want = np.nan_to_num(scipy.special.softmax(SCORES[some], axis=1))
    np.testing.assert_allclose(grads[some], want, rtol=1e-4, atol=1e-7)
    second = jax.jit(jax.hessian(logsumexp))(scores[3])
    assert not np.asarray(second).any()  # nan would be true


def test_nan_is_not_hidden():
    assert jnp.isnan(logsumexp(jnp.array([0.0, jnp.nan])))
