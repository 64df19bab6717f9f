"""How many dimensions N vectors need: by the Johnson-Lindenstrauss lemma, by entropy.

Bounds and dimensions are floats and ints, computed on the host. Errors of the lemma
are those of squared distances; N counts points, not pairs.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax import numerics

#: n > this * log N makes the entropy of `joint_entropy` negative, for large n.
ENTROPY_FACTOR = 4.0 / math.log((1.0 + math.sqrt(5.0)) / 2.0)
#: The same as the post rounds it, 2 / 0.24.
ROUNDED_ENTROPY_FACTOR = 8.33


def norm_tail_bound(*, size: int, epsilon: float) -> float:
    r"""Bounds the probability that a random vector is far from unit length.

    .. math:: u \in \mathbb{R}^n, u_i \sim N(0, 1/n): \quad
              P(|\|u\|^2 - 1| \ge \varepsilon) \le 2 e^{-\varepsilon^2 n / 8}

    Args:
      size: n, positive.
      epsilon: in (0, 1).

    Returns:
      The bound, which may exceed 1.

    Raises:
      ValueError: if an argument is out of its range.

    Source: https://kexue.fm/archives/8679

    >>> round(norm_tail_bound(size=200, epsilon=0.3), 4)
    0.2108
    """
    return 2.0 * _decay(size, epsilon)


def norm_chernoff_bound(*, size: int, epsilon: float) -> float:
    r"""Bounds the same probability as `norm_tail_bound`, before it is simplified.

    .. math:: e^{n (\log(1 + \varepsilon) - \varepsilon) / 2} +
              e^{n (\log(1 - \varepsilon) + \varepsilon) / 2}

    The first term is that of vectors too long, at the best
    :math:`\lambda = n \varepsilon / 2 (1 + \varepsilon)`; the second that of vectors
    too short. Arguments and errors are those of `norm_tail_bound`.

    Source: https://kexue.fm/archives/8679
    """
    _check(size=size, epsilon=epsilon)
    long = math.exp(0.5 * size * (math.log1p(epsilon) - epsilon))
    return long + math.exp(0.5 * size * (math.log1p(-epsilon) + epsilon))


def orthogonality_tail_bound(*, size: int, epsilon: float) -> float:
    r"""Bounds the probability that two random vectors are far from orthogonal.

    .. math:: P(|\langle u, v \rangle| \ge \varepsilon) \le 4 e^{-\varepsilon^2 n / 8}

    Arguments and errors are those of `norm_tail_bound`, and so are the vectors.

    Source: https://kexue.fm/archives/8679
    """
    return 4.0 * _decay(size, epsilon)


def distances_failure_bound(*, points: int, size: int, epsilon: float) -> float:
    r"""Bounds the probability that a projection misses a distance of N points.

    .. math:: (1 - \varepsilon) \|v_i - v_j\|^2 \le \|A v_i - A v_j\|^2
              \le (1 + \varepsilon) \|v_i - v_j\|^2

    fails for some pair with probability at most
    :math:`N (N - 1) e^{-\varepsilon^2 n / 8}`, for a `gaussian_projection`.

    Args:
      points: N, positive.
      size: n, positive.
      epsilon: in (0, 1), of squared distances.

    Returns:
      The bound, which may exceed 1.

    Raises:
      ValueError: if an argument is out of its range.

    Source: https://kexue.fm/archives/8679
    """
    _check(points=points)
    return points * (points - 1) * _decay(size, epsilon)


def inner_products_failure_bound(*, points: int, size: int, epsilon: float) -> float:
    r"""Bounds the probability that a projection misses an inner product of N points.

    .. math:: |\langle A v_i, A v_j \rangle - \langle v_i, v_j \rangle|
              \le \varepsilon, \quad \|v_i\| = 1

    fails for some pair with probability at most
    :math:`2 N (N - 1) e^{-\varepsilon^2 n / 8}`: sums and differences of a pair each
    have a length to keep. Arguments and errors are those of `distances_failure_bound`.

    Source: https://kexue.fm/archives/8679
    """
    return 2.0 * distances_failure_bound(points=points, size=size, epsilon=epsilon)


def lemma_dimension(*, points: int, epsilon: float) -> int:
    r"""Returns the dimension from which almost every projection keeps all distances.

    .. math:: n > \frac{24 \log N}{\varepsilon^2}

    Then a `gaussian_projection` keeps all squared distances up to a share
    :math:`\varepsilon` with probability at least 1 - 1 / N, and all inner products of
    unit vectors up to :math:`\varepsilon` with at least 1 - 2 / N.

    Args:
      points: N, positive.
      epsilon: in (0, 1), of squared distances.

    Returns:
      The least such n.

    Raises:
      ValueError: if an argument is out of its range.

    Source: https://kexue.fm/archives/8679

    >>> lemma_dimension(points=100, epsilon=0.3)
    1229
    """
    return math.floor(_factor_of_lemma(points, epsilon, 24.0)) + 1


def existence_dimension(*, points: int, epsilon: float) -> int:
    r"""Returns the dimension from which some projection keeps all distances.

    .. math:: n > \frac{16 \log N}{\varepsilon^2}

    The probability of success is then above 1 / N. Arguments, result and errors are
    those of `lemma_dimension`.

    Source: https://kexue.fm/archives/8679

    >>> existence_dimension(points=100, epsilon=0.3)
    819
    """
    return math.floor(_factor_of_lemma(points, epsilon, 16.0)) + 1


def dasgupta_gupta_dimension(*, points: int, epsilon: float) -> int:
    r"""Returns the dimension of the tighter bound of Dasgupta and Gupta.

    .. math:: n \ge \frac{4 \log N}{\varepsilon^2 / 2 - \varepsilon^3 / 3}

    From it on some projection keeps all squared distances up to a share
    :math:`\varepsilon`. scikit-learn's `johnson_lindenstrauss_min_dim` rounds the same
    number down, where this rounds it up. Arguments and errors are those of
    `lemma_dimension`.

    Source: Dasgupta and Gupta, An elementary proof of a theorem of Johnson and
      Lindenstrauss (2003).

    >>> dasgupta_gupta_dimension(points=100, epsilon=0.3)
    512
    """
    _check(points=points, epsilon=epsilon)
    room = epsilon**2 / 2.0 - epsilon**3 / 3.0
    return max(math.ceil(4.0 * math.log(points) / room), 1)


def spherical_entropy(*, size: int) -> float:
    r"""What the entropy of words and contexts loses by vectors of size n.

    .. math:: h_n &= \log \mathbb{E}\, e^{\langle u, v \rangle} -
              \frac{\mathbb{E}\, \langle u, v \rangle e^{\langle u, v \rangle}}
                   {\mathbb{E}\, e^{\langle u, v \rangle}} \\
              &= \log \Gamma(\tfrac n2) + (\tfrac n2 - 1) \log \tfrac 2n +
              \log I_{n/2 - 1}(n) - n \frac{I_{n/2}(n)}{I_{n/2 - 1}(n)}

    for u and v uniform on the sphere of radius :math:`\sqrt n`. It falls as
    :math:`-n \log \sqrt{(1 + \sqrt 5) / 2} = -0.2406\, n`.

    Args:
      size: n, positive.

    Returns:
      :math:`h_n < 0`, in nats.

    Raises:
      ValueError: if `size` is not positive.

    Numerics: float64, relative error below 1e-11 up to n = 1e5, in O(n). Bessel
      functions are summed as :math:`\sum_k (n^2 / 4)^k / (k!\, (n/2)_k)`, of positive
      terms; if k has probabilities like these terms, :math:`h_n` is the logarithm of
      the sum less twice the mean of k.

    Source: https://kexue.fm/archives/7695

    >>> round(spherical_entropy(size=96), 4)
    -23.1726
    """
    _check(size=size)
    # Terms peak at k = 0.31 n, in a width of about the root of n.
    k = np.arange(0.31 * size + 12.0 * math.sqrt(size) + 40.0)
    logs = np.log(0.25 * size * size) - np.log((k + 1.0) * (k + 0.5 * size))
    logs = np.concatenate([[0.0], np.cumsum(logs[:-1])])
    weights = np.exp(logs - logs.max())
    total = weights.sum()
    return float(logs.max() + math.log(total) - 2.0 * (weights @ k) / total)


def joint_entropy(*, count: int, size: int) -> float:
    r"""Returns :math:`2 \log N + h_n`, of N words with N contexts in n dimensions.

    It is the entropy of :math:`p(i, j) = e^{\langle u_i, v_j \rangle} / Z` when the
    vectors fill a sphere evenly. It falls below 0 where the sphere has more room than N
    vectors can fill.

    Args:
      count: N, positive.
      size: n, positive.

    Returns:
      Nats.

    Raises:
      ValueError: if an argument is not positive.

    Source: https://kexue.fm/archives/7695
    """
    _check(count=count)
    return 2.0 * math.log(count) + spherical_entropy(size=size)


def embedding_dimension(*, count: int, factor: float = ENTROPY_FACTOR) -> float:
    r"""Returns the dimension that N vectors need by the principle of least entropy.

    .. math:: n > \frac{4}{\log \frac{1 + \sqrt 5}{2}} \log N = 8.3123 \log N

    N is the number of words that vectors are for, or, by analogy, the length of the
    texts between whose places an attention head of size n tells. The analogy is no
    theorem: a matrix of scores drawn at random needs far more.

    Args:
      count: N, positive.
      factor: positive; the post has `ROUNDED_ENTROPY_FACTOR`, 8.33.

    Returns:
      The real number that n has to exceed.

    Raises:
      ValueError: if an argument is not positive.

    Source: https://kexue.fm/archives/7695 and https://kexue.fm/archives/8711

    >>> [round(embedding_dimension(count=n, factor=8.33), 2) for n in (512, 100_000)]
    [51.97, 95.9]
    """
    _check(count=count)
    if not 0.0 < factor < math.inf:
        raise ValueError(f"factor must be positive and finite, got {factor}")
    return factor * math.log(count)


def least_entropy_dimension(*, count: int) -> int:
    """Returns the least n of a negative `joint_entropy`, with nothing rounded.

    Args:
      count: N, positive.

    Returns:
      n, at least 1.

    Raises:
      ValueError: if `count` is not positive.

    Source: https://kexue.fm/archives/7695

    >>> least_entropy_dimension(count=100_000)
    96
    """
    low, high = 0, max(math.ceil(embedding_dimension(count=count)), 1)
    while joint_entropy(count=count, size=high) >= 0.0:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        enough = joint_entropy(count=count, size=middle) < 0.0
        low, high = (low, middle) if enough else (middle, high)
    return high


def squared_distance_ratios(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""Returns by how much squared distances have changed, for all pairs of points.

    .. math:: r_{ij} = \frac{\|y_i - y_j\|^2}{\|x_i - x_j\|^2}

    Args:
      x: ``[N, m]``, points.
      y: ``[N, n]``, the same points elsewhere, such as projected.

    Returns:
      ``[N (N - 1) / 2]`` float32, or float64 if both are, pairs in the order of
      `jnp.triu_indices`; 1 for points of `x` that are equal.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: distances are sums of squared differences, so near points lose nothing.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x and y must be [N, m] and [N, n], got {x.shape}, {y.shape}")
    own, other = (_squared_distances(numerics.widened(points)) for points in (x, y))
    first, second = np.triu_indices(len(x), 1)
    own, other = own[first, second], other[first, second]
    some = own > 0.0
    return jnp.where(some, other / jnp.where(some, own, 1.0), 1.0)


def _squared_distances(points):
    def to_all(point):
        return jnp.sum(jnp.square(points - point[None]), axis=-1)

    return jax.lax.map(to_all, points)


def _decay(size, epsilon):
    _check(size=size, epsilon=epsilon)
    return math.exp(-(epsilon**2) * size / 8.0)


def _factor_of_lemma(points, epsilon, constant):
    _check(points=points, epsilon=epsilon)
    return constant * math.log(points) / epsilon**2


def _check(*, epsilon=0.5, **counts):
    if not 0.0 < epsilon < 1.0:
        raise ValueError(f"epsilon must lie in (0, 1), got {epsilon}")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be positive, got {count}")
