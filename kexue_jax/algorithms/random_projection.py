"""Random linear maps to fewer dimensions that keep lengths on average.

A projection is a NamedTuple made from a key, `Dense` or `Structured`; `project` applies
it. All of them are scaled so that the mean of the squared length of a projected vector
is its squared length.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics

EXACT = jax.lax.Precision.HIGHEST


class Dense(NamedTuple):
    """A projection by a matrix ``[n, m]``, whose rows give the n outputs."""

    matrix: jax.Array


class Structured(NamedTuple):
    r"""Signs, a Hadamard transform, and a choice of its rows.

    .. math:: A = \sqrt{P / n}\, R\, H D

    D has random signs, H is the orthonormal Hadamard matrix of size P, the least power
    of two that is not below m, and R takes n of its rows.

    Attributes:
      signs: ``[blocks, m]`` float32, 1 or -1, independent for each block of P rows.
      rows: ``[n]`` int32 below ``blocks * P``, none twice.
    """

    signs: jax.Array
    rows: jax.Array


Projection = Dense | Structured


def gaussian_projection(rng: jax.Array, *, input_size: int, output_size: int) -> Dense:
    r"""Returns a matrix of independent normal entries :math:`N(0, 1/n)`.

    The squared length of a projected unit vector is :math:`\chi^2_n / n`, of variance
    :math:`2 / n`, whatever the vector.

    Args:
      rng: a key.
      input_size: m, positive.
      output_size: n, positive; it may exceed m.

    Returns:
      A `Dense` projection, ``[n, m]`` float32.

    Raises:
      ValueError: if a size is not positive.

    Source: https://kexue.fm/archives/8679
    """
    _check_sizes(input_size, output_size)
    entries = jax.random.normal(rng, (output_size, input_size), jnp.float32)
    return Dense(entries / math.sqrt(output_size))


def rademacher_projection(
    rng: jax.Array, *, input_size: int, output_size: int
) -> Dense:
    r"""Returns a matrix of random signs, :math:`\pm 1 / \sqrt n`.

    The squared length of a projected unit vector x has variance
    :math:`\frac{2}{n} (1 - \sum_j x_j^4)`: none at all if x is a unit of the basis.

    Arguments, result and errors are those of `gaussian_projection`.

    Source: Achlioptas, Database-friendly random projections (2003).
    """
    _check_sizes(input_size, output_size)
    signs = jax.random.rademacher(rng, (output_size, input_size), jnp.float32)
    return Dense(signs / math.sqrt(output_size))


def sparse_projection(
    rng: jax.Array, *, input_size: int, output_size: int, sparsity: float = 3.0
) -> Dense:
    r"""Returns a matrix whose entries are mostly 0.

    .. math:: A_{ij} = \sqrt{s / n} \cdot \{+1, 0, -1\} \text{ with probabilities }
              \tfrac{1}{2s},\ 1 - \tfrac{1}{s},\ \tfrac{1}{2s}

    s = 3 is the map of Achlioptas, :math:`s = \sqrt m` the very sparse one of Li,
    Hastie and Church. The squared length of a projected unit vector x has variance
    :math:`(2 + (s - 3) \sum_j x_j^4) / n`, so a large s is for vectors with many
    entries alike in size. It fails on sparse ones: for a unit of the basis the
    variance is :math:`(s - 1) / n`, for a difference of two :math:`(s + 1) / 2n`.

    Args:
      rng: a key.
      input_size: m, positive.
      output_size: n, positive; it may exceed m.
      sparsity: s, at least 1; one entry in s is not 0.

    Returns:
      A `Dense` projection, ``[n, m]`` float32. Zeros are held like other entries.

    Raises:
      ValueError: if a size is not positive, or `sparsity` is below 1 or not finite.

    Source: Achlioptas (2003); Li, Hastie and Church, Very sparse random projections
      (2006).
    """
    _check_sizes(input_size, output_size)
    if not 1.0 <= sparsity < math.inf:
        raise ValueError(f"sparsity must be at least 1 and finite, got {sparsity}")
    for_sign, for_place = jax.random.split(rng)
    shape = (output_size, input_size)
    signs = jax.random.rademacher(for_sign, shape, jnp.float32)
    some = jax.random.uniform(for_place, shape, jnp.float32) * sparsity < 1.0
    return Dense(jnp.where(some, signs, 0.0) * math.sqrt(sparsity / output_size))


def structured_projection(
    rng: jax.Array, *, input_size: int, output_size: int
) -> Structured:
    r"""Returns a subsampled randomised Hadamard transform, for O(m log m) a vector.

    Vectors are filled up with zeros to P, the least power of two that is not below m.
    Rows are drawn without replacement; if n exceeds P, blocks with signs of their own
    follow each other. A whole block keeps lengths exactly. With r rows in the last one,
    r = n if n is at most P, the squared length of a projected unit x has variance

    .. math:: \frac{2 r (P - r)}{n^2 (P - 1)} \Big(1 - \sum_j x_j^4\Big), \quad P > 1

    Args:
      rng: a key.
      input_size: m, positive.
      output_size: n, positive; it may exceed m.

    Returns:
      A `Structured` projection.

    Raises:
      ValueError: if a size is not positive.

    Source: Ailon and Chazelle (2006) with a dense choice of rows instead of a sparse
      matrix, as Tropp, https://arxiv.org/abs/1011.1595.
    """
    _check_sizes(input_size, output_size)
    size = padded_size(input_size)
    whole = (output_size - 1) // size
    for_signs, for_rows = jax.random.split(rng)
    signs = jax.random.rademacher(for_signs, (whole + 1, input_size), jnp.float32)
    last = jax.random.permutation(for_rows, size)[: output_size - whole * size]
    rows = jnp.concatenate([jnp.arange(whole * size), whole * size + last])
    return Structured(signs, rows.astype(jnp.int32))


def project(projection: Projection, x: jax.Array) -> jax.Array:
    """Applies a projection to vectors.

    Args:
      projection: of one of the functions of this module, from m to n dimensions, or
        any matrix ``[n, m]`` as `Dense`.
      x: ``[..., m]``, any dtype but complex.

    Returns:
      ``[..., n]`` in the dtype of `x` if that is a float, else float32. Rows are
      independent of each other: chunks of a stream give what all of it gives.

    Raises:
      ValueError: if the last axis of `x` is not m.

    Numerics: products and sums are float32, or float64 if `x` is.

    >>> down = gaussian_projection(jax.random.key(0), input_size=100, output_size=8)
    >>> project(down, jnp.ones((5, 100))).shape
    (5, 8)
    """
    size = input_size_of(projection)
    if not x.ndim or x.shape[-1] != size:
        raise ValueError(f"x must be [..., {size}] for this projection, got {x.shape}")
    kind = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
    wide = numerics.widened(x)
    if isinstance(projection, Dense):
        matrix = projection.matrix.astype(wide.dtype)
        return jnp.einsum("...m,nm->...n", wide, matrix, precision=EXACT).astype(kind)
    signs, rows = projection
    blocks, padding = signs.shape[0], padded_size(size) - size
    lead = (1,) * (x.ndim - 1)
    signed = wide[..., None, :] * signs.astype(wide.dtype).reshape(*lead, blocks, size)
    signed = jnp.pad(signed, [(0, 0)] * x.ndim + [(0, padding)])
    mixed = hadamard_transform(signed)
    mixed = mixed.reshape(*x.shape[:-1], blocks * mixed.shape[-1])
    scale = math.sqrt(padded_size(size) / rows.shape[0])
    return (scale * jnp.take(mixed, rows, axis=-1)).astype(kind)


def hadamard_transform(x: jax.Array) -> jax.Array:
    r"""Multiplies by the orthonormal Hadamard matrix, in O(P log P) a vector.

    .. math:: H_1 = 1, \quad H_{2P} = \frac{1}{\sqrt 2}
              \begin{pmatrix} H_P & H_P \\ H_P & -H_P \end{pmatrix}

    It keeps lengths and is its own inverse.

    Args:
      x: ``[..., P]``, P a power of two.

    Returns:
      ``[..., P]`` in the dtype of `x` if that is a float, else float32.

    Raises:
      ValueError: if P is not a power of two.

    Numerics: sums are float32, or float64 if `x` is.

    >>> hadamard_transform(jnp.array([3.0, 1.0, 1.0, 1.0])).tolist()
    [3.0, 1.0, 1.0, 1.0]
    """
    size = x.shape[-1] if x.ndim else 0
    if size < 1 or size != padded_size(size):
        raise ValueError(f"x must be [..., P], P a power of two, got {x.shape}")
    kind = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
    mixed, half = numerics.widened(x), 1
    while half < size:
        pairs = mixed.reshape(*x.shape[:-1], size // (2 * half), 2, half)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        mixed = jnp.stack([first + second, first - second], axis=-2)
        half *= 2
    return (mixed.reshape(x.shape) / math.sqrt(size)).astype(kind)


def padded_size(size: int) -> int:
    """Returns the least power of two that is not below a positive size."""
    return 1 << (size - 1).bit_length()


def input_size_of(projection: Projection) -> int:
    """Returns m.

    Raises:
      ValueError: if a matrix is not ``[n, m]``, or signs are not ``[blocks, m]``.
    """
    name = "matrix" if isinstance(projection, Dense) else "signs"
    part = projection[0]
    if part.ndim != 2:
        raise ValueError(f"{name} must have two axes, got {part.shape}")
    return part.shape[1]


def _check_sizes(input_size, output_size):
    for name, size in (("input_size", input_size), ("output_size", output_size)):
        if size < 1:
            raise ValueError(f"{name} must be positive, got {size}")
