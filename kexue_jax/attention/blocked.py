"""Exact softmax attention with memory linear in the length, forward and backward."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from kexue_jax.attention import protocol

WIDE = jnp.float32


class _Plan(NamedTuple):
    """What is known before any array is: sizes of blocks and who sees whom."""

    query_block: int
    key_block: int
    rows: int  # how many blocks of queries there are
    columns: int  # how many blocks of keys there are
    keys: int  # S, without padding
    offset: int  # S - T, without padding
    is_causal: bool
    scale: float

    def last_column(self, row):
        """How many blocks of keys block `row` of the queries has to see."""
        if not self.is_causal:
            return self.columns
        place = (row + 1) * self.query_block - 1 + self.offset
        return jnp.clip(place // self.key_block + 1, 0, self.columns)

    def first_row(self, column):
        """The first block of queries that sees block `column` of the keys."""
        if not self.is_causal:
            return 0
        place = column * self.key_block - self.offset
        return jnp.clip(place // self.query_block, 0, self.rows)


class _Cell(NamedTuple):
    """The heads that are worked on at once: all, or one of one example."""

    example: int | jax.Array
    head: int | jax.Array
    span: tuple[int, int]

    def rows(self, array, block, size):
        """Returns ``[b, size, k, ...]`` of ``[B, T, K, ...]``."""
        start = (self.example, block * size, self.head, *(array.ndim - 3) * (0,))
        sizes = (self.span[0], size, self.span[1], *array.shape[3:])
        return lax.dynamic_slice(array, start, sizes)

    def put(self, array, block, size, update):
        """Writes ``[b, size, k, ...]`` into ``[B, T, K, ...]``."""
        start = (self.example, block * size, self.head, *(array.ndim - 3) * (0,))
        return lax.dynamic_update_slice(array, update.astype(array.dtype), start)

    def tile(self, shape, row, column, plan):
        """Where in ``[B, K, G, T, S]`` a block of scores lies; 1 is everywhere."""
        starts = self.example, self.head, 0, row * plan.query_block
        starts = *starts, column * plan.key_block
        sizes = *self.span, shape[2], plan.query_block, plan.key_block
        starts = [
            0 if n == 1 else start for n, start in zip(shape, starts, strict=True)
        ]
        return starts, [min(n, size) for n, size in zip(shape, sizes, strict=True)]


def _cells(together, query):
    """How many cells the heads of ``[B, T, K, ...]`` make, and the cell at an index."""
    batch, _, heads = query.shape[:3]
    if together:
        return 1, lambda index: _Cell(0, 0, (batch, heads))
    return batch * heads, lambda index: _Cell(index // heads, index % heads, (1, 1))


def _scores(plan, cell, row, column, query, key, mask, bias):
    """Returns ``[b, k, g, t, s]`` float32, -inf where nothing is to be seen.

    `query` is a block ``[b, k, g, t, h]``, `key` a block ``[b, k, s, h]``.
    """
    scores = jnp.einsum("bkgth,bksh->bkgts", query, key, preferred_element_type=WIDE)
    if bias is not None:
        scores += lax.dynamic_slice(bias, *cell.tile(bias.shape, row, column, plan))
    seen = None
    if plan.is_causal or plan.keys % plan.key_block:
        place = column * plan.key_block + jnp.arange(plan.key_block)
        query_place = row * plan.query_block + jnp.arange(plan.query_block)
        seen = (place < plan.keys)[None, :]
        if plan.is_causal:
            seen &= place[None, :] <= query_place[:, None] + plan.offset
        seen = seen[None, None, None]
    if mask is not None:
        kept = lax.dynamic_slice(mask, *cell.tile(mask.shape, row, column, plan))
        seen = kept if seen is None else seen & kept
    return scores if seen is None else jnp.where(seen, scores, -jnp.inf)


def _scaled(plan, query):
    return (query.astype(WIDE) * plan.scale).astype(query.dtype)


def _forward_loop(query, key, value, mask, bias, *, plan, together):
    """Returns the output ``[B, T, K, G, V]`` and log-sum-exps ``[B, T, K, G]``."""
    shape, size = query.shape, value.shape[-1]
    count, cell_at = _cells(together, query)

    def block_row(index, carry):
        cell, row = cell_at(index // plan.rows), index % plan.rows
        block = _scaled(plan, cell.rows(query, row, plan.query_block))
        block = block.transpose(0, 2, 3, 1, 4)

        def block_column(column, state):
            top, total, mixed = state
            keys = cell.rows(key, column, plan.key_block).transpose(0, 2, 1, 3)
            values = cell.rows(value, column, plan.key_block).transpose(0, 2, 1, 3)
            scores = _scores(plan, cell, row, column, block, keys, mask, bias)
            new = jnp.maximum(top, jnp.max(scores, axis=-1))
            # As long as a row has seen nothing its top is -inf; 0 gives exp(-inf) = 0.
            safe = jnp.where(new > -jnp.inf, new, 0.0)
            weights = jnp.exp(scores - safe[..., None])
            fade = jnp.exp(top - safe)
            total = fade * total + jnp.sum(weights, axis=-1)
            more = jnp.einsum(
                "bkgts,bksv->bkgtv",
                weights.astype(value.dtype),
                values,
                preferred_element_type=WIDE,
            )
            return new, total, fade[..., None] * mixed + more

        empty = jnp.zeros(block.shape[:-1], WIDE)
        state = (empty - jnp.inf, empty, jnp.zeros((*empty.shape, size), WIDE))
        top, total, mixed = lax.fori_loop(0, plan.last_column(row), block_column, state)
        total = jnp.where(total == 0.0, 1.0, total)
        mixed = (mixed / total[..., None]).transpose(0, 3, 1, 2, 4)
        logs = jnp.where(top > -jnp.inf, top, 0.0) + jnp.log(total)
        output = cell.put(carry[0], row, plan.query_block, mixed)
        logs = cell.put(carry[1], row, plan.query_block, logs.transpose(0, 3, 1, 2))
        return output, logs

    output = jnp.zeros((*shape[:-1], size), value.dtype)
    start = (output, jnp.zeros(shape[:-1], WIDE))
    return lax.fori_loop(0, count * plan.rows, block_row, start)


def _backward_loop(
    query, key, value, mask, bias, logs, inner, change, *, plan, together
):
    """Returns the gradients of query, key, value and bias, each in its dtype.

    `logs` are the log-sum-exps and `inner` the products of output and `change`, its
    gradient; both are ``[B, T, K, G]``.
    """
    _, queries, _, group, size = query.shape
    count, cell_at = _cells(together, query)
    exact = {"preferred_element_type": WIDE}

    def block_pair(cell, row, column, keys, values, state):
        key_grad, value_grad, query_grad, bias_grad = state
        block = _scaled(plan, cell.rows(query, row, plan.query_block))
        pull = cell.rows(change, row, plan.query_block)
        log, mean = (
            cell.rows(x, row, plan.query_block).transpose(0, 2, 3, 1)[..., None]
            for x in (logs, inner)
        )
        ahead = block.transpose(0, 2, 3, 1, 4)
        scores = _scores(plan, cell, row, column, ahead, keys, mask, bias)
        weights = jnp.exp(scores - log)
        slope = jnp.einsum(
            "bkgtv,bksv->bkgts", pull.transpose(0, 2, 3, 1, 4), values, **exact
        )
        slope = weights * (slope - mean)
        if bias is not None:
            starts, sizes = cell.tile(bias.shape, row, column, plan)
            axes = tuple(i for i in range(5) if bias.shape[i] == 1)
            more = jnp.sum(slope, axis=axes, keepdims=True)
            more += lax.dynamic_slice(bias_grad, starts, sizes)
            bias_grad = lax.dynamic_update_slice(bias_grad, more, starts)
        weights, slope = weights.astype(value.dtype), slope.astype(query.dtype)
        # Transposed, so that the left factor of each product lies as it is read.
        turned = pull.transpose(0, 2, 4, 3, 1)
        value_grad += jnp.einsum("bkvgt,bkgts->bkvs", turned, weights, **exact)
        turned = block.transpose(0, 2, 4, 3, 1)
        key_grad += jnp.einsum("bkhgt,bkgts->bkhs", turned, slope, **exact)
        more = jnp.einsum("bkgts,bksh->bkgth", slope, keys, **exact)
        start = (0, 0, 0, row * plan.query_block, 0)
        more += lax.dynamic_slice(query_grad, start, more.shape)
        query_grad = lax.dynamic_update_slice(query_grad, more, start)
        return key_grad, value_grad, query_grad, bias_grad

    def whole_cell(index, grads):
        cell = cell_at(index)

        def block_column(column, carry):
            query_grad, key_grad, value_grad, bias_grad = carry
            keys = cell.rows(key, column, plan.key_block).transpose(0, 2, 1, 3)
            values = cell.rows(value, column, plan.key_block).transpose(0, 2, 1, 3)
            zeros = [jnp.zeros(x.swapaxes(2, 3).shape, WIDE) for x in (keys, values)]
            key_part, value_part, query_grad, bias_grad = lax.fori_loop(
                plan.first_row(column),
                plan.rows,
                lambda row, state: block_pair(cell, row, column, keys, values, state),
                (*zeros, query_grad, bias_grad),
            )
            key_part, value_part = (
                x.transpose(0, 3, 1, 2) for x in (key_part, value_part)
            )
            key_grad = cell.put(key_grad, column, plan.key_block, key_part)
            value_grad = cell.put(value_grad, column, plan.key_block, value_part)
            return query_grad, key_grad, value_grad, bias_grad

        query_grad, *rest = grads
        part = jnp.zeros((*cell.span, group, queries, size), WIDE)
        part, *rest = lax.fori_loop(0, plan.columns, block_column, (part, *rest))
        part = part.transpose(0, 3, 1, 2, 4) * plan.scale
        return cell.put(query_grad, 0, queries, part), *rest

    bias_grad = None if bias is None else jnp.zeros(bias.shape, WIDE)
    grads = (*(jnp.zeros(x.shape, x.dtype) for x in (query, key, value)), bias_grad)
    return lax.fori_loop(0, count, whole_cell, grads)


def _by_platform(loop, plan, *operands):
    """A CPU is fastest with one head in its cache, others with all heads at once."""
    return lax.platform_dependent(
        *operands,
        cpu=partial(loop, plan=plan, together=False),
        default=partial(loop, plan=plan, together=True),
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(plan, query, key, value, mask, bias):
    return _by_platform(_forward_loop, plan, query, key, value, mask, bias)[0]


def _attend_forward(plan, query, key, value, mask, bias):
    operands = (query, key, value, mask, bias)
    output, logs = _by_platform(_forward_loop, plan, *operands)
    return output, (*operands, output, logs)


def _inner_products(output, change, block):
    """Sums of products over the last axis, without an array of all the products."""

    def some(row, found):
        x, y = (
            lax.dynamic_slice_in_dim(x, row * block, block, axis=1).astype(WIDE)
            for x in (output, change)
        )
        more = jnp.sum(x * y, axis=-1)
        return lax.dynamic_update_slice_in_dim(found, more, row * block, axis=1)

    start = jnp.zeros(output.shape[:-1], WIDE)
    return lax.fori_loop(0, output.shape[1] // block, some, start)


def _attend_backward(plan, saved, change):
    *operands, output, logs = saved
    inner = _inner_products(output, change, plan.query_block)
    grads = _by_platform(_backward_loop, plan, *operands, logs, inner, change)
    query, key, value, bias = grads
    return query, key, value, None, bias


_attend.defvjp(_attend_forward, _attend_backward)


def _padded(array, axis, block):
    """Appends zeros (or False) along `axis` up to a multiple of `block`."""
    short = -array.shape[axis] % block
    if not short or array.shape[axis] == 1:
        return array
    return jnp.pad(array, [(0, short * (i == axis)) for i in range(array.ndim)])


def blocked_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    bias: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    is_causal: bool = False,
    query_block: int = 512,
    key_block: int = 1024,
) -> jax.Array:
    r"""The same as `softmax_attention`, without ever holding all scores.

    .. math:: m' = \max(m, \max_s x_s), \quad
              \ell' = e^{m - m'} \ell + \sum_s e^{x_s - m'}, \quad
              o' = e^{m - m'} o + \sum_s e^{x_s - m'} v_s

    Blocks of keys are met one after another, with a running maximum, sum and output
    for each query. For the gradient only the output and the log-sum-exp of each row
    are kept, and the scores are made anew. Beside the arguments and the gradients,
    memory is linear in T and S, and one block of scores.

    Args:
      query, key, value, mask, bias, scale, is_causal: as in `softmax_attention`. A
        mask or a bias is cut into blocks: those of shape ``[B, 1, 1, S]`` keep memory
        linear. With `is_causal` the blocks that see nothing are skipped.
      query_block, key_block: how many queries and keys meet at once, >= 1.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or a block is empty.

    Numerics: scores, statistics, outputs and gradients accumulate in float32 whatever
      the dtype; a scaled query is rounded to its dtype. Reverse differentiation only,
      and once: `jax.jvp` and second derivatives need `softmax_attention`.

    Source: Milakov and Gimelshein, https://arxiv.org/abs/1805.02867; Rabe and Staats,
      https://arxiv.org/abs/2112.05682; Dao, https://arxiv.org/abs/2307.08691. On a CPU
      one head after another is worked on, elsewhere all heads at once.
    """
    group = protocol.check_inputs(query, key, value)
    (batch, queries, heads, size), keys = query.shape, key.shape[1]
    shape, whole = (batch, heads, queries, keys), (heads // group, group)
    protocol.check_mask(mask, shape)
    if min(query_block, key_block) < 1:
        raise ValueError(
            "query_block and key_block must be positive, got "
            f"{query_block}, {key_block}"
        )
    if not queries * keys:
        return jnp.zeros((*query.shape[:-1], value.shape[-1]), value.dtype)
    scale = 1.0 / math.sqrt(size) if scale is None else scale
    if not isinstance(scale, int | float):  # then it may need a gradient of its own
        scale = jnp.asarray(scale, WIDE)
        scale = jnp.expand_dims(scale, range(4 - scale.ndim)).swapaxes(1, 2)
        query, scale = (query.astype(WIDE) * scale).astype(query.dtype), 1.0
    query_block, key_block = min(query_block, queries), min(key_block, keys)

    def cut(array):
        split = whole if array.shape[1] > 1 else (1, 1)
        array = array.reshape(array.shape[0], *split, *array.shape[2:])
        return _padded(_padded(array, 3, query_block), 4, key_block)

    if bias is not None:
        protocol.check_broadcast("bias", bias, shape)
        bias = cut(bias.astype(WIDE))
    query = _padded(query.reshape(batch, queries, *whole, size), 1, query_block)
    key, value = _padded(key, 1, key_block), _padded(value, 1, key_block)
    plan = _Plan(
        query_block=query_block,
        key_block=key_block,
        rows=query.shape[1] // query_block,
        columns=key.shape[1] // key_block,
        keys=keys,
        offset=keys - queries,
        is_causal=is_causal,
        scale=float(scale),
    )
    output = _attend(plan, query, key, value, None if mask is None else cut(mask), bias)
    return output[:, :queries].reshape(batch, queries, heads, -1)
