"""Two losses of two numbers, on which the plain sum is caught in a narrow valley.

The example of CAGrad and Nash-MTL: above the axis logarithms with steep floors, below
it two paraboloids, whose best compromises lie on a segment.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax import optim

STARTS = np.float32([[-8.5, 7.5], [-8.5, -5.0], [9.0, 9.0]])


def losses(x):
    """``[2]``; the best compromises have x[1] = -8 and x[0] between -7 and 7."""
    floor, bend = 5e-6, jnp.tanh(-x[1])
    valleys = jnp.stack([0.5 * (-x[0] - 7.0) - bend, 0.5 * (-x[0] + 3.0) + bend + 2.0])
    above = jnp.log(jnp.maximum(jnp.abs(valleys), floor)) + 6.0
    apart = jnp.stack([-x[0] + 7.0, -x[0] - 7.0])
    below = (apart**2 + 0.1 * (-x[1] - 8.0) ** 2) / 10.0 - 20.0
    share = jnp.tanh(0.5 * x[1])
    return above * jnp.maximum(share, 0.0) + below * jnp.maximum(-share, 0.0)


def ends(merge, scale=1.0, steps=50_000):
    """Where each start has come to: ``[3, 2]``."""
    tx = optax.chain(optax.with_extra_args_support(merge), optax.adam(2e-3))
    factors = jnp.array([scale, 1.0])

    def walk(x):
        def step(carry, _):
            x, state = carry
            grads = jax.jacrev(lambda x: factors * losses(x))(x)
            change, state = tx.update(grads, state, x)
            return (x + change, state), None

        return jax.lax.scan(step, (x, tx.init(x)), length=steps)[0][0]

    return np.asarray(jax.jit(jax.vmap(walk))(jnp.asarray(STARTS)))


def arrived(x):
    return (np.abs(x[:, 1] + 8.0) < 0.5) & (np.abs(x[:, 0]) < 7.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "everywhere"),
    [
        (lambda k: optim.sum_gradients(), False),
        (optim.mgda, True),
        (optim.cagrad, True),
        (optim.nash_mtl, True),
        (optim.upgrad, True),
    ],
)
def test_who_comes_to_a_compromise_from_every_start(make, everywhere):
    assert arrived(ends(make(2))).all() == everywhere


@pytest.mark.slow
def test_the_bargain_arrives_in_other_units_too():
    """Near a compromise no bargain is left, and rounding decides where it comes to."""
    assert arrived(ends(optim.nash_mtl(2), scale=0.1)).all()
