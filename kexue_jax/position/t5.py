"""T5's relative positions: a trained bias for each bucket of distances."""

import jax
import jax.numpy as jnp

from kexue_jax.position.relative import relative_positions


def _first_distances(buckets: int, max_distance: int) -> list[int]:
    """The first distance of each bucket of one side, exact in whole numbers.

    Bucket e + k of n = 2 e begins where ln(d/e) / ln(M/e) reaches k / (n - e), that is
    at the least d with ``d**m e**k >= e**m M**k``, where m = n - e.
    """
    exact = buckets // 2
    steps, firsts = buckets - exact, list(range(exact))
    distance = exact
    for k in range(steps):
        while distance**steps * exact**k < exact**steps * max_distance**k:
            distance += 1
        firsts.append(distance)
    return firsts


def _one_sided(distance, buckets, max_distance):
    if buckets < 2 or max_distance <= buckets // 2:
        raise ValueError(
            "a side must have at least 2 buckets, and max_distance be greater than "
            f"half of them; got {buckets} buckets and max_distance {max_distance}"
        )
    firsts = jnp.asarray(_first_distances(buckets, max_distance)[1:], jnp.int32)
    # Distances of 0 and below are left of all of them, in bucket 0.
    place = jnp.searchsorted(firsts, distance.astype(jnp.int32), side="right")
    return place.astype(jnp.int32)


def t5_bucket(
    relative: jax.Array, *, buckets: int = 32, max_distance: int = 128
) -> jax.Array:
    r"""The bucket of a distance in either direction.

    Half of the buckets are for keys at or before the query, the others for those after
    it. Of the n of a side the first e = n / 2 hold one distance each; beyond, distance
    d has the bucket

    .. math:: e + \Big\lfloor (n - e) \frac{\ln (d / e)}{\ln (M / e)} \Big\rfloor

    and from M on all distances share the last.

    Args:
      relative: any shape, integers, i - j: query minus key.
      buckets: 2 n, even, at least 4.
      max_distance: M, greater than e.

    Returns:
      int32 of the same shape, from 0 to `buckets` - 1; keys after the query, with
      i - j < 0, are at n and above.

    Raises:
      ValueError: if the numbers of buckets and distances do not fit, or `relative` is
        not of integers.

    Numerics: where buckets begin is found in whole numbers, never by a logarithm.

    Source: Raffel et al., https://arxiv.org/abs/1910.10683, whose code has the opposite
      sign, key minus query; https://kexue.fm/archives/8130

    >>> t5_bucket(jnp.array([0, 7, 8, 11, 12, 1000, -1, -8])).tolist()
    [0, 7, 8, 8, 9, 15, 17, 24]
    """
    _check(relative)
    if buckets % 2:
        raise ValueError(f"buckets must be even, half for each side, got {buckets}")
    side = _one_sided(jnp.abs(relative), buckets // 2, max_distance)
    return side + jnp.where(relative < 0, buckets // 2, 0)


def t5_bucket_causal(
    relative: jax.Array, *, buckets: int = 32, max_distance: int = 128
) -> jax.Array:
    """The bucket of a distance to a key at or before the query.

    All `buckets`, n, are for one side; keys after the query share bucket 0 with the
    query's own. Otherwise as `t5_bucket`.

    Args:
      relative: any shape, integers, i - j: query minus key.
      buckets: n, at least 2.
      max_distance: M, greater than n / 2.

    Returns:
      int32 of the same shape, from 0 to `buckets` - 1.

    Raises:
      ValueError: if the numbers of buckets and distances do not fit, or `relative` is
        not of integers.

    >>> t5_bucket_causal(jnp.array([-3, 0, 15, 16, 18, 19, 112, 113])).tolist()
    [0, 0, 15, 16, 16, 17, 30, 31]
    """
    _check(relative)
    return _one_sided(relative, buckets, max_distance)


def _check(relative):
    if not jnp.issubdtype(relative.dtype, jnp.integer):
        raise ValueError(f"relative must be of integers, got {relative.dtype}")


def _check_table(table):
    if table.ndim != 2:
        raise ValueError(f"table must be [buckets, N], got {table.shape}")


def _looked_up(table, bucket):
    return jnp.moveaxis(table.astype(jnp.float32)[bucket], -1, 1)


def t5_bias(
    table: jax.Array,
    query_positions: jax.Array,
    key_positions: jax.Array,
    *,
    max_distance: int = 128,
) -> jax.Array:
    """The bias of each pair in either direction, to be added before the softmax.

    Scores of T5 are not divided by the root of H: call the attention with a scale of 1
    where its checkpoints are used.

    Args:
      table: ``[buckets, N]``, a scalar for each bucket and head, shared by all layers.
      query_positions: ``[T]`` or ``[B, T]``, integers.
      key_positions: ``[S]`` or ``[B, S]``, integers.
      max_distance: from where on all distances share the last bucket.

    Returns:
      ``[1 or B, N, T, S]`` float32.

    Raises:
      ValueError: as `t5_bucket` and `relative_positions`, and if `table` is no matrix.

    Source: Raffel et al., https://arxiv.org/abs/1910.10683
    """
    _check_table(table)
    relative = relative_positions(query_positions, key_positions)
    bucket = t5_bucket(relative, buckets=len(table), max_distance=max_distance)
    return _looked_up(table, bucket)


def t5_bias_causal(
    table: jax.Array,
    query_positions: jax.Array,
    key_positions: jax.Array,
    *,
    max_distance: int = 128,
) -> jax.Array:
    """`t5_bias` with all buckets for keys at or before the query, as decoders have it.

    It hides nothing: the attention still needs a causal mask.
    """
    _check_table(table)
    relative = relative_positions(query_positions, key_positions)
    bucket = t5_bucket_causal(relative, buckets=len(table), max_distance=max_distance)
    return _looked_up(table, bucket)
