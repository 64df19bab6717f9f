"""Recurrent cells as pure steps, and what their states pass on to later ones.

A step is ``(params, state, inputs) -> state``; `unroll` runs one over a sequence. z is
the share of the new in all gated cells here, as in the post. Those of torch and Flax
have 1 - z: change the sign of that gate's weights to convert.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Weights(NamedTuple):
    """Weights of any cell with G gates and candidates, side by side in the last axis.

    The order is that of each step's docstring.
    """

    inputs: jax.Array  # [D, G * H]
    recurrent: jax.Array  # [H, G * H]
    bias: jax.Array  # [G * H]


class CellState(NamedTuple):
    """State of a cell that shows only a part of what it keeps."""

    cell: jax.Array  # [B, H] float32
    hidden: jax.Array  # [B, H] float32


def _product(features, kernel):
    if features.dtype != kernel.dtype:
        features, kernel = features.astype(jnp.float32), kernel.astype(jnp.float32)
    return jnp.dot(features, kernel, preferred_element_type=jnp.float32)


def _check(params, hidden, inputs, gates):
    size = hidden.shape[-1]
    want = ((inputs.shape[-1], gates * size), (size, gates * size), (gates * size,))
    got = tuple(array.shape for array in params[:3])
    if hidden.ndim != 2 or inputs.shape[:-1] != hidden.shape[:-1] or got != want:
        raise ValueError(
            f"hidden, inputs and weights must be [B, H], [B, D] and {want}; "
            f"got {hidden.shape}, {inputs.shape} and {got}"
        )


def _from_inputs(params, inputs):
    bias = params.bias.astype(jnp.float32)
    return _product(inputs, params.inputs) + bias[None]


def simple_step(
    params: Weights,
    hidden: jax.Array,
    inputs: jax.Array,
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
) -> jax.Array:
    r"""One step of the simple recurrent net, :math:`h_t = f(W x_t + U h_{t-1} + b)`.

    Args:
      params: with G = 1.
      hidden: :math:`h_{t-1}`, ``[B, H]``.
      inputs: :math:`x_t`, ``[B, D]``.
      activation: f. With tanh the derivative by the state stays bounded however large
        U is; with ReLU or none it is the product of U's.

    Returns:
      ``[B, H]`` float32.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: products and states are float32 whatever the dtype of inputs and weights.
    Source: https://kexue.fm/archives/7888
    """
    _check(params, hidden, inputs, 1)
    inner = _from_inputs(params, inputs) + _product(hidden, params.recurrent)
    return activation(inner)


def lstm_step(params: Weights, state: CellState, inputs: jax.Array) -> CellState:
    r"""One step of the long short-term memory.

    .. math:: c_t = f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh c_t

    Args:
      params: with G = 4, in torch's order: input gate i, forget gate f, candidate g,
        output gate o. Begin with the forget gate's bias at 1 or more.
      state: ``[B, H]`` twice.
      inputs: ``[B, D]``.

    Returns:
      `CellState`, float32.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: products and states are float32 whatever the dtype of inputs and weights.
    Source: https://kexue.fm/archives/7888
    """
    _check(params, state.hidden, inputs, 4)
    inner = _from_inputs(params, inputs) + _product(state.hidden, params.recurrent)
    i, f, g, o = jnp.split(inner, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return CellState(cell, jax.nn.sigmoid(o) * jnp.tanh(cell))


def gru_step(params: Weights, hidden: jax.Array, inputs: jax.Array) -> jax.Array:
    r"""One step of the gated recurrent unit, reset before the recurrent product.

    .. math:: h_t = (1 - z) \odot h_{t-1}
              + z \odot \tanh\big(W x_t + U (r \odot h_{t-1}) + b\big)

    This is the form of the first paper and of the post; libraries have the other,
    `gru_reset_after_step`.

    Args:
      params: with G = 3: reset gate r, update gate z, candidate.
      hidden: ``[B, H]``; from zeros it stays within -1 and 1.
      inputs: ``[B, D]``.

    Returns:
      ``[B, H]`` float32.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: products and states are float32 whatever the dtype of inputs and weights.
    Source: https://kexue.fm/archives/7888; Cho et al., https://arxiv.org/abs/1406.1078
    """
    _check(params, hidden, inputs, 3)
    size = hidden.shape[-1]
    outer = _from_inputs(params, inputs)
    gates = outer[:, : 2 * size] + _product(hidden, params.recurrent[:, : 2 * size])
    reset, update = jnp.split(jax.nn.sigmoid(gates), 2, axis=-1)
    kept = reset * hidden.astype(jnp.float32)
    inner = outer[:, 2 * size :] + _product(kept, params.recurrent[:, 2 * size :])
    return _mixed(update, hidden, jnp.tanh(inner))


class ResetAfterWeights(NamedTuple):
    """`Weights` with a bias that is reset together with the recurrent product."""

    inputs: jax.Array  # [D, 3 * H]
    recurrent: jax.Array  # [H, 3 * H]
    bias: jax.Array  # [3 * H]
    recurrent_bias: jax.Array  # [H]


def gru_reset_after_step(
    params: ResetAfterWeights, hidden: jax.Array, inputs: jax.Array
) -> jax.Array:
    r"""One step of the gated recurrent unit as cuDNN, torch and Flax have it.

    .. math:: h_t = (1 - z) \odot h_{t-1}
              + z \odot \tanh\big(W x_t + b + r \odot (U h_{t-1} + b')\big)

    All recurrent products are one. Arguments, result and errors are those of
    `gru_step`.
    """
    _check(params, hidden, inputs, 3)
    size = hidden.shape[-1]
    if params.recurrent_bias.shape != (size,):
        raise ValueError(
            f"recurrent_bias must be [{size}], got {params.recurrent_bias.shape}"
        )
    outer, inner = _from_inputs(params, inputs), _product(hidden, params.recurrent)
    gates = jax.nn.sigmoid(outer[:, : 2 * size] + inner[:, : 2 * size])
    reset, update = jnp.split(gates, 2, axis=-1)
    again = inner[:, 2 * size :] + params.recurrent_bias.astype(jnp.float32)[None]
    return _mixed(update, hidden, jnp.tanh(outer[:, 2 * size :] + reset * again))


def minimal_gru_step(
    params: Weights, hidden: jax.Array, inputs: jax.Array
) -> jax.Array:
    """One step of `gru_step` with a single gate, which resets and updates.

    Args:
      params: with G = 2: gate, candidate.
      hidden: ``[B, H]``.
      inputs: ``[B, D]``.

    Returns:
      ``[B, H]`` float32.

    Raises:
      ValueError: if the shapes disagree.

    Source: https://kexue.fm/archives/7888; Heck and Salem,
      https://arxiv.org/abs/1701.03452
    """
    _check(params, hidden, inputs, 2)
    size = hidden.shape[-1]
    outer = _from_inputs(params, inputs)
    gate = outer[:, :size] + _product(hidden, params.recurrent[:, :size])
    gate = jax.nn.sigmoid(gate)
    kept = gate * hidden.astype(jnp.float32)
    inner = outer[:, size:] + _product(kept, params.recurrent[:, size:])
    return _mixed(gate, hidden, jnp.tanh(inner))


def reset_last_step(params: Weights, state: CellState, inputs: jax.Array) -> CellState:
    r"""One step of the cell that the post proposes: a GRU whose reset comes last.

    .. math:: c_t = (1 - z) \odot c_{t-1} + z \odot \tanh(W x_t + U h_{t-1} + b),
              \quad h_t = r \odot c_t

    Args:
      params: with G = 3: reset gate r, update gate z, candidate.
      state: ``[B, H]`` twice; from zeros both stay within -1 and 1.
      inputs: ``[B, D]``.

    Returns:
      `CellState`, float32.

    Raises:
      ValueError: if the shapes disagree.

    Source: https://kexue.fm/archives/7888
    """
    _check(params, state.hidden, inputs, 3)
    inner = _from_inputs(params, inputs) + _product(state.hidden, params.recurrent)
    reset, update, candidate = jnp.split(inner, 3, axis=-1)
    cell = _mixed(jax.nn.sigmoid(update), state.cell, jnp.tanh(candidate))
    return CellState(cell, jax.nn.sigmoid(reset) * cell)


def _mixed(share, old, new):
    return (1.0 - share) * old.astype(jnp.float32) + share * new


def unroll(
    step: Callable[..., Any],
    params: Any,
    state: Any,
    inputs: jax.Array,
    mask: jax.Array | None = None,
) -> tuple[Any, Any]:
    """Runs a step over a sequence.

    Args:
      step: ``(params, state, inputs [B, D]) -> state``, any of this file.
      params: its weights.
      state: the first, arrays ``[B, H]``.
      inputs: ``[B, T, D]``.
      mask: ``[B, T]`` bool; where it is False the state stays as it was, as padding
        wants it. None keeps all.

    Returns:
      The last state, and all of them with a second axis, ``[B, T, H]``.

    Raises:
      ValueError: if the shapes disagree.
    """
    if inputs.ndim != 3:
        raise ValueError(f"inputs must be [B, T, D], got {inputs.shape}")
    if mask is not None and (mask.dtype != jnp.bool_ or mask.shape != inputs.shape[:2]):
        raise ValueError(
            f"mask must be bool {inputs.shape[:2]}, got {mask.dtype} {mask.shape}"
        )

    def advance(state, at):
        inputs, kept = at
        new = step(params, state, inputs)
        if kept is not None:
            new = jax.tree.map(lambda n, s: jnp.where(kept[:, None], n, s), new, state)
        return new, new

    if mask is not None:  # padding may hold anything, also nan
        inputs = jnp.where(mask[..., None], inputs, jnp.zeros_like(inputs))
    state = jax.tree.map(lambda s: s.astype(jnp.float32), state)
    by_time = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (inputs, mask))
    last, states = jax.lax.scan(advance, state, by_time)
    return last, jax.tree.map(lambda s: jnp.moveaxis(s, 0, 1), states)
