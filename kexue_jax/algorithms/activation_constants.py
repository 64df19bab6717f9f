"""Where the numbers in activations come from: each is derived, none is given."""

import math

import numpy as np

from kexue_jax.algorithms.minimax import Minimax, minimax

_ERF = np.vectorize(math.erf, otypes=[float])


def _normal_cdf(x):
    return 0.5 * (1.0 + _ERF(x / math.sqrt(2.0)))


def _sigmoid(x):
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _grid():
    return np.linspace(0.0, 8.0, 4001)  # odd errors: one side is enough


def gelu_tanh_constant() -> Minimax:
    r"""The c of `gelu_tanh`, 0.0447149, by the distance of tanh to erf.

    .. math:: \min_c \max_x \Big|\mathrm{erf}\frac{x}{\sqrt 2}
              - \tanh\big(\sqrt{2/\pi}\,(x + c x^3)\big)\Big|

    The search begins at `gelu_tanh_local_constant`.

    Source: https://kexue.fm/archives/7309
    """
    grid, slope = _grid(), math.sqrt(2.0 / math.pi)

    def error(parameters, x):
        inner = slope * (x + parameters[0] * x**3)
        return _ERF(x / math.sqrt(2.0)) - np.tanh(inner)

    return minimax(error, np.array([gelu_tanh_local_constant()]), grid)


def gelu_tanh_local_constant() -> float:
    r"""The c that matches the third derivative at 0: :math:`(4 - \pi) / (6 \pi)`.

    Source: https://kexue.fm/archives/7309
    """
    return (4.0 - math.pi) / (6.0 * math.pi)


def gelu_sigmoid_constant() -> Minimax:
    r"""The slope of `gelu_sigmoid`, 1.7017449, by the distance to :math:`\Phi`.

    The search begins at the slope of :math:`\Phi` at 0, :math:`\sqrt{8 / \pi}`.

    Source: https://kexue.fm/archives/7309
    """

    def error(parameters, x):
        return _normal_cdf(x) - _sigmoid(parameters[0] * x)

    return minimax(error, np.array([math.sqrt(8.0 / math.pi)]), _grid())


def gelu_minimax_constants() -> Minimax:
    r"""Both numbers of `gelu_minimax`, 1.597603 and 0.0705641.

    Source: not in the post; one step beyond https://kexue.fm/archives/7309.
    """
    slope = math.sqrt(8.0 / math.pi)

    def error(parameters, x):
        return _normal_cdf(x) - _sigmoid(parameters[0] * x + parameters[1] * x**3)

    start = np.array([slope, slope * gelu_tanh_local_constant()])
    return minimax(error, start, _grid())


def _squareplus(x, b):
    return 0.5 * (x + np.sqrt(x**2 + b))


def squareplus_constant() -> Minimax:
    r"""The b of `squareplus` that is nearest to SoftPlus, 1.5238210.

    The search begins at `squareplus_bound_constant`.

    Source: https://kexue.fm/archives/8833
    """

    def error(parameters, x):
        return _squareplus(x, parameters[0]) - np.logaddexp(x, 0.0)

    return minimax(error, np.array([squareplus_bound_constant()]), _grid())


def squareplus_bound_constant() -> float:
    r"""The least b for which `squareplus` is nowhere below SoftPlus, 1.9218121.

    .. math:: \max_x\ 4 \ln(1 + e^x) \ln(1 + e^{-x}) = 4 \ln^2 2

    Source: https://kexue.fm/archives/8833
    """
    x = _grid()
    return float(np.max(4.0 * np.logaddexp(x, 0.0) * np.logaddexp(-x, 0.0)))


def algebraic_swish_constant() -> Minimax:
    r"""The b of `algebraic_swish` that is nearest to the Swish, 2.043.

    Source: ours.
    """

    def error(parameters, x):
        algebraic = 0.5 * x * (1.0 + x / np.sqrt(x**2 + parameters[0]))
        return algebraic - x * _sigmoid(x)

    return minimax(error, np.array([4.0]), np.linspace(0.0, 20.0, 4001))
