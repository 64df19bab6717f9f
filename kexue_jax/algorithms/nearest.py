"""Cosines of vectors, and the vectors of greatest cosine with others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.algorithms.directions import directions

EXACT = jax.lax.Precision.HIGHEST


class Nearest(NamedTuple):
    """What is most similar to each query.

    Attributes:
      index: ``[Q, k]`` int32, by decreasing similarity, then by increasing index; -1
        where there are fewer.
      similarity: ``[Q, k]``; -inf where there are fewer.
    """

    index: jax.Array
    similarity: jax.Array


def cosine_similarity(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""Cosines of pairs of vectors.

    .. math:: \langle x, y \rangle / (\|x\| \|y\|)

    Args:
      x, y: ``[..., D]`` of one shape, any float dtype, finite.

    Returns:
      ``[...]`` float32, or float64 if an argument is, from -1 to 1; 0 for a zero
      vector.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: norms neither overflow nor vanish. Gradients at zero vectors are 0.

    >>> cosine_similarity(jnp.array([3.0, 0.0]), jnp.array([-2.0, 0.0])).item()
    -1.0
    """
    if x.shape != y.shape or not x.ndim:
        raise ValueError(f"x and y must both be [..., D], got {x.shape} and {y.shape}")
    return jnp.clip(jnp.sum(directions(x) * directions(y), axis=-1), -1.0, 1.0)


def nearest_by_cosine(
    queries: jax.Array,
    corpus: jax.Array,
    mask: jax.Array | None = None,
    *,
    k: int,
    block: int = 1024,
) -> Nearest:
    """Finds the k vectors of a corpus with the greatest cosines, exactly.

    Vectors that were trained by cosines are to be searched by cosines: by distances or
    products the order is another one unless all norms are equal.

    Args:
      queries: ``[Q, D]``, any float dtype, finite.
      corpus: ``[C, D]``, likewise.
      mask: bool ``[C]``; True keeps a vector of the corpus. None: all.
      k: how many, at least 1.
      block: queries, and vectors of the corpus, that are compared at once: of all
        cosines no more than ``block * block`` are held.

    Returns:
      The `Nearest`; similarities are float32, or float64 if an argument is.

    Raises:
      ValueError: if the shapes disagree, or a number is below 1.

    >>> corpus = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> nearest_by_cosine(jnp.array([[0.1, 5.0]]), corpus, k=2).index.tolist()
    [[1, 2]]
    """
    if queries.ndim != 2 or corpus.ndim != 2 or queries.shape[1] != corpus.shape[1]:
        raise ValueError(
            "queries and corpus must be [Q, D] and [C, D], got "
            f"{queries.shape} and {corpus.shape}"
        )
    rows = len(corpus)
    if mask is not None and (mask.dtype != jnp.bool_ or mask.shape != (rows,)):
        raise ValueError(f"mask must be bool [{rows}], got {mask.dtype} {mask.shape}")
    if k < 1 or block < 1:
        raise ValueError(f"k and block must be at least 1, got {k} and {block}")
    mask = jnp.ones(rows, bool) if mask is None else mask
    kind = jnp.promote_types(
        numerics.widened(queries).dtype, numerics.widened(corpus).dtype
    )
    wide = min(block, rows)

    def search(some):
        some = directions(some).astype(kind)

        def step(best, start):
            at = jnp.minimum(start, rows - wide)  # the last block reaches back
            names = at + jnp.arange(wide, dtype=jnp.int32)
            keep = jax.lax.dynamic_slice_in_dim(mask, at, wide) & (names >= start)
            part = directions(jax.lax.dynamic_slice_in_dim(corpus, at, wide))
            cosine = jnp.einsum("qd,cd->qc", some, part.astype(kind), precision=EXACT)
            cosine = jnp.where(keep[None, :], jnp.clip(cosine, -1.0, 1.0), -jnp.inf)
            both = jnp.concatenate([best.similarity, cosine], axis=1)
            names = jnp.broadcast_to(names[None, :], cosine.shape)
            names = jnp.concatenate([best.index, names], axis=1)
            similarity, place = jax.lax.top_k(both, k)
            index = jnp.take_along_axis(names, place, axis=1)
            return Nearest(
                jnp.where(similarity > -jnp.inf, index, -1), similarity
            ), None

        shape = (some.shape[0], k)
        none = Nearest(jnp.full(shape, -1, jnp.int32), jnp.full(shape, -jnp.inf, kind))
        if not rows:
            return none
        return jax.lax.scan(step, none, jnp.arange(0, rows, wide, dtype=jnp.int32))[0]

    if len(queries) <= block:
        return search(queries)
    whole = len(queries) // block * block
    found = jax.lax.map(search, queries[:whole].reshape(-1, block, queries.shape[1]))
    found = jax.tree.map(lambda a: a.reshape(whole, k), found)
    if whole == len(queries):
        return found
    rest = search(queries[whole:])
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), found, rest)
