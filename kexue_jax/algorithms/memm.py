r"""Tags one after the other, each given the one before: maximum entropy Markov models.

.. math:: p(y) = \prod_t p(y_t \mid y_{t-1}), \quad
          p(y_t = j \mid y_{t-1} = i) = \frac{e^{A_{ij} + f_t(j)}}
                                            {\sum_v e^{A_{iv} + f_t(v)}}

The first kept place has the softmax of its emissions f. `emissions`, `transitions` and
`kept` are those of `kexue_jax.algorithms.linear_chain`, as are the dtypes; transitions
may also be `LowRank`.

The normaliser of a place depends on the tag before alone. So the model is a linear
chain whose emissions have it taken off, one place earlier, and whose partition is 1:
what `memm_chain` returns goes into `viterbi`, `marginals` and the like. Training needs
no chain, as `memm_log_likelihood` reads one row of A for each place.

`scale` multiplies A and f behind the first place. The formula has 1; the released code
0.5, which makes the softmax flatter there, and decodes as if the model were a CRF: by
``viterbi(emissions, transitions, kept)``, without the normalisers.

Source: https://kexue.fm/archives/7213
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.algorithms.linear_chain import place_before
from kexue_jax.algorithms.log_sums import logsumexp


class LowRank(NamedTuple):
    """Transitions :math:`A = L R^\\top`: ``[C, K]`` of the tags before and after."""

    left: jax.Array
    right: jax.Array


class Chain(NamedTuple):
    """What the functions of a linear chain take: ``[B, T, C]`` and ``[C, C]``."""

    emissions: jax.Array
    transitions: jax.Array


def dense(transitions: jax.Array | LowRank) -> jax.Array:
    """Returns the transitions as a matrix ``[C, C]``."""
    if not isinstance(transitions, LowRank):
        return transitions
    left, right = transitions
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("ik,jk->ij", left, right, precision=exact)


def _reversed(transitions):
    """Transitions from the tag after to the one before."""
    if isinstance(transitions, LowRank):
        return LowRank(transitions.right, transitions.left)
    return transitions.T


def _checked(emissions, transitions, kept, scale):
    """Refuses wrong shapes; returns both wide, emissions 0 at hidden places."""
    parts = [*transitions] if isinstance(transitions, LowRank) else [transitions]
    tags, shapes = emissions.shape[-1:], [part.shape for part in parts]
    other = shapes[0][1:] if len(parts) > 1 else tags
    if (
        emissions.ndim != 3
        or 0 in emissions.shape[1:]
        or len(other) != 1
        or any(shape != tags + other for shape in shapes)
        or kept.shape != emissions.shape[:2]
        or kept.dtype != jnp.bool_
    ):
        raise ValueError(
            "emissions, transitions and kept must be [B, T, C], [C, C] or two of "
            f"[C, K], and bool [B, T] with T and C at least 1; got {emissions.shape}, "
            f"{shapes} and {kept.dtype} {kept.shape}"
        )
    if not scale > 0.0:
        raise ValueError(f"scale must be positive, got {scale}")
    scores = jnp.where(kept[..., None], numerics.widened(emissions), 0.0)
    return scores, jax.tree.map(lambda part: part.astype(scores.dtype), transitions)


def _rows(transitions, tags):
    """The moves ``[B, T, C]`` from tags ``[B, T]``."""
    if isinstance(transitions, LowRank):
        exact = jax.lax.Precision.HIGHEST
        left = transitions.left[tags]
        return jnp.einsum("btk,ck->btc", left, transitions.right, precision=exact)
    return transitions[tags]


def memm_log_likelihood(
    emissions: jax.Array,
    transitions: jax.Array | LowRank,
    tags: jax.Array,
    kept: jax.Array,
    *,
    scale: float = 1.0,
) -> jax.Array:
    """Returns log p of one sequence of tags for each row.

    Args:
      emissions: ``[B, T, C]``.
      transitions: ``[C, C]``, -inf for what is forbidden, or `LowRank`.
      tags: ``[B, T]`` integers in ``[0, C)``, not read at hidden places.
      kept: ``[B, T]`` bool.
      scale: of the logits behind the first kept place.

    Returns:
      ``[B]``, never above 0; 0 where no place is kept. -inf where the sequence is
      forbidden, and zero gradients at its forbidden moves. The released loss is minus
      the sum over rows by the number of kept places.

    Raises:
      ValueError: if the shapes disagree, `kept` is not bool or `tags` no integers.

    Numerics: ``[B, T, C]`` numbers, where a CRF needs ``[B, C, C]`` at each step.
    """
    scores, transitions = _checked(emissions, transitions, kept, scale)
    if tags.shape != kept.shape or not jnp.issubdtype(tags.dtype, jnp.integer):
        raise ValueError(
            f"tags must be integers {kept.shape}, got {tags.dtype} {tags.shape}"
        )
    before, tags = place_before(kept), jnp.where(kept, tags, 0)
    history = jnp.take_along_axis(tags, jnp.maximum(before, 0), axis=1)
    moved = scale * (scores + _rows(transitions, history))
    logits = jnp.where((before >= 0)[..., None], moved, scores)
    own = jnp.take_along_axis(logits, tags[..., None], axis=-1)[..., 0]
    found = jnp.where(own == -jnp.inf, -jnp.inf, own - logsumexp(logits))
    return jnp.sum(jnp.where(kept, found, 0.0), axis=1)


def _turned(array):
    return jnp.flip(array, axis=1)


def bidirectional_log_likelihood(
    emissions: jax.Array,
    transitions: jax.Array | LowRank,
    tags: jax.Array,
    kept: jax.Array,
    *,
    scale: float = 1.0,
) -> jax.Array:
    """Returns the mean of log p from left to right and from right to left.

    Both directions have the same emissions, and the one the transposed transitions of
    the other. The mean of two logarithms is not normalised: it is a loss, and a score
    to decode by.

    Arguments, results and errors are those of `memm_log_likelihood`.
    """
    forward = memm_log_likelihood(emissions, transitions, tags, kept, scale=scale)
    arrays = _turned(emissions), _reversed(transitions), _turned(tags), _turned(kept)
    return 0.5 * (forward + memm_log_likelihood(*arrays, scale=scale))


def memm_chain(
    emissions: jax.Array,
    transitions: jax.Array | LowRank,
    kept: jax.Array,
    *,
    scale: float = 1.0,
) -> Chain:
    r"""Returns the linear chain whose scores are the log-probabilities of the model.

    .. math:: f'_t(i) = f_t(i) - \log \sum_v e^{A_{iv} + f_{t+1}(v)}

    Of the first place also its own normaliser is taken off. The score of every sequence
    is its `memm_log_likelihood`; `viterbi` of it finds the most likely one.

    Args:
      emissions, transitions, kept, scale: as in `memm_log_likelihood`.

    Returns:
      Emissions ``[B, T, C]`` and dense transitions ``[C, C]``, for the same `kept`.

    Raises:
      ValueError: if the shapes disagree, `kept` is not bool or `scale` not positive.

    Numerics: the sums take :math:`B T C^2` exponentials.
    """
    scores, moves = _checked(emissions, transitions, kept, scale)
    moves = scale * dense(moves)
    starts = kept & (place_before(kept) < 0)
    own = jnp.where(starts[..., None], scores, scale * scores)
    sums = logsumexp(scale * scores[:, :, None, :] + moves[None, None])
    after = kept.shape[1] - 1 - _turned(place_before(_turned(kept)))  # T if none
    last = (after == kept.shape[1])[..., None]
    index = jnp.minimum(after, kept.shape[1] - 1)[..., None]
    sums = jnp.take_along_axis(sums, index, axis=1)
    first = logsumexp(scores)[..., None]
    # A tag from which no move leads on has no softmax, and is in no sequence either.
    own = own - jnp.where(last | (sums == -jnp.inf), 0.0, sums)
    own = own - jnp.where(starts[..., None] & (first > -jnp.inf), first, 0.0)
    return Chain(own, moves)


def bidirectional_chain(
    emissions: jax.Array,
    transitions: jax.Array | LowRank,
    kept: jax.Array,
    *,
    scale: float = 1.0,
) -> Chain:
    """Returns the linear chain whose scores are `bidirectional_log_likelihood`.

    Arguments, results and errors are those of `memm_chain`.
    """
    forward = memm_chain(emissions, transitions, kept, scale=scale)
    turned = _turned(emissions), _reversed(transitions), _turned(kept)
    backward = _turned(memm_chain(*turned, scale=scale).emissions)
    return Chain(0.5 * (forward.emissions + backward), forward.transitions)
