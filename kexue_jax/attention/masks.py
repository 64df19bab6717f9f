"""Masks of attention: bool ``[1 or B, 1, T, S]``, True keeps a key.

They compose with ``&`` (both must keep) and ``|`` (one is enough). Where there are
fewer queries than keys the last query stands at the last key: query t is at place
t + S - T.
"""

import jax
import jax.numpy as jnp


def _distance(queries: int, keys: int) -> jax.Array:
    """Returns ``[1, 1, T, S]``: how far key s lies before query t."""
    query = jnp.arange(queries)[:, None] + (keys - queries)
    return (query - jnp.arange(keys)[None, :])[None, None]


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def _rows(name: str, array: jax.Array) -> jax.Array:
    """Returns ``[1 or B, T]``."""
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must be [T] or [B, T], got {array.shape}")
    return array[None] if array.ndim == 1 else array


def causal_mask(queries: int, keys: int) -> jax.Array:
    """Lets every query see the keys up to its own place.

    The last query stands at the last key, so that a few new queries after many known
    keys need no other function.

    Args:
      queries: T, how many queries there are.
      keys: S, how many keys there are.

    Returns:
      ``[1, 1, T, S]`` bool, True where key s <= query t + S - T. With more queries
      than keys the first queries see nothing.
    """
    return _distance(queries, keys) >= 0


def window_mask(queries: int, keys: int, *, window: int) -> jax.Array:
    """Lets every query see itself and the keys just before: a causal sliding window.

    Args:
      queries, keys: T and S.
      window: w >= 1, how many keys a query sees at most.

    Returns:
      ``[1, 1, T, S]`` bool, True where ``0 <= t + S - T - s < w``.

    Raises:
      ValueError: if `window` is below 1.
    """
    _check_positive(window=window)
    distance = _distance(queries, keys)
    return (distance >= 0) & (distance < window)


def local_mask(queries: int, keys: int, *, radius: int) -> jax.Array:
    """Lets every query see the keys at most `radius` away, on both sides.

    Args:
      queries, keys: T and S.
      radius: k >= 0.

    Returns:
      ``[1, 1, T, S]`` bool, True where ``|t + S - T - s| <= k``: with T = S = n in
      ``n (2 k + 1) - k (k + 1)`` places if k < n.

    Raises:
      ValueError: if `radius` is negative.

    Source: https://kexue.fm/archives/6853
    """
    if radius < 0:
        raise ValueError(f"radius must not be negative, got {radius}")
    return jnp.abs(_distance(queries, keys)) <= radius


def atrous_mask(queries: int, keys: int, *, rate: int) -> jax.Array:
    """Lets every query see the keys whose distance is a multiple of `rate`.

    Args:
      queries, keys: T and S.
      rate: k >= 1; with 1 everything is visible.

    Returns:
      ``[1, 1, T, S]`` bool, True where k divides ``t + S - T - s``.

    Raises:
      ValueError: if `rate` is below 1.

    Source: https://kexue.fm/archives/6853
    """
    _check_positive(rate=rate)
    return _distance(queries, keys) % rate == 0


def sparse_mask(queries: int, keys: int, *, rate: int) -> jax.Array:
    """Lets every query see its neighbours and every `rate`-th key beyond them.

    One layer with it and one more reach every place from every place.

    Args:
      queries, keys: T and S.
      rate: k >= 1, the radius of the neighbourhood and the step of the comb.

    Returns:
      ``[1, 1, T, S]`` bool, the union of `local_mask` and `atrous_mask`.

    Raises:
      ValueError: if `rate` is below 1.

    Source: https://kexue.fm/archives/6853. A key that is in both parts counts once; in
      the code of the post it enters the softmax twice.
    """
    comb = atrous_mask(queries, keys, rate=rate)
    return local_mask(queries, keys, radius=rate) | comb


def prefix_mask(length: int, prefix: int | jax.Array) -> jax.Array:
    """Lets all see the prefix, and what comes after it also all that is before it.

    Args:
      length: T, of queries and keys.
      prefix: P, or ``[B]`` integers, how many tokens see each other both ways.

    Returns:
      ``[1 or B, 1, T, T]`` bool, True where ``s < P`` or ``s <= t``.

    Raises:
      ValueError: if `prefix` is an array of more than one axis.

    Source: Raffel et al., https://arxiv.org/abs/1910.10683
    """
    prefix = jnp.atleast_1d(jnp.asarray(prefix))
    if prefix.ndim != 1:
        raise ValueError(f"prefix must be an integer or [B], got {prefix.shape}")
    inside = jnp.arange(length)[None, :] < prefix[:, None]
    return inside[:, None, None, :] | causal_mask(length, length)


def unilm_mask(segments: jax.Array, kept: jax.Array | None = None) -> jax.Array:
    r"""Lets the source see itself both ways, and the target the source and its past.

    .. math:: M_{ts} = [c_s \le c_t], \quad c_t = \sum_{i \le t} s_i

    With segments 0 everywhere all is visible, with 1 everywhere it is the causal mask.
    A 0 behind a target token sees all up to there, and is seen from there on: with
    turns 0, 1, 0, 1 each source reads all turns before it.

    Args:
      segments: ``[T]`` or ``[B, T]`` integers, 0 in the source, 1 in the target.
      kept: ``[T]`` or ``[B, T]`` bool, False at padding. Padding that carries segment
        0 would be visible to the last target token and has to be hidden by this.

    Returns:
      ``[1 or B, 1, T, T]`` bool; S source and T target tokens give
      ``S^2 + T S + T (T + 1) / 2`` visible pairs.

    Raises:
      ValueError: if the shapes disagree.

    Source: Dong et al., https://arxiv.org/abs/1905.03197; https://kexue.fm/archives/6933

    >>> unilm_mask(jnp.array([0, 0, 1, 1]))[0, 0].astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    """
    rank = jnp.cumsum(_rows("segments", segments).astype(jnp.int32), axis=-1)
    mask = (rank[:, None, :] <= rank[:, :, None])[:, None]
    if kept is None:
        return mask
    kept = _rows("kept", kept)
    if kept.shape[1] != rank.shape[1] or kept.dtype != jnp.bool_:
        raise ValueError(
            f"kept must be bool like segments {segments.shape}, "
            f"got {kept.dtype} {kept.shape}"
        )
    return mask & kept[:, None, None, :]


def _generation_rank(order: jax.Array) -> jax.Array:
    """Returns ``[1 or B, T]``: when each place is generated."""
    return jnp.argsort(_rows("order", order), axis=-1)


def permutation_mask(order: jax.Array) -> jax.Array:
    """Lets every place see itself and those generated before it: the content stream.

    Tokens and their position ids put in that order under the causal mask give the same.

    Args:
      order: ``[T]`` or ``[B, T]`` integers, the place generated first, second, ...; a
        permutation of 0 ... T - 1.

    Returns:
      ``[1 or B, 1, T, T]`` bool, ``T (T + 1) / 2`` of them True.

    Raises:
      ValueError: if `order` has another rank.

    Source: Yang et al., https://arxiv.org/abs/1906.08237; https://kexue.fm/archives/6933

    >>> permutation_mask(jnp.array([2, 0, 1]))[0, 0].astype(int).tolist()
    [[1, 0, 1], [1, 1, 1], [0, 0, 1]]
    """
    rank = _generation_rank(order)
    return (rank[:, None, :] <= rank[:, :, None])[:, None]


def permutation_query_mask(order: jax.Array) -> jax.Array:
    """Lets every place see only those generated before it: the query stream.

    The place generated first sees nothing. Arguments, result and errors are those of
    `permutation_mask`, from which it takes the diagonal away.

    Source: Yang et al., https://arxiv.org/abs/1906.08237
    """
    rank = _generation_rank(order)
    return (rank[:, None, :] < rank[:, :, None])[:, None]


def same_document_mask(
    documents: jax.Array, key_documents: jax.Array | None = None
) -> jax.Array:
    """Lets tokens see the tokens of their own document, of several packed in a row.

    Args:
      documents: ``[T]`` or ``[B, T]`` integers, the document of each query.
      key_documents: ``[S]`` or ``[B, S]``, of each key; default those of the queries.

    Returns:
      ``[1 or B, 1, T, S]`` bool, True where the two are equal.

    Raises:
      ValueError: if an argument has another rank.
    """
    query = _rows("documents", documents)
    key = query if key_documents is None else _rows("key_documents", key_documents)
    return (query[:, :, None] == key[:, None, :])[:, None]


def length_mask(lengths: jax.Array, size: int) -> jax.Array:
    """Keeps the first keys of each row.

    Args:
      lengths: ``[B]`` integers, how many keys each row has.
      size: S, the length to which the rows are padded.

    Returns:
      ``[B, 1, 1, S]`` bool.

    Raises:
      ValueError: if `lengths` is not of rank 1.

    >>> length_mask(jnp.array([1, 3]), 3)[:, 0, 0].astype(int).tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    if lengths.ndim != 1:
        raise ValueError(f"lengths must be [B], got {lengths.shape}")
    return (jnp.arange(size)[None, :] < lengths[:, None])[:, None, None, :]


def padding_mask(kept: jax.Array, key_kept: jax.Array) -> jax.Array:
    """Lets kept queries see kept keys; queries at padding see nothing, so give zeros.

    Args:
      kept: ``[T]`` or ``[B, T]`` bool, False where a query is padding.
      key_kept: ``[S]`` or ``[B, S]`` bool, False where a key is padding.

    Returns:
      ``[1 or B, 1, T, S]`` bool.

    Raises:
      ValueError: if an argument has another rank.
    """
    query, key = _rows("kept", kept), _rows("key_kept", key_kept)
    return (query[:, :, None] & key[:, None, :])[:, None]


def block_sparse_mask(
    length: int,
    rng: jax.Array,
    *,
    block: int = 64,
    window: int = 3,
    global_blocks: int = 2,
    random_blocks: int = 3,
) -> jax.Array:
    """Lets every block see its neighbours, some global blocks and some drawn ones.

    Args:
      length: T, of queries and keys; the last block may be ragged.
      rng: a key; the same key gives the same mask.
      block: tokens in a block.
      window: odd, how many blocks around its own a block sees.
      global_blocks: how many of the first blocks see all and are seen by all.
      random_blocks: how many other blocks a block sees, drawn without replacement; all
        that are left, if fewer are.

    Returns:
      ``[1, 1, T, T]`` bool.

    Raises:
      ValueError: if a number is out of range.

    Source: Zaheer et al., Big Bird, https://arxiv.org/abs/2007.14062, with the global
      blocks all at the start.
    """
    _check_positive(block=block, window=window)
    if window % 2 == 0 or min(global_blocks, random_blocks) < 0:
        raise ValueError(
            "window must be odd, global_blocks and random_blocks not negative; got "
            f"{window}, {global_blocks}, {random_blocks}"
        )
    count = -(-length // block)
    place = jnp.arange(count)
    seen = jnp.abs(place[:, None] - place[None, :]) <= window // 2
    seen |= (place < global_blocks)[:, None] | (place < global_blocks)[None, :]
    draw = jnp.where(seen, 2.0, jax.random.uniform(rng, (count, count)))
    rank = jnp.argsort(jnp.argsort(draw, axis=-1), axis=-1)
    seen |= rank < random_blocks
    token = jnp.arange(length) // block
    return seen[token[:, None], token[None, :]][None, None]
