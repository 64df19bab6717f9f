"""How much of a state reaches the next: exact, in the terms of the post.

All formulas are for cells of one unit, element by element over any shape. They bound
no spectral norm: for vectors take singular values of `step_jacobians`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree


class Terms(NamedTuple):
    """A derivative split as the post splits it; it is the sum of both."""

    gate: jax.Array  # what the gate lets through, between 0 and 1
    rest: jax.Array  # what comes back through gates and candidate


def simple_jacobian(hidden: jax.Array, recurrent: jax.Array) -> jax.Array:
    r"""The derivative of a tanh state by the one before it.

    .. math:: \frac{\partial h_t}{\partial h_{t-1}} = (1 - h_t^2)\,U

    For :math:`h_t = \tanh(U h_{t-1})` it is at most 0.447743 over the size of
    :math:`h_{t-1}`, whatever U is.

    Args:
      hidden: :math:`h_t`, the new state, any shape.
      recurrent: U, broadcastable to it.

    Returns:
      The shape of `hidden`.

    Source: https://kexue.fm/archives/7888
    """
    return (1.0 - jnp.square(hidden)) * recurrent


def lstm_jacobian(
    cell: jax.Array,
    output_gate: jax.Array,
    input_gate: jax.Array,
    forget_gate: jax.Array,
    candidate: jax.Array,
    *,
    input_recurrent: jax.Array,
    forget_recurrent: jax.Array,
    candidate_recurrent: jax.Array,
) -> Terms:
    r"""The derivative of an LSTM's cell by the one before it.

    .. math:: \frac{\partial c_t}{\partial c_{t-1}} = f + o_{t-1}(1 - \tanh^2 c_{t-1})
              \big(f(1-f)\,c_{t-1} U_f + i(1-i)\,g\,U_i + (1-g^2)\,i\,U_g\big)

    with the output gate of the step before held fixed, so the product over steps is not
    the derivative over many: that gate looks at older cells too.

    Args:
      cell: :math:`c_{t-1}`, any shape, as all others.
      output_gate: :math:`o_{t-1}`, of the step before.
      input_gate, forget_gate, candidate: i, f, g of step t.
      input_recurrent, forget_recurrent, candidate_recurrent: their weights on
        :math:`h_{t-1} = o_{t-1} \tanh c_{t-1}`.

    Returns:
      `Terms` of that shape; its gate is f.

    Source: https://kexue.fm/archives/7888
    """
    shown = output_gate * (1.0 - jnp.square(jnp.tanh(cell)))
    rest = forget_gate * (1.0 - forget_gate) * cell * forget_recurrent
    rest += input_gate * (1.0 - input_gate) * candidate * input_recurrent
    rest += (1.0 - jnp.square(candidate)) * input_gate * candidate_recurrent
    return Terms(forget_gate, shown * rest)


def gru_jacobian(
    hidden: jax.Array,
    reset_gate: jax.Array,
    update_gate: jax.Array,
    candidate: jax.Array,
    *,
    reset_recurrent: jax.Array,
    update_recurrent: jax.Array,
    candidate_recurrent: jax.Array,
) -> Terms:
    r"""The derivative of a GRU's state by the one before it.

    .. math:: \frac{\partial h_t}{\partial h_{t-1}} = 1 - z + z(1-z)(g - h_{t-1})\,U_z
              + (1 - g^2)\,r\,\big(1 + (1-r)\,h_{t-1} U_r\big)\,z\,U_g

    Args:
      hidden: :math:`h_{t-1}`, any shape, as all others.
      reset_gate, update_gate, candidate: r, z, g of step t, of `gru_step`.
      reset_recurrent, update_recurrent, candidate_recurrent: their recurrent weights.

    Returns:
      `Terms` of that shape; its gate is 1 - z.

    Source: https://kexue.fm/archives/7888
    """
    z, r, g = update_gate, reset_gate, candidate
    rest = z * (1.0 - z) * (g - hidden) * update_recurrent
    through = r * (1.0 + (1.0 - r) * hidden * reset_recurrent)
    rest += (1.0 - jnp.square(g)) * through * z * candidate_recurrent
    return Terms(1.0 - z, rest)


def reset_last_jacobian(
    cell: jax.Array,
    reset_gate: jax.Array,
    update_gate: jax.Array,
    candidate: jax.Array,
    *,
    update_recurrent: jax.Array,
    candidate_recurrent: jax.Array,
) -> Terms:
    r"""The derivative of the proposed cell by the one before it.

    .. math:: \frac{\partial c_t}{\partial c_{t-1}} = 1 - z + r_{t-1}\big(
              z(1-z)(g - c_{t-1})\,U_z + (1 - g^2)\,z\,U_g\big)

    with the reset gate of the step before held fixed.

    Args:
      cell: :math:`c_{t-1}`, any shape, as all others.
      reset_gate: :math:`r_{t-1}`, of the step before.
      update_gate, candidate: z, g of step t, of `reset_last_step`.
      update_recurrent, candidate_recurrent: their weights on
        :math:`h_{t-1} = r_{t-1} c_{t-1}`.

    Returns:
      `Terms` of that shape; its gate is 1 - z.

    Source: https://kexue.fm/archives/7888, which proposes the cell and leaves this out.
    """
    z, g = update_gate, candidate
    rest = z * (1.0 - z) * (g - cell) * update_recurrent
    rest += (1.0 - jnp.square(g)) * z * candidate_recurrent
    return Terms(1.0 - z, reset_gate * rest)


def step_jacobians(
    step: Callable[..., Any], params: Any, state: Any, inputs: jax.Array
) -> jax.Array:
    """The derivative of every whole state by the one before it, along a sequence.

    Their product, the last to the left, is the derivative of the last state by the
    first. A state of two parts counts both, cell first.

    Args:
      step: ``(params, state, inputs [B, D]) -> state``.
      params: its weights.
      state: the first, of one example: arrays ``[1, H]``.
      inputs: ``[T, D]``.

    Returns:
      ``[T, P, P]`` float32, P the numbers in a state; rows are of the new state.

    Raises:
      ValueError: if `inputs` is no matrix.

    Source: https://kexue.fm/archives/7888
    """
    if inputs.ndim != 2:
        raise ValueError(f"inputs must be [T, D], got {inputs.shape}")
    state = jax.tree.map(lambda s: s.astype(jnp.float32), state)
    first, restore = ravel_pytree(state)

    def advance(flat, at):
        def one(flat):
            return ravel_pytree(step(params, restore(flat), at[None]))[0]

        return one(flat), jax.jacfwd(one)(flat)

    return jax.lax.scan(advance, first, inputs)[1]
