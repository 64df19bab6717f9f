"""The nearest vector that agrees with all of some others."""

import jax

from kexue_jax.algorithms.nonnegative_quadratic import nonnegative_quadratic


def dual_cone_projection(gram: jax.Array, cross: jax.Array) -> jax.Array:
    r"""Weights :math:`\lambda \ge 0` such that :math:`u = g_0 + \sum_i \lambda_i g_i`
    is the vector nearest to g_0 with :math:`\langle u, g_i\rangle \ge 0` for all i.

    .. math:: \min_{\lambda \ge 0} \Big\|g_0 + \sum_i \lambda_i g_i\Big\|^2

    :math:`\lambda_i \langle u, g_i\rangle = 0`, and u is never longer than g_0. For one
    g_1: :math:`\lambda = \mathrm{relu}(-\langle g_0, g_1\rangle) / \|g_1\|^2`.

    Args:
      gram: ``[K, K]``, the inner products of the g_i.
      cross: ``[K]``, those of g_0 with the g_i.

    Returns:
      ``[K]``; zeros where nothing conflicts.

    Raises:
      ValueError: if the shapes are not ``[K, K]`` and ``[K]``.

    Source: https://kexue.fm/archives/8907. The iteration given there, which always
      renews the weight of the g_i with the least inner product, can stop short of the
      solution: a weight that has become too large is never looked at again. This is
      non-negative least squares, which is exact.
    """
    return nonnegative_quadratic(gram, -cross)
