"""Performer (FAVOR+): softmax attention through random features, in linear time.

A projection ``[M, H]`` holds one random vector per row. It is state: made from a key,
kept while a model is evaluated, and redrawn as a function of the step (`redrawn`).
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kexue_jax.attention.feature_maps import (
    ScaledFeatures,
    projected,
    stable_exp,
)
from kexue_jax.attention.linear import Rotation, linear_attention

Norms = Callable[[jax.Array, int, int], jax.Array]
Projection = Callable[[jax.Array], jax.Array]
RandomFeatures = Callable[..., jax.Array | ScaledFeatures]


def iid_projection(rng: jax.Array, *, features: int, head_size: int) -> jax.Array:
    """Returns independent standard normal vectors.

    Args:
      rng: a key.
      features: M, positive.
      head_size: H, positive.

    Returns:
      ``[M, H]`` float32.
    """
    _check_sizes(features, head_size)
    return jax.random.normal(rng, (features, head_size), jnp.float32)


def chi_norms(rng: jax.Array, count: int, size: int) -> jax.Array:
    """Returns the norms of `count` standard normal vectors: ``[count]`` float32.

    With them an orthogonal projection has rows that are normal each, and estimates
    without bias.
    """
    normal = jax.random.normal(rng, (count, size), jnp.float32)
    return jnp.linalg.norm(normal, axis=-1)


def sqrt_norms(rng: jax.Array, count: int, size: int) -> jax.Array:
    r"""Returns :math:`\sqrt{H}` for all rows: ``[count]`` float32, nothing is random.

    Less variance and a bias: the mean of an estimate is

    .. math:: e^{-(\|q\|^2 + \|k\|^2) / 2}\, \Gamma(\tfrac{H}{2})
              \Big(\frac{2}{s}\Big)^{H/2 - 1} I_{H/2 - 1}(s), \quad
              s = \sqrt{H}\, \|q + k\|
    """
    del rng
    return jnp.full((count,), math.sqrt(size), jnp.float32)


def stratified_norms(rng: jax.Array, count: int, size: int) -> jax.Array:
    r"""Returns norms at even steps of their probability, in random order.

    .. math:: P(\chi_H \le R_i) = \frac{i}{M + 1}, \quad i = 1, \dots, M

    Estimates are a little too small, as the tail is cut.

    Returns:
      ``[count]`` float32, exact to about 1e-6.
    """
    levels = jnp.arange(1, count + 1, dtype=jnp.float32) / (count + 1)
    shape = jnp.full((count,), 0.5 * size, jnp.float32)

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        above = jax.scipy.special.gammainc(shape, 0.5 * middle**2) > levels
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    # No level is above 1 - 1 / (M + 1), and the chi norm of H stays near sqrt(H).
    high = math.sqrt(size) + math.sqrt(2.0 * math.log(count + 1.0)) + 1.0
    ends = (jnp.zeros_like(shape), jnp.full_like(shape, high))
    low, high = jax.lax.fori_loop(0, 40, halve, ends)
    return jax.random.permutation(rng, 0.5 * (low + high))


def orthogonal_projection(
    rng: jax.Array, *, features: int, head_size: int, norms: Norms = chi_norms
) -> jax.Array:
    """Returns random vectors that are orthogonal within every block of H.

    Directions are those of a uniformly drawn rotation: of a QR decomposition, with the
    signs of R's diagonal given to Q. Without these signs the directions depend on the
    sign convention of the decomposition, and positive features estimate too little
    along one axis and too much against it.

    Args:
      rng: a key.
      features: M, positive; above H there are several independent blocks.
      head_size: H, positive.
      norms: ``(rng, M, H) -> [M]``: `chi_norms` (no bias), `sqrt_norms` or
        `stratified_norms`.

    Returns:
      ``[M, H]`` float32.

    Raises:
      ValueError: if a size is not positive.

    Source: https://kexue.fm/archives/7921, with the signs of Mezzadri (2007).
    """
    _check_sizes(features, head_size)
    blocks = -(-features // head_size)
    for_directions, for_norms = jax.random.split(rng)
    shape = (blocks, head_size, head_size)
    q, r = jnp.linalg.qr(jax.random.normal(for_directions, shape, jnp.float32))
    diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
    q = q * jnp.where(diagonal < 0.0, -1.0, 1.0)[:, None, :]
    rows = jnp.swapaxes(q, -2, -1).reshape(-1, head_size)[:features]
    return rows * norms(for_norms, features, head_size)[:, None]


def redrawn(
    rng: jax.Array,
    step: int | jax.Array,
    *,
    interval: int = 1000,
    projection: Projection,
) -> jax.Array:
    """Returns the projection that belongs to a training step.

    A function of (rng, step), so that a run that was stopped goes on with the same
    features and nothing depends on the data.

    Args:
      rng: a key, the same for all steps.
      step: int or ``[]`` int, from 0.
      interval: how many steps share a projection, positive.
      projection: from a key to ``[M, H]``.

    Returns:
      ``[M, H]``, what `projection` makes of the key of ``step // interval``.

    Raises:
      ValueError: if `interval` is not positive.
    """
    if interval < 1:
        raise ValueError(f"interval must be positive, got {interval}")
    return projection(jax.random.fold_in(rng, step // interval))


def positive_features(features: jax.Array, projection: jax.Array) -> ScaledFeatures:
    r"""Returns positive random features of the exponential kernel.

    .. math:: \phi(x)_r = M^{-1/2} \exp(\omega_r \cdot x - \|x\|^2 / 2), \quad
              \mathbb{E}\,\phi(q) \cdot \phi(k) = e^{q \cdot k}

    The mean square error of one estimate, for independent rows, is
    :math:`\frac{1}{M} e^{2 q \cdot k} (e^{\|q + k\|^2} - 1)`: small where similarities
    are small, and large for long vectors.

    Args:
      features: ``[..., H]``, finite.
      projection: ``[M, H]``, rows :math:`\omega_r`.

    Returns:
      `ScaledFeatures` of ``[..., M]``; the largest value of every row is 1.

    Numerics: the whole exponent is compared with its largest entry, so that long
      vectors do not lose all their features at once.

    Source: https://kexue.fm/archives/7921
    """
    x = features.astype(jnp.float32)
    count = projection.shape[0]
    return _weighted(stable_exp(projected(x, projection)), x, -0.5, count)


def hyperbolic_features(features: jax.Array, projection: jax.Array) -> ScaledFeatures:
    r"""Returns positive features for every random vector and for its negative.

    .. math:: \phi(x) = (2M)^{-1/2} e^{-\|x\|^2 / 2}
              \big[e^{\omega_r \cdot x}, e^{-\omega_r \cdot x}\big]

    Twice the features and less than half of the error of `positive_features`,
    :math:`\frac{1}{2}(1 - e^{-\|q + k\|^2})` of it for independent rows.

    Args:
      features: ``[..., H]``, finite.
      projection: ``[M, H]``.

    Returns:
      `ScaledFeatures` of ``[..., 2 M]``.

    Source: https://kexue.fm/archives/7921 and arXiv 2009.14794
    """
    x = features.astype(jnp.float32)
    exponents = projected(x, projection)
    exponents = jnp.concatenate([exponents, -exponents], axis=-1)
    return _weighted(stable_exp(exponents), x, -0.5, exponents.shape[-1])


def trigonometric_features(
    features: jax.Array, projection: jax.Array
) -> ScaledFeatures:
    r"""Returns random Fourier features of the exponential kernel.

    .. math:: \phi(x) = M^{-1/2} e^{\|x\|^2 / 2}
              \big[\cos(\omega_r \cdot x), \sin(\omega_r \cdot x)\big]

    Exact for equal vectors, with an error of
    :math:`\frac{1}{2M} e^{\|q + k\|^2 - 2 q \cdot k} (1 - e^{-\|q - k\|^2})^2`, large
    where similarities are small. Weights can be negative, and their sum can vanish.

    Args:
      features: ``[..., H]``, finite.
      projection: ``[M, H]``.

    Returns:
      `ScaledFeatures` of ``[..., 2 M]``.

    Source: https://kexue.fm/archives/7921
    """
    x = features.astype(jnp.float32)
    turns = projected(x, projection)
    values = jnp.concatenate([jnp.cos(turns), jnp.sin(turns)], axis=-1)
    scaled = ScaledFeatures(values, jnp.zeros_like(values[..., :1]))
    return _weighted(scaled, x, 0.5, projection.shape[0])


def performer_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    projection: jax.Array,
    features: RandomFeatures = positive_features,
    scale: float | None = None,
    is_causal: bool = False,
    chunk_size: int | None = None,
    rotate: Rotation | None = None,
) -> jax.Array:
    r"""Estimates softmax attention by `linear_attention` with random features.

    .. math:: o_t = \frac{\sum_s \phi(q_t) \cdot \phi(k_s)\, v_s}
                         {\sum_s \phi(q_t) \cdot \phi(k_s)}, \quad
              \mathbb{E}\,\phi(q) \cdot \phi(k) = e^{q \cdot k / \sqrt{H}}

    An estimate of every weight, so its error grows with the size of queries and keys:
    with entries of size 1 and 256 features the plain mean of the values is nearer to
    softmax attention. Weights of a softmax model are not at home here without more
    training, and a vector added to all keys changes the result. In decoding use
    `linear_attention_step` with ``functools.partial(features, projection=...)``.

    Args:
      query: ``[B, T, N, H]``.
      key: ``[B, S, N, H]``.
      value: ``[B, S, N, V]``.
      mask: bool ``[B or 1, N or 1, 1, S]``; True keeps a key.
      projection: ``[M, H]``, of `orthogonal_projection` or `iid_projection`; with
        vectors of size 64 usually M = 256.
      features: `positive_features`, `hyperbolic_features`, `trigonometric_features`, or
        `relu_features` for generalised attention, which imitates nothing.
      scale: > 0, default ``1 / sqrt(H)``; inputs are multiplied by its root, once.
      is_causal, chunk_size, rotate: as in `linear_attention`.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or as `linear_attention`.

    Numerics: as `linear_attention`; a query whose features peak where all keys have
      none, beyond float32, gets zeros.

    Source: https://kexue.fm/archives/7921 and arXiv 2009.14794, with no constant added
      to features and no maximum over keys that come later.
    """
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    return linear_attention(
        query,
        key,
        value,
        mask,
        feature_map=functools.partial(features, projection=projection),
        scale=scale,
        is_causal=is_causal,
        chunk_size=chunk_size,
        rotate=rotate,
    )


def _weighted(features, x, sign, count):
    """Adds what all features of a row share: half a square and the root of a mean."""
    shared = sign * jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    shared = features.log_scale + shared - 0.5 * math.log(count)
    return ScaledFeatures(features.values, shared)


def _check_sizes(features, head_size):
    if features < 1 or head_size < 1:
        raise ValueError(
            f"features and head_size must be positive, got {features}, {head_size}"
        )
