"""Differential entropy from the distances of samples to their neighbours."""

import math
from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax import numerics
from kexue_jax.metrics.host_calls import call_on_host

FEW = 8  # dimensions up to which a tree on the host beats products
GROUP = 64  # columns whose least entry stands for them


def _wrapped(away, period):
    return away if period is None else away - period * jnp.round(away / period)


def _places(values, k):
    """Places ``[B, k]`` of the least entries of ``[B, N]``, in order."""
    if k > 8:
        return jax.lax.top_k(-values, k)[1]
    found = [jnp.argmin(values, axis=1)]
    columns = jnp.arange(values.shape[1])[None, :]
    for _ in range(k - 1):
        values = jnp.where(columns == found[-1][:, None], jnp.inf, values)
        found.append(jnp.argmin(values, axis=1))
    return jnp.stack(found, axis=1)


def _kth(squares, k):
    """Places of the k-th least entries of rows ``[B, N]``, N a multiple of `GROUP`.

    Column j is in group j modulo the number of groups, so that the minima of all groups
    are one pass over whole rows; the k least entries are in the k groups with the least
    minima.
    """
    groups = squares.reshape(len(squares), GROUP, -1)
    count = groups.shape[2]
    if count <= k:
        return _places(squares, k)[:, -1]
    chosen = _places(jnp.min(groups, axis=1), k)
    inside = jnp.take_along_axis(groups, chosen[:, None, :], axis=2)
    place = _places(inside.reshape(len(squares), -1), k)[:, -1]
    group = jnp.take_along_axis(chosen, (place % k)[:, None], axis=1)[:, 0]
    return place // k * count + group


def _by_products(x, k, period, block):
    """The number of the k-th neighbour of each row, in blocks of rows."""
    count = len(x)
    block = min(block, count)
    blocks = -(-count // block)
    own = jnp.minimum(jnp.arange(blocks * block), count - 1).reshape(blocks, block)
    centred = x if period is not None else x - jnp.mean(x, axis=0, keepdims=True)
    filled = -count % GROUP
    others = jnp.pad(centred, ((0, filled), (0, 0)))
    real = jnp.arange(count + filled) < count
    lengths = jnp.where(real, jnp.sum(jnp.square(others), axis=1), jnp.inf)

    def some(rows):
        here = centred[rows]
        if period is None:
            # Lengths of the rows themselves do not change which is least.
            inner = jnp.matmul(here, others.T, precision=jax.lax.Precision.HIGHEST)
            squares = lengths[None, :] - 2.0 * inner
        else:
            away = _wrapped(here[:, None] - others[None], period)
            squares = jnp.sum(jnp.square(away), axis=2)
            squares = jnp.where(real[None, :], squares, jnp.inf)
        squares = squares.at[jnp.arange(block), rows].set(jnp.inf)
        return _kth(squares, k)

    return jax.lax.map(some, own).reshape(-1)[:count]


def _by_tree(x, *, k, period):
    from scipy.spatial import KDTree

    wide = np.asarray(x, np.float64)
    if period is not None:
        wide = np.mod(wide, period)
        wide = np.where(wide >= period, 0.0, wide)
    tree = KDTree(wide, boxsize=period)
    _, found = tree.query(wide, k + 1, workers=-1)
    # Equal samples may come before a sample itself, or without it.
    own = found == np.arange(len(wide))[:, None]
    before = np.cumsum(own, axis=1)[:, k - 1] > 0
    return np.where(before, found[:, k], found[:, k - 1]).astype(np.int32)


def _on_host(x, k, period):
    shape = jax.ShapeDtypeStruct(x.shape[:1], jnp.int32)

    def call(x):
        return [_by_tree(x, k=k, period=period)]

    (found,) = call_on_host(call, [shape], x, vmap_method="sequential")
    return found


def _neighbour(x, k, period, block, implementation):
    xla = partial(_by_products, k=k, period=period, block=block)
    host = partial(_on_host, k=k, period=period)
    if implementation == "host":
        return host(x)
    low = x.shape[1] <= FEW and find_spec("scipy") is not None
    if implementation == "xla" or not low:
        return xla(x)
    return jax.lax.platform_dependent(
        x, cpu=host, default=lambda x: xla(x).astype(jnp.int32)
    )


def knn_entropy(
    x: jax.Array,
    *,
    k: int = 1,
    period: float | None = None,
    least: float = 1e-12,
    block: int = 256,
    implementation: str | None = None,
) -> jax.Array:
    r"""Kozachenko and Leonenko's estimate of differential entropy.

    .. math:: \frac{d}{n} \sum_i \log \epsilon_k(i) + \log B_d + \psi(n) - \psi(k),
              \quad B_d = \frac{\pi^{d/2}}{\Gamma(d/2 + 1)}

    where :math:`\epsilon_k(i)` is the distance of sample i to its k-th neighbour. Use
    it as a regulariser: it lies far above the truth in many dimensions (208.8 nats for
    128 samples of a standard normal in 128, whose entropy is 181.6), and above the
    greatest possible once it has been maximised.

    Args:
      x: ``[n, d]`` floating, samples; n > k.
      k: the neighbour, at least 1; the correction is exact for each.
      period: > 0, of every dimension, for samples on a circle or a torus; None: none.
      least: distances below it count as it, and have no gradient.
      block: rows whose distances are held at once: memory is ``block * n``.
      implementation: ``"host"``, a tree of SciPy, good up to some eight dimensions;
        ``"xla"``, all distances by products; None is the tree on CPUs in at most eight
        dimensions where there is SciPy, and XLA elsewhere.

    Returns:
      A scalar in nats, float32, or float64 if `x` is.

    Raises:
      ValueError: if the shape or a number does not fit.

    Numerics: products choose the neighbour, so of two that are nearly as near the
      other may be chosen; distances are of differences. The gradient is that of the
      distances to the neighbours as they are. It grows by :math:`d \log a` under
      scaling by a, so without a constraint maximising it has no end.

    Source: https://kexue.fm/archives/7343, with the exact offset :math:`\psi(n)` and
      any k; Kozachenko and Leonenko, Problems of Information Transmission 23 (1987).

    >>> x = jnp.array([[0.0], [1.0], [3.0]])
    >>> print(f"{knn_entropy(x):.4f}")
    2.4242
    """
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x must be [n, d] floating, got {x.shape} {x.dtype}")
    count, size = x.shape
    if not 1 <= k < count or size < 1:
        raise ValueError(f"k must be from 1 to n - 1, got {k} for {count} samples")
    if block < 1 or not least > 0.0 or (period is not None and not period > 0.0):
        raise ValueError(
            f"block, least and period must be positive, got {block}, {least}, {period}"
        )
    if implementation not in (None, "host", "xla"):
        raise ValueError(
            f"implementation must be host, xla or None, got {implementation!r}"
        )
    x = numerics.widened(x)
    still = jax.lax.stop_gradient(x)
    other = _neighbour(still, k, period, block, implementation)
    square = jnp.sum(jnp.square(_wrapped(x - x[other], period)), axis=1)
    some = square > least**2
    logs = jnp.log(jnp.where(some, square, 1.0))
    logs = jnp.where(some, 0.5 * logs, math.log(least))
    ball = 0.5 * size * math.log(math.pi) - math.lgamma(0.5 * size + 1.0)
    return size * jnp.mean(logs) + ball + _digamma(count) - _digamma(k)


def _digamma(whole: int) -> float:
    """The digamma function of a positive integer."""
    if whole > 1000:
        return math.log(whole) - 0.5 / whole - 1.0 / (12.0 * whole**2)
    return -np.euler_gamma + sum(1.0 / i for i in range(1, whole))
