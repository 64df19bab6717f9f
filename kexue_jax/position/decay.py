"""How products of sinusoidal and rotary positions fall with distance, on the host."""

import numpy as np


def mean_cosine(distances: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    r"""Products of two sinusoidal positions over their greatest value.

    .. math:: \frac{2}{D} \langle p_m, p_{m+d} \rangle
              = \frac{2}{D} \sum_{i < D/2} \cos(d\,\theta_i)

    Args:
      distances: any shape, d, in tokens.
      frequencies: ``[D / 2]``, :math:`\theta`, in radians per token.

    Returns:
      float64 of the shape of `distances`, from -1 to 1, and 1 at d = 0.

    Raises:
      ValueError: if `frequencies` is not a vector.

    Source: https://kexue.fm/archives/8231
    """
    _check(frequencies)
    turn = np.asarray(distances, np.float64)[..., None] * frequencies
    return np.mean(np.cos(turn), axis=-1)


def mean_cosine_limit(distances: np.ndarray, *, base: float = 10000.0) -> np.ndarray:
    r"""What `mean_cosine` tends to as the features grow without bound.

    .. math:: \int_0^1 \cos(d\,b^{-t})\,\mathrm{d}t
              = \frac{\mathrm{Ci}(d) - \mathrm{Ci}(d / b)}{\ln b}

    Between 1 and b it falls as :math:`1 - (\gamma + \ln d) / \ln b`: long-range decay
    is logarithmic, and beyond b it swings about zero.

    Args:
      distances: any shape, d, in tokens.
      base: b, > 1, of the frequencies :math:`b^{-t}`.

    Returns:
      float64 of the shape of `distances`.

    Raises:
      ValueError: if `base` is not greater than 1.

    Source: https://kexue.fm/archives/8231, which has the integral; its closed form is
      ours.

    >>> mean_cosine_limit(np.array([0, 1, 128])).round(4).tolist()
    [1.0, 0.974, 0.4111]
    """
    if base <= 1.0:
        raise ValueError(f"base must be greater than 1, got {base}")
    distances = np.abs(np.asarray(distances, np.float64))
    apart = np.where(distances > 0.0, distances, 1.0)
    limit = (_cosine_integral(apart) - _cosine_integral(apart / base)) / np.log(base)
    return np.where(distances > 0.0, limit, 1.0)


def rotary_bound(distances: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    r"""The mean of partial sums that bounds a rotary score at a distance.

    .. math:: B(d) = \frac{2}{D} \sum_{j=1}^{D/2} \Big|\sum_{i < j}
              e^{\mathrm{i} d \theta_i}\Big|

    By summation by parts a score is at most this times D / 2 times the greatest change
    between the products of neighbouring pairs of features.

    Args:
      distances: any shape, d, in tokens.
      frequencies: ``[D / 2]``, :math:`\theta`, in radians per token, in the order in
        which the pairs of features have them.

    Returns:
      float64 of the shape of `distances`, not negative.

    Raises:
      ValueError: if `frequencies` is not a vector.

    Source: https://kexue.fm/archives/8265
    """
    _check(frequencies)
    turn = np.asarray(distances, np.float64)[..., None] * frequencies
    return np.mean(np.abs(np.cumsum(np.exp(1j * turn), axis=-1)), axis=-1)


def _check(frequencies):
    if frequencies.ndim != 1 or not frequencies.size:
        raise ValueError(f"frequencies must be [D / 2], got {frequencies.shape}")


def _cosine_integral(x):
    """Ci of positive numbers: its series up to 4, a continued fraction beyond."""
    small, large = np.minimum(x, 4.0), np.maximum(x, 4.0)
    term, series = np.ones_like(small), np.euler_gamma + np.log(small)
    for k in range(1, 20):
        term = -term * small**2 / ((2 * k - 1) * (2 * k))
        series = series + term / (2 * k)
    # Ci(x) = -Re E1(ix), where E1(z) = exp(-z) / (z + 1 - 1 / (z + 3 - 4 / ...)).
    z = 1j * large
    tail = z + 2 * 200 + 1
    for k in range(200, 0, -1):
        tail = z + 2 * k - 1 - k**2 / tail
    return np.where(x <= 4.0, series, -np.real(np.exp(-z) / tail))
