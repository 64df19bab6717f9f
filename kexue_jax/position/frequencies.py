"""Frequencies of rotary positions, also of those that reach past the training length.

All are made on the host, in float64, from numbers known before the program runs;
`rotary` and `sinusoidal` take them as `frequencies`.
"""

import math

import numpy as np


def _check(size, factor):
    if size < 4 or size % 2:
        raise ValueError(f"size must be even and at least 4, got {size}")
    if factor < 1.0:
        raise ValueError(f"factor must be at least 1, got {factor}")


def rotary_frequencies(size: int, *, base: float = 10000.0) -> np.ndarray:
    r"""Returns :math:`\theta_i = b^{-2i/H}`, i from 0 to H / 2 - 1.

    Args:
      size: H, even and positive, the features that are rotated.
      base: b, > 0.

    Returns:
      ``[H / 2]`` float64, in radians per token.

    Raises:
      ValueError: if `size` is odd or not positive, or `base` is not positive.

    Source: https://kexue.fm/archives/8265
    """
    if size < 2 or size % 2:
        raise ValueError(f"rotary features come in pairs, got size {size}")
    if base <= 0.0:
        raise ValueError(f"base must be positive, got {base}")
    return base ** (-np.arange(0, size, 2) / size)


def interpolated_frequencies(
    size: int, *, factor: float, base: float = 10000.0
) -> np.ndarray:
    r"""Returns :math:`\theta_i / k`: positions squeezed into the training length.

    Args:
      size: H, even, at least 4.
      factor: k >= 1, the length at test over the length of training.
      base: b, > 0.

    Returns:
      ``[H / 2]`` float64, in radians per token.

    Raises:
      ValueError: if an argument is out of its range.

    Source: Chen et al., https://arxiv.org/abs/2306.15595;
      https://kexue.fm/archives/9675. Neighbours come closer than they ever were in
      training: without further training the scores suffer.
    """
    _check(size, factor)
    return rotary_frequencies(size, base=base) / factor


def ntk_frequencies(size: int, *, factor: float, base: float = 10000.0) -> np.ndarray:
    r"""Returns the frequencies of the base :math:`b\,k^{H/(H-2)}`.

    The highest frequency stays as it was, the lowest is that of
    `interpolated_frequencies`, and those between are spread as a geometric series.
    Arguments, result and errors are those of `interpolated_frequencies`.

    Source: https://kexue.fm/archives/9675, the form with a larger base.
    """
    _check(size, factor)
    return rotary_frequencies(size, base=base * factor ** (size / (size - 2)))


def ntk_fixed_frequencies(
    size: int, *, factor: float, base: float = 10000.0
) -> np.ndarray:
    r"""Returns :math:`\theta_i \lambda^{-(i+1)}`, where :math:`\lambda = k^{2/H}`.

    Also the highest frequency is lowered a little: every digit of the position shares
    the extension alike. Arguments, result and errors are those of
    `interpolated_frequencies`.

    Source: https://kexue.fm/archives/9706
    """
    return ntk_mixed_frequencies(size, factor=factor, exponent=1.0, base=base)


def ntk_mixed_frequencies(
    size: int, *, factor: float, exponent: float = 0.625, base: float = 10000.0
) -> np.ndarray:
    r"""Returns :math:`\theta_i e^{-a (i+1)^\beta}`, :math:`a (H/2)^\beta = \ln k`.

    With :math:`\beta = 1` it is `ntk_fixed_frequencies`, with :math:`\beta = 0` it is
    `interpolated_frequencies`.

    Args:
      size: H, even, at least 4.
      factor: k >= 1, the length at test over the length of training.
      exponent: :math:`\beta`, from 0 to 1.
      base: b, > 0.

    Returns:
      ``[H / 2]`` float64, in radians per token.

    Raises:
      ValueError: if an argument is out of its range.

    Source: https://kexue.fm/archives/9706; the code released for LLaMA has the
      exponent 0.75 with the factor 12.
    """
    _check(size, factor)
    if not 0.0 <= exponent <= 1.0:
        raise ValueError(f"exponent must be from 0 to 1, got {exponent}")
    share = (np.arange(1, size // 2 + 1) / (size // 2)) ** exponent
    return rotary_frequencies(size, base=base) * factor**-share


def _check_yarn(size, factor, length, fast, slow):
    _check(size, factor)
    if length < 1:
        raise ValueError(f"length must be positive, got {length}")
    if not 0.0 < slow < fast:
        raise ValueError(f"turns must be 0 < slow < fast, got {slow} and {fast}")


def yarn_frequencies(
    size: int,
    *,
    factor: float,
    length: int,
    fast: float = 32.0,
    slow: float = 1.0,
    base: float = 10000.0,
) -> np.ndarray:
    r"""Interpolates only the frequencies that turn seldom within the training length.

    .. math:: \theta_i \to \Big(g_i + \frac{1 - g_i}{k}\Big)\theta_i, \quad
              g_i = \mathrm{clip}\Big(\frac{r_i - \mathrm{slow}}
              {\mathrm{fast} - \mathrm{slow}}, 0, 1\Big), \quad
              r_i = \frac{n\,\theta_i}{2\pi}

    Args:
      size: H, even, at least 4.
      factor: k >= 1, the length at test over the length of training.
      length: n, tokens, the length of training.
      fast: turns from which on a frequency stays as it is.
      slow: turns below which it is divided by k; the ramp between is linear in turns.
      base: b, > 0.

    Returns:
      ``[H / 2]`` float64, in radians per token.

    Raises:
      ValueError: if an argument is out of its range.

    Source: https://kexue.fm/archives/9948; Peng et al.,
      https://arxiv.org/abs/2309.00071. The sharper scores that belong to it are
      `yarn_attention_factor`.
    """
    _check_yarn(size, factor, length, fast, slow)
    theta = rotary_frequencies(size, base=base)
    turns = length * theta / (2.0 * math.pi)
    kept = np.clip((turns - slow) / (fast - slow), 0.0, 1.0)
    return (kept + (1.0 - kept) / factor) * theta


def yarn_frequencies_by_index(
    size: int,
    *,
    factor: float,
    length: int,
    fast: float = 32.0,
    slow: float = 1.0,
    base: float = 10000.0,
) -> np.ndarray:
    """`yarn_frequencies` with a ramp that is linear in i, as checkpoints have it.

    The ramp goes from the index that makes `fast` turns, rounded down, to the one that
    makes `slow`, rounded up. Arguments, result and errors are those of
    `yarn_frequencies`; `base` must not be 1.

    Source: the rule of the transformers library, for models that were trained with it.
    """
    _check_yarn(size, factor, length, fast, slow)
    if base == 1.0:
        raise ValueError("base must not be 1: all frequencies would be equal")
    theta = rotary_frequencies(size, base=base)

    def index(turns):
        return size * math.log(length / (turns * 2.0 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(index(fast)), 0)
    high = min(math.ceil(index(slow)), size - 1)
    width = high - low if high != low else 1e-3
    kept = 1.0 - np.clip((np.arange(size // 2) - low) / width, 0.0, 1.0)
    return (kept + (1.0 - kept) / factor) * theta


def yarn_attention_factor(factor: float) -> float:
    r"""Returns :math:`0.1 \ln k + 1`, by which queries and keys are both multiplied.

    Scores then grow by its square, as if the softmax had a lower temperature.

    Args:
      factor: k >= 1, the length at test over the length of training.

    Raises:
      ValueError: if `factor` is below 1.

    Source: Peng et al., https://arxiv.org/abs/2309.00071

    >>> round(yarn_attention_factor(8.0), 4)
    1.2079
    """
    if factor < 1.0:
        raise ValueError(f"factor must be at least 1, got {factor}")
    return 0.1 * math.log(factor) + 1.0
