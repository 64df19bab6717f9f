"""Rotary position embedding (RoPE): positions as rotations of pairs of features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.position.angles import angles, cosine_and_sine


def _rotated(first, second, positions, size, base, frequencies, amplitude):
    turn = angles(positions, size, base=base, frequencies=frequencies)[..., None, :]
    expand = np.expand_dims if isinstance(turn, np.ndarray) else jnp.expand_dims
    turn = expand(turn, tuple(range(first.ndim - turn.ndim)))
    cosine, sine = cosine_and_sine(turn)
    if amplitude != 1.0:
        cosine, sine = amplitude * cosine, amplitude * sine
    first, second = first.astype(jnp.float32), second.astype(jnp.float32)
    return first * cosine - second * sine, second * cosine + first * sine


def _check(features, positions):
    if features.ndim < 3 or positions.shape not in (
        features.shape[-3:-2],
        features.shape[:-2],
    ):
        raise ValueError(
            "features and positions must be [B, T, N, H] and [T] or [B, T]; "
            f"got {features.shape}, {positions.shape}"
        )


def rotary(
    features: jax.Array,
    positions: jax.Array | np.ndarray,
    *,
    base: float = 10000.0,
    frequencies: jax.Array | np.ndarray | None = None,
    amplitude: float = 1.0,
) -> jax.Array:
    r"""Rotates neighbouring features, 2i with 2i + 1, by their position.

    .. math:: (x_{2i} + \mathrm{i}\,x_{2i+1})\, e^{\mathrm{i} m \theta_i}, \quad
              \theta_i = b^{-2i/H}

    The inner product of a query rotated to m and a key rotated to n depends on m - n
    alone, and lengths stay as they were. This is the pairing of the post; models that
    pair halves (`rotary_halves`) need another order of features.

    Args:
      features: ``[B, T, N, H]``, queries or keys, H even.
      positions: ``[T]`` or ``[B, T]``, in tokens, integers or floats. Those of a NumPy
        array are known before the program runs, and their table is made on the host.
      base: b, > 0; not looked at if there are `frequencies`.
      frequencies: ``[H / 2]``, other :math:`\theta_i`, as `ntk_frequencies` and its
        like return them, or trained.
      amplitude: multiplies the result, as `yarn_attention_factor` wants it.

    Returns:
      ``[B, T, N, H]`` in the dtype of `features`.

    Raises:
      ValueError: if H is odd, or the shapes disagree.

    Numerics: products are float32 whatever the dtype, and so are angles: that of
      position m is exact to about ``m * 6e-8`` radians, and scores of order 4 change
      by 3e-5, 3e-4 and 2e-3 where both positions move by 512, 4096 and 32768. With
      NumPy positions angles are float64, and scores keep 2e-6 up to 1e5 tokens.

    Source: https://kexue.fm/archives/8265

    >>> quarter = jnp.array([jnp.pi / 2])
    >>> rotary(jnp.array([[[[1.0, 0.0]]]]), quarter).round(3).tolist()
    [[[[-0.0, 1.0]]]]
    """
    _check(features, positions)
    first, second = features[..., 0::2], features[..., 1::2]
    size = features.shape[-1]
    turned = _rotated(first, second, positions, size, base, frequencies, amplitude)
    return jnp.stack(turned, axis=-1).reshape(features.shape).astype(features.dtype)


def rotary_halves(
    features: jax.Array,
    positions: jax.Array | np.ndarray,
    *,
    base: float = 10000.0,
    frequencies: jax.Array | np.ndarray | None = None,
    amplitude: float = 1.0,
) -> jax.Array:
    """Rotates feature i with i + H / 2: `rotary` in the order of LLaMA's checkpoints.

    Arguments, result and errors are those of `rotary`, to which it is equal once
    features ``0, 2, 4, ..., 1, 3, 5, ...`` of its input are put in the first and the
    second half, which is what `halves_from_neighbours` does.

    Source: https://kexue.fm/archives/8265, with the features in another order.
    """
    _check(features, positions)
    size = features.shape[-1]
    first, second = features[..., : size // 2], features[..., size // 2 :]
    turned = _rotated(first, second, positions, size, base, frequencies, amplitude)
    return jnp.concatenate(turned, axis=-1).astype(features.dtype)


def partial_rotary(
    features: jax.Array,
    positions: jax.Array | np.ndarray,
    *,
    size: int,
    rotate: Callable[..., jax.Array] = rotary,
) -> jax.Array:
    """Rotates the first `size` features and leaves the others as they are.

    Args:
      features: ``[B, T, N, H]``, queries or keys.
      positions: ``[T]`` or ``[B, T]``, in tokens.
      size: even, from 2 to H; frequencies are those of a head of this size.
      rotate: ``(features, positions) -> features``: `rotary`, `rotary_halves` or a
        partial function of them.

    Returns:
      ``[B, T, N, H]`` in the dtype of `features`.

    Raises:
      ValueError: if `size` is odd, below 2 or above H, or the shapes disagree.
    """
    if size > features.shape[-1]:
        raise ValueError(f"size must be at most {features.shape[-1]}, got {size}")
    turned = rotate(features[..., :size], positions)
    return jnp.concatenate([turned, features[..., size:]], axis=-1)


def rotary_2d(
    features: jax.Array,
    positions: jax.Array | np.ndarray,
    *,
    rotate: Callable[..., jax.Array] = rotary,
) -> jax.Array:
    """Rotates the first half of the features by the row, the second by the column.

    Scores then depend on both differences, of rows and of columns, and nothing else.

    Args:
      features: ``[B, T, N, H]``, queries or keys, H a multiple of 4.
      positions: ``[T, 2]`` or ``[B, T, 2]``, row and column of each token.
      rotate: ``(features, positions) -> features``: `rotary`, `rotary_halves` or a
        partial function of them; its frequencies are those of a head of size H / 2.

    Returns:
      ``[B, T, N, H]`` in the dtype of `features`.

    Raises:
      ValueError: if H is no multiple of 4, or the shapes disagree.

    Source: https://kexue.fm/archives/8397, where pairs of rows and columns alternate.
    """
    size = features.shape[-1]
    if size % 4 or positions.ndim < 2 or positions.shape[-1] != 2:
        raise ValueError(
            "features and positions must be [B, T, N, H], H a multiple of 4, and "
            f"[T, 2] or [B, T, 2]; got {features.shape}, {positions.shape}"
        )
    by_row = rotate(features[..., : size // 2], positions[..., 0])
    by_column = rotate(features[..., size // 2 :], positions[..., 1])
    return jnp.concatenate([by_row, by_column], axis=-1)


def _reordered(array, order, heads, size):
    if heads < 1 or array.shape[-1] % heads:
        raise ValueError(f"array must be [..., N * H], N = {heads}; got {array.shape}")
    width = array.shape[-1] // heads
    size = width if size is None else size
    if size % 2 or not 0 < size <= width:
        raise ValueError(f"size must be even, from 2 to H = {width}; got {size}")
    order = np.concatenate([order(size), np.arange(size, width)])
    split = array.reshape(*array.shape[:-1], heads, width)
    return split[..., order].reshape(array.shape)


def halves_from_neighbours(
    array: jax.Array, *, heads: int = 1, size: int | None = None
) -> jax.Array:
    """Puts features that `rotary` pairs into the order that `rotary_halves` pairs.

    Applied to the kernels and biases that make queries and keys, it turns a checkpoint
    of one convention into one of the other: scores stay as they were.

    Args:
      array: ``[..., N * H]``, features, or kernels ``[D, N * H]`` and biases whose
        last axis is that of the output; any dtype.
      heads: N, how many heads share the last axis.
      size: even, the first features of each head that are rotated; default H.

    Returns:
      ``[..., N * H]`` in the dtype of `array`.

    Raises:
      ValueError: if the last axis is not made of `heads` heads, or `size` does not fit.

    >>> halves_from_neighbours(jnp.arange(8), heads=2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """

    def order(size):
        return np.arange(size).reshape(-1, 2).T.reshape(-1)

    return _reordered(array, order, heads, size)


def neighbours_from_halves(
    array: jax.Array, *, heads: int = 1, size: int | None = None
) -> jax.Array:
    """The inverse of `halves_from_neighbours`, whose arguments and errors it has."""

    def order(size):
        return np.arange(size).reshape(2, -1).T.reshape(-1)

    return _reordered(array, order, heads, size)
