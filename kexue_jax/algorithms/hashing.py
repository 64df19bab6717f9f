"""Hashes that near vectors share: by signs, by steps along lines, by polytopes.

Each hash of a vector is one of n. How often two vectors share one falls with their
angle or distance, and for the first two it is known in closed form.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.algorithms.random_projection import (
    Projection,
    gaussian_projection,
    hadamard_transform,
    padded_size,
    project,
)

EXACT = jax.lax.Precision.HIGHEST
WORD = 32


def sign_hashes(projection: Projection, x: jax.Array) -> jax.Array:
    r"""Returns the signs of a projection: of SimHash.

    .. math:: h(v) = \mathrm{sign}(A v), \quad P(h_i(u) = h_i(v)) = 1 - \theta / \pi

    for a `gaussian_projection`, :math:`\theta` the angle between u and v. The n hashes
    may be more than the dimensions of x: each is a vote.

    Args:
      projection: as of `project`, from m to n.
      x: ``[..., m]``.

    Returns:
      ``[..., n]`` bool, True for +1; 0 counts as +1, so a zero vector is all True.

    Raises:
      ValueError: as `project`.

    Source: https://kexue.fm/archives/8706; Charikar, Similarity estimation techniques
      from rounding algorithms (2002).
    """
    return project(projection, numerics.widened(x)) >= 0.0


def sign_collision_probability(cosine: jax.Array) -> jax.Array:
    r"""Returns the probability that two vectors share a sign, :math:`1 - \theta/\pi`.

    Args:
      cosine: of the angle :math:`\theta`, any shape; cut to [-1, 1].

    Returns:
      The shape of `cosine`, float32, or float64 if it is.
    """
    angle = jnp.arccos(jnp.clip(numerics.widened(cosine), -1.0, 1.0))
    return 1.0 - angle / math.pi


def cosine_of_codes(similarity: jax.Array) -> jax.Array:
    r"""Recovers a cosine from that of codes of :math:`\pm 1`.

    .. math:: \mathbb{E}\, s = 1 - \frac{2 \theta}{\pi} \Rightarrow
              \cos \theta = \cos\Big(\frac{\pi}{2} (1 - s)\Big)

    The cosine of codes is itself no estimate of that of the vectors: it is smaller in
    size by up to 0.2105, at an angle of 0.690. As it rises with it, ranks are the same.

    Args:
      similarity: s, cosines of sign hashes: ``1 - 2 * hamming_distance / n``.

    Returns:
      The shape of `similarity`, float32, or float64 if it is.

    Source: https://kexue.fm/archives/8706, which takes s for the cosine.

    >>> cosine_of_codes(jnp.array([1.0, 1 / 3, -1.0])).round(4).tolist()
    [1.0, 0.5, -1.0]
    """
    return jnp.cos(0.5 * math.pi * (1.0 - numerics.widened(similarity)))


def packed(bits: jax.Array) -> jax.Array:
    """Packs bits into words, the first in the lowest bit.

    Args:
      bits: ``[..., n]`` bool.

    Returns:
      ``[..., W]`` uint32, W = ceil(n / 32); bits that fill up are 0.

    Raises:
      ValueError: if `bits` are not bool, or have no axis.
    """
    if bits.dtype != jnp.bool_ or not bits.ndim:
        raise ValueError(f"bits must be [..., n] bool, got {bits.dtype} {bits.shape}")
    size = bits.shape[-1]
    words = -(-size // WORD)
    padding = [(0, 0)] * (bits.ndim - 1) + [(0, words * WORD - size)]
    filled = jnp.pad(bits, padding).reshape(*bits.shape[:-1], words, WORD)
    places = jnp.arange(WORD, dtype=jnp.uint32).reshape((1,) * bits.ndim + (WORD,))
    return jnp.sum(filled.astype(jnp.uint32) << places, axis=-1, dtype=jnp.uint32)


def hamming_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Counts the bits in which packed codes differ.

    Args:
      x: ``[M, W]`` uint32, of `packed`.
      y: ``[N, W]`` uint32, of codes of the same size.

    Returns:
      ``[M, N]`` int32.

    Raises:
      ValueError: if the shapes or the dtypes disagree.
    """
    if (
        x.ndim != 2
        or y.ndim != 2
        or x.shape[1] != y.shape[1]
        or not x.dtype == y.dtype == jnp.uint32
    ):
        raise ValueError(
            "x and y must be [M, W] and [N, W] uint32, got "
            f"{x.dtype} {x.shape} and {y.dtype} {y.shape}"
        )

    def add(total, words):
        own, other = words
        apart = jax.lax.population_count(own[:, None] ^ other[None, :])
        return total + apart.astype(jnp.int32), None

    start = jnp.zeros((len(x), len(y)), jnp.int32)
    return jax.lax.scan(add, start, (x.T, y.T))[0]


class E2Hashes(NamedTuple):
    """Steps along random lines.

    Attributes:
      lines: ``[n, m]`` float32.
      offsets: ``[n]`` float32, in [0, width).
      width: ``[]`` float32, positive, of a step.
    """

    lines: jax.Array
    offsets: jax.Array
    width: jax.Array


def e2_hashes(
    rng: jax.Array, *, input_size: int, output_size: int, width: float
) -> E2Hashes:
    """Draws n hashes for Euclidean distances in m dimensions.

    Args:
      rng: a key.
      input_size: m, positive.
      output_size: n, positive.
      width: positive; distances of about this size are told from greater ones.

    Returns:
      The `E2Hashes`.

    Raises:
      ValueError: if a number is out of its range.

    Source: Datar, Immorlica, Indyk and Mirrokni, Locality-sensitive hashing scheme
      based on p-stable distributions (2004), p = 2.
    """
    if not 0.0 < width < math.inf:
        raise ValueError(f"width must be positive and finite, got {width}")
    for_lines, for_offsets = jax.random.split(rng)
    scaled = gaussian_projection(
        for_lines, input_size=input_size, output_size=output_size
    )
    offsets = jax.random.uniform(for_offsets, (output_size,), jnp.float32) * width
    lines = scaled.matrix * math.sqrt(output_size)
    return E2Hashes(lines, offsets, jnp.float32(width))


def e2_codes(hashes: E2Hashes, x: jax.Array) -> jax.Array:
    r"""Returns the steps :math:`\lfloor (a \cdot x + b) / w \rfloor` of vectors.

    Args:
      hashes: of `e2_hashes`, from m to n.
      x: ``[..., m]``.

    Returns:
      ``[..., n]`` int32.

    Raises:
      ValueError: if the last axis of `x` is not m.

    Numerics: float32, or float64 if `x` is; steps beyond int32 are the last of it.
    """
    lines, offsets, width = hashes
    _check_last(x, lines.shape[1])
    x = numerics.widened(x)
    along = jnp.einsum("...m,nm->...n", x, lines.astype(x.dtype), precision=EXACT)
    offsets = offsets.astype(x.dtype).reshape((1,) * (x.ndim - 1) + offsets.shape)
    return jnp.floor((along + offsets) / width.astype(x.dtype)).astype(jnp.int32)


def e2_collision_probability(distance: jax.Array, *, width: float) -> jax.Array:
    r"""Returns the probability that vectors at a distance share a step.

    .. math:: p(d) = \mathrm{erf}\Big(\frac{r}{\sqrt 2}\Big) -
              \sqrt{\frac{2}{\pi}}\, \frac{1 - e^{-r^2 / 2}}{r}, \quad r = \frac{w}{d}

    Args:
      distance: d, any shape, not negative.
      width: w, positive.

    Returns:
      The shape of `distance`, float32, or float64 if it is; 1 at distance 0.

    Raises:
      ValueError: if `width` is not positive.

    Source: Datar et al. (2004).
    """
    if not 0.0 < width < math.inf:
        raise ValueError(f"width must be positive and finite, got {width}")
    distance = numerics.widened(distance)
    some = distance > 0.0
    ratio = width / jnp.where(some, distance, 1.0)
    lost = -jnp.expm1(-0.5 * jnp.square(ratio)) / ratio
    found = jax.lax.erf(ratio * math.sqrt(0.5)) - math.sqrt(2.0 / math.pi) * lost
    return jnp.where(some, found, 1.0)


class CrossPolytopes(NamedTuple):
    """Random rotations, by signs between Hadamard transforms.

    Attributes:
      first: ``[n, m]`` float32, 1 or -1, of what is given.
      others: ``[n, 2, P]`` float32, 1 or -1, P the least power of two not below m.
    """

    first: jax.Array
    others: jax.Array


def cross_polytopes(
    rng: jax.Array, *, input_size: int, output_size: int
) -> CrossPolytopes:
    r"""Draws n rotations :math:`H D_3 H D_2 H D_1` of m dimensions.

    D are random signs, H is the Hadamard matrix. For few dimensions these rotations are
    few, below about 16 too few to be like random ones.

    Args:
      rng: a key.
      input_size: m, positive.
      output_size: n, positive.

    Returns:
      The `CrossPolytopes`.

    Raises:
      ValueError: if a size is not positive.

    Source: Andoni et al., Practical and optimal LSH for angular distance,
      https://arxiv.org/abs/1509.02897
    """
    for name, size in (("input_size", input_size), ("output_size", output_size)):
        if size < 1:
            raise ValueError(f"{name} must be positive, got {size}")
    for_first, for_others = jax.random.split(rng)
    first, others = (output_size, input_size), (output_size, 2, padded_size(input_size))
    return CrossPolytopes(
        jax.random.rademacher(for_first, first, jnp.float32),
        jax.random.rademacher(for_others, others, jnp.float32),
    )


def cross_polytope_codes(hashes: CrossPolytopes, x: jax.Array) -> jax.Array:
    r"""Returns the nearest of :math:`\pm e_i` after each rotation.

    Vectors at an angle share it with a probability p, of which only the limit is known:
    :math:`-\log p = \frac{\tau^2}{4 - \tau^2} \log m + O(\log \log m)` for unit vectors
    at a distance :math:`\tau`, and the best possible.

    Args:
      hashes: of `cross_polytopes`, n rotations of m dimensions.
      x: ``[..., m]``; only directions matter.

    Returns:
      ``[..., n]`` int32 in [0, 2 P): i for :math:`+ e_i`, P + i for :math:`- e_i`; the
      first of equals, so 0 for a zero vector.

    Raises:
      ValueError: if the last axis of `x` is not m.

    Numerics: float32, or float64 if `x` is.
    """
    first, others = hashes
    size, padded = first.shape[1], others.shape[2]
    _check_last(x, size)
    x = numerics.widened(x)
    lead = (1,) * (x.ndim - 1)
    first, others = (a.astype(x.dtype).reshape(*lead, *a.shape) for a in hashes)
    signed = x[..., None, :] * first
    turned = jnp.pad(signed, [(0, 0)] * x.ndim + [(0, padded - size)])
    for at in range(2):
        turned = hadamard_transform(turned) * others[..., at, :]
    turned = hadamard_transform(turned)
    place = jnp.argmax(jnp.abs(turned), axis=-1)
    largest = jnp.take_along_axis(turned, place[..., None], axis=-1)[..., 0]
    return jnp.where(largest < 0.0, place + padded, place).astype(jnp.int32)


def _check_last(x, size):
    if not x.ndim or x.shape[-1] != size:
        raise ValueError(f"x must be [..., {size}] for these hashes, got {x.shape}")
