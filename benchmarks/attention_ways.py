"""What `benchmarks.attention` measures: ways to attend, each beside the exact result.

`make` gives one cell. A way is a function of arrays in the layout that it likes best
and returns the output, or, with a gradient, the output and the gradients of a weighted
sum of it. The weights are zero but for `ROWS` queries, so that float64 can make all of
that gradient by hand; none of the ways looks for zeros.

The peers from packages are called as their users call them. Two are written here, as
no package that runs on a CPU has them: the form in chunks of linear attention, whose
products are `batched <https://arxiv.org/abs/2312.06635>`_ over all chunks of the
sequence, and FAVOR+ as `its paper <https://arxiv.org/abs/2009.14794>`_ has it, with the
maximum over all keys, the constant added to features, and causal sums token by token.
"""

import importlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cells import Cell
from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.linear import linear_attention
from kexue_jax.attention.nystrom import nystrom_attention
from kexue_jax.attention.performer import orthogonal_projection, performer_attention
from kexue_jax.attention.softmax import softmax_attention

HEADS, SIZE, FEATURES, LANDMARKS, WIDTH = 8, 64, 256, 64, 33
ROWS = 32
EPS = 1e-6  # what the reference code of FAVOR+ adds to features

Arrays = Sequence[Any]
Way = Callable[..., Any]


def make(kind: str, way: str, length: int, causal: bool, gradient: bool) -> Cell:
    """Returns a cell.

    Args:
      kind: "softmax", "favor", "linear" or "nystrom".
      way: a name of `JAX_WAYS` or `TORCH_WAYS` of that kind.
      length: T = S.
      causal: whether later keys are hidden.
      gradient: whether the gradients are made too.
    """
    rng = np.random.default_rng(0)
    if kind == "nystrom":
        return _nystrom_cell(way, length, gradient, rng)
    shape = (1, length, HEADS, SIZE)
    size = 0.5 if kind == "favor" else 1.0  # where features approximate something
    inputs = [size * rng.standard_normal(shape, np.float32) for _ in range(3)]
    rows = np.unique(np.linspace(0, length - 1, ROWS).round().astype(int))
    change = np.zeros(shape, np.float32)
    change[:, rows] = rng.standard_normal((1, len(rows), HEADS, SIZE), np.float32)
    rng_key = jax.random.key(0)
    projection = np.asarray(
        orthogonal_projection(rng_key, features=FEATURES, head_size=SIZE)
    )

    def check(result: Arrays) -> float:
        want = exact(kind, inputs, change, rows, causal, projection, gradient)
        got = [np.asarray(x) for x in result]
        return _error([got[0][:, rows], *got[1:]], want)

    if (kind, way) in JAX_WAYS:
        attend = partial(JAX_WAYS[kind, way], causal=causal, projection=projection)
        return Cell(_jax_run(attend, inputs, change, gradient), check)
    attend = partial(TORCH_WAYS[kind, way], causal=causal, projection=projection)
    run = _torch_run(attend, [_heads_first(x) for x in inputs], change, gradient)
    return Cell(run, lambda result: check([_numpy(x) for x in result]))


def _error(got: Arrays, want: Arrays) -> float:
    """The largest deviation, in units of the largest entry of what is exact."""
    pairs = zip(got, want, strict=True)
    return max(float(np.abs(g - w).max() / np.abs(w).max()) for g, w in pairs)


def _jax_run(attend: Way, inputs: Arrays, change: Any, gradient: bool) -> Callable:
    # Copies go on behind the call, and are no memory of the way.
    inputs, change = jax.block_until_ready(jax.device_put((tuple(inputs), change)))

    def both(inputs, change):
        output, pull = jax.vjp(attend, *inputs)
        return output, *pull(change)

    def value(inputs, change):
        del change
        return (attend(*inputs),)

    compiled = jax.jit(both if gradient else value).lower(inputs, change).compile()
    return lambda: jax.block_until_ready(compiled(inputs, change))


def _torch_run(attend: Way, inputs: Arrays, change: Any, gradient: bool) -> Callable:
    torch = importlib.import_module("torch")
    change = _heads_first(change)
    leaves = [x.requires_grad_(gradient) for x in inputs]

    def run():
        with torch.set_grad_enabled(gradient):
            output = attend(*leaves)
            grads = torch.autograd.grad(output, leaves, change) if gradient else ()
        return output.detach(), *grads

    return run


def _heads_first(array: Any) -> Any:
    """``[B, T, N, H]`` as a tensor ``[B, N, T, H]``."""
    torch = importlib.import_module("torch")
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 2, 1, 3)))


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.numpy().transpose(0, 2, 1, 3)


# What is exact, in float64 and for the rows that count.


def exact(
    kind: str,
    inputs: Arrays,
    change: np.ndarray,
    rows: np.ndarray,
    causal: bool,
    projection: np.ndarray,
    gradient: bool,
) -> list[np.ndarray]:
    """Returns the outputs of `rows` and, if asked, the gradients of all inputs."""
    wide = [x[0].astype(np.float64).transpose(1, 0, 2) for x in (*inputs, change)]
    results = [np.zeros((HEADS, len(rows), SIZE))]
    results += [np.zeros_like(wide[0]) for _ in range(3 * gradient)]
    visible = np.arange(wide[0].shape[1]) <= rows[:, None] if causal else np.True_
    for head in range(HEADS):
        q, k, v, w = (x[head] for x in wide)
        q, w = q[rows], w[rows]
        if kind == "softmax":
            scores = np.where(visible, q @ k.T / math.sqrt(SIZE), -np.inf)
            similar = np.exp(scores - scores.max(-1, keepdims=True))
        else:
            feature_map = (
                _elu_plus_one if kind == "linear" else partial(_favor, projection)
            )
            (asked, pull_q), (kept, pull_k) = feature_map(q), feature_map(k)
            similar = np.where(visible, asked @ kept.T, 0.0)
        total = similar.sum(-1, keepdims=True)
        weights = similar / total
        results[0][head] = output = weights @ v
        if not gradient:
            continue
        slope = w @ v.T - np.sum(w * output, axis=-1, keepdims=True)
        if kind == "softmax":
            slope = weights * slope / math.sqrt(SIZE)
            results[1][head, rows], results[2][head] = slope @ k, slope.T @ q
        else:
            slope = np.where(visible, slope / total, 0.0)
            results[1][head, rows] = pull_q(slope @ kept)
            results[2][head] = pull_k(slope.T @ asked)
        results[3][head] = weights.T @ w
    return [x.transpose(1, 0, 2)[None] for x in results]


def _elu_plus_one(x):
    """Features and the pull of their gradient."""
    power = np.exp(np.minimum(x, 0.0))
    return np.where(x > 0.0, x + 1.0, power), lambda change: change * power


def _favor(projection, x):
    x, rows = x / SIZE**0.25, projection.astype(np.float64)
    features = np.exp(x @ rows.T - 0.5 * np.sum(x**2, axis=-1, keepdims=True))

    def pull(change):
        change = features * change
        return (change @ rows - x * change.sum(-1, keepdims=True)) / SIZE**0.25

    return features, pull


# Ways in JAX: (query, key, value, *, causal, projection), all ``[1, T, N, H]``.


def _dense(query, key, value, *, causal, projection):
    del projection
    return softmax_attention(query, key, value, is_causal=causal)


def _blocked(query, key, value, *, causal, projection):
    del projection
    return blocked_attention(query, key, value, is_causal=causal)


def _jax_nn(query, key, value, *, causal, projection):
    del projection
    return jax.nn.dot_product_attention(query, key, value, is_causal=causal)


def _performer(query, key, value, *, causal, projection):
    rows = jnp.asarray(projection)
    return performer_attention(query, key, value, projection=rows, is_causal=causal)


def _linear(query, key, value, *, causal, projection):
    del projection
    return linear_attention(query, key, value, is_causal=causal)


def _paper_features(x, projection, axes):
    x = x / SIZE**0.25
    power = jnp.einsum("btnh,mh->btnm", x, projection)
    half = 0.5 * jnp.sum(x**2, axis=-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.max(power, axis=axes, keepdims=True))
    return (jnp.exp(power - half - top) + EPS) / math.sqrt(FEATURES)


def _paper_favor(query, key, value, *, causal, projection):
    query = _paper_features(query, projection, -1)
    key = _paper_features(key, projection, (1, 3))
    if causal:
        above, below = _token_by_token(query, key, value)
    else:
        above = jnp.einsum("bsnm,bsnv->bnmv", key, value)
        above = jnp.einsum("btnm,bnmv->btnv", query, above)
        below = jnp.einsum("btnm,bnm->btn", query, jnp.sum(key, axis=1))
    return above / below[..., None]


@jax.custom_vjp
def _token_by_token(query, key, value):
    return _sums_forward(query, key, value)[0]


def _in_order(*arrays):
    return tuple(jnp.moveaxis(x, 1, 0) for x in arrays)


def _sums_forward(query, key, value):
    """Numerators and denominators from sums that every token adds to."""

    def step(sums, token):
        query, key, value = token
        moment = sums[0] + jnp.einsum("bnm,bnv->bnmv", key, value)
        total = sums[1] + key
        above = jnp.einsum("bnm,bnmv->bnv", query, moment)
        return (moment, total), (above, jnp.sum(query * total, axis=-1))

    batch, _, heads, size = query.shape
    total = jnp.zeros((batch, heads, size))
    start = jnp.zeros((*total.shape, value.shape[-1])), total
    sums, outputs = jax.lax.scan(step, start, _in_order(query, key, value))
    return _in_order(*outputs), (query, key, value, sums)


def _sums_backward(saved, change):
    """Walks back, taking from the sums what every token added."""
    query, key, value, sums = saved

    def step(carry, token):
        (moment, total), (moment_slope, total_slope) = carry
        query, key, value, above, below = token
        query_slope = jnp.einsum("bnmv,bnv->bnm", moment, above)
        query_slope += below[..., None] * total
        moment_slope += jnp.einsum("bnm,bnv->bnmv", query, above)
        total_slope += below[..., None] * query
        key_slope = jnp.einsum("bnmv,bnv->bnm", moment_slope, value) + total_slope
        value_slope = jnp.einsum("bnmv,bnm->bnv", moment_slope, key)
        moment -= jnp.einsum("bnm,bnv->bnmv", key, value)
        carry = (moment, total - key), (moment_slope, total_slope)
        return carry, (query_slope, key_slope, value_slope)

    carry = sums, jax.tree.map(jnp.zeros_like, sums)
    tokens = _in_order(query, key, value, *change)
    return _in_order(*jax.lax.scan(step, carry, tokens, reverse=True)[1])


_token_by_token.defvjp(_sums_forward, _sums_backward)


# Ways in torch: the same arguments, all ``[1, N, T, H]``.


def _torch_softmax(query, key, value, *, causal, projection):
    del projection
    attend = importlib.import_module("torch").nn.functional.scaled_dot_product_attention
    return attend(query, key, value, is_causal=causal)


def _their_features(query, key, projection):
    make_features = importlib.import_module("performer_pytorch").performer_pytorch
    torch = importlib.import_module("torch")
    how = dict(projection_matrix=torch.tensor(projection))
    return (
        make_features.softmax_kernel(query, is_query=True, **how),
        make_features.softmax_kernel(key, is_query=False, **how),
    )


def _elu_features(*arrays):
    torch = importlib.import_module("torch")
    return tuple(torch.nn.functional.elu(x) + 1.0 for x in arrays)


def _in_chunks(query, key, value, chunk=64):
    """Causal linear attention of features, all chunks of the sequence at once."""
    torch = importlib.import_module("torch")
    query, key, value = (
        x.unflatten(2, (-1, min(chunk, x.shape[2]))) for x in (query, key, value)
    )
    moment = (key.transpose(-1, -2) @ value).cumsum(2)
    before = torch.cat([torch.zeros_like(moment[:, :, :1]), moment[:, :, :-1]], 2)
    later = torch.ones(2 * query.shape[3:4], dtype=torch.bool).triu(1)
    inside = (query @ key.transpose(-1, -2)).masked_fill(later, 0.0)
    above = (query @ before + inside @ value).flatten(2, 3)
    query, key = query.flatten(2, 3), key.flatten(2, 3)
    below = (query * key.cumsum(2)).sum(-1, keepdim=True)
    return above / (below + 1e-10)


def _assembled(query, key, value, *, causal, projection):
    assert causal
    return _in_chunks(*_their_features(query, key, projection), value)


def _chunk_form(query, key, value, *, causal, projection):
    assert causal
    del projection
    return _in_chunks(*_elu_features(query, key), value)


def _performer_pytorch(query, key, value, *, causal, projection):
    performer = importlib.import_module("performer_pytorch").performer_pytorch
    query, key = _their_features(query, key, projection)
    attend = performer.linear_attention
    if causal:
        attend = performer.causal_linear_attention_noncuda
    return attend(query, key, value)


def _performer_pytorch_elu(query, key, value, *, causal, projection):
    assert causal
    del projection
    performer = importlib.import_module("performer_pytorch").performer_pytorch
    query, key = _elu_features(query, key)
    return performer.causal_linear_attention_noncuda(query, key, value)


JAX_WAYS: dict[tuple[str, str], Way] = {
    ("softmax", "dense"): _dense,
    ("softmax", "blocked"): _blocked,
    ("softmax", "jax.nn"): _jax_nn,
    ("favor", "ours"): _performer,
    ("favor", "as in the paper"): _paper_favor,
    ("linear", "ours"): _linear,
}
TORCH_WAYS: dict[tuple[str, str], Way] = {
    ("softmax", "torch SDPA"): _torch_softmax,
    ("favor", "assembled"): _assembled,
    ("favor", "performer-pytorch"): _performer_pytorch,
    ("linear", "chunk form"): _chunk_form,
    ("linear", "performer-pytorch"): _performer_pytorch_elu,
}


# Modules with Nystrom attention: projections, 64 landmarks, a convolution of 33.


def _nystrom_cell(way: str, length: int, gradient: bool, rng: Any) -> Cell:
    """The cell of a module; gradients are those of the input and of all weights."""
    features = HEADS * SIZE
    x, change = (
        rng.standard_normal((1, length, features), np.float32) for _ in range(2)
    )
    weights = {
        "inner": rng.standard_normal((features, 3 * features), np.float32),
        "outer": rng.standard_normal((features, features), np.float32),
        "kernel": rng.standard_normal((HEADS, WIDTH), np.float32),
    }
    weights = {name: w / math.sqrt(len(w)) for name, w in weights.items()}

    def check(result: Arrays) -> float:
        shared = way != "ours"  # the packages divide by one norm for all heads
        want = _exact_nystrom(x, weights, change, shared, gradient)
        return _error([np.asarray(y) for y in result[:2]], want)

    if way == "projections alone":  # of ours; what no attention can be faster than
        run = _jax_run(_projections, (x, weights), change, gradient)
        return Cell(run, lambda result: _error(result[:1], [_projections(x, weights)]))
    if way == "ours":
        run = _jax_run(_nystrom_module, (x, weights), change, gradient)
        return Cell(run, check)
    torch = importlib.import_module("torch")
    module, parameters = _their_module(way, length, weights)
    leaf = torch.from_numpy(x).requires_grad_(gradient)
    weight = torch.from_numpy(change)

    def run():
        with torch.set_grad_enabled(gradient):
            out, leaves = module(leaf), [leaf, *parameters]
            grads = torch.autograd.grad(out, leaves, weight) if gradient else ()
        return out.detach(), *grads

    return Cell(run, check)


def _nystrom_module(x, weights):
    inner = (x @ weights["inner"]).reshape(*x.shape[:2], 3, HEADS, SIZE)
    query, key, value = (inner[:, :, i] for i in range(3))
    mixed = nystrom_attention(
        query, key, value, landmarks=LANDMARKS, convolution=weights["kernel"]
    )
    return mixed.reshape(x.shape) @ weights["outer"]


def _projections(x, weights):
    inner = (x @ weights["inner"]).reshape(*x.shape[:2], 3, x.shape[-1])
    return inner.sum(2) @ weights["outer"]


def _their_module(way, length, weights):
    """A function of the input, and its parameters, with the weights copied in."""
    torch = importlib.import_module("torch")
    features = HEADS * SIZE
    inner, outer = (torch.from_numpy(weights[x].T.copy()) for x in ("inner", "outer"))
    kernel = torch.from_numpy(weights["kernel"])[:, None, :, None]
    if way == "nystrom-attention":
        module = importlib.import_module("nystrom_attention").NystromAttention(
            dim=features,
            dim_head=SIZE,
            heads=HEADS,
            num_landmarks=LANDMARKS,
            residual_conv_kernel=WIDTH,
        )
        pairs = [(module.to_qkv.weight, inner), (module.to_out[0].weight, outer)]
        pairs += [(module.res_conv.weight, kernel)]
        attend = module
    else:
        where = "transformers.models.nystromformer.modeling_nystromformer"
        room = importlib.import_module(where)
        config = room.NystromformerConfig(
            hidden_size=features,
            num_attention_heads=HEADS,
            num_landmarks=LANDMARKS,
            segment_means_seq_len=length,
            conv_kernel_size=WIDTH,
            attention_probs_dropout_prob=0.0,
        )
        attention = room.NystromformerSelfAttention(config)
        dense = torch.nn.Linear(features, features)
        module = torch.nn.ModuleList([attention, dense])
        parts = (attention.query, attention.key, attention.value)
        pairs = [
            (part.weight, w) for part, w in zip(parts, inner.chunk(3), strict=True)
        ]
        pairs += [(dense.weight, outer), (attention.conv.weight, kernel)]

        def attend(x):
            return dense(attention(x)[0])

    module.eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        for parameter, value in pairs:
            parameter.copy_(value)
    return attend, list(module.parameters())


def _exact_nystrom(x, weights, change, shared, gradient):
    """The output and the gradient of the input, in float64."""
    torch = importlib.import_module("torch")
    inner, outer, kernel = (torch.from_numpy(w).double() for w in weights.values())
    leaf = torch.from_numpy(x).double().requires_grad_(gradient)
    length, features = x.shape[1:]
    parts = (leaf[0] @ inner).unflatten(-1, (3, HEADS, SIZE)).permute(1, 2, 0, 3)
    query, key, value = parts  # [N, T, H]
    query = query / math.sqrt(SIZE)

    def means(features):
        runs = (LANDMARKS, length // LANDMARKS)
        return features.unflatten(1, runs).mean(2)

    def weigh(query, key):
        return (query @ key.transpose(1, 2)).softmax(-1)

    middle = weigh(means(query), means(key))
    size = middle.sum(-1).amax(-1) * middle.sum(-2).amax(-1)
    size = size.amax() if shared else size[:, None, None]
    inverse, unit = middle.transpose(1, 2) / size, torch.eye(LANDMARKS).double()
    for _ in range(6):
        both = middle @ inverse
        step = 15 * unit - both @ (7 * unit - both)
        inverse = inverse @ (13 * unit - both @ step) / 4
    averages = inverse @ (weigh(means(query), key) @ value)
    mixed = weigh(query, means(key)) @ averages
    mixed = mixed + torch.nn.functional.conv1d(
        value.permute(2, 0, 1), kernel[:, None], padding=WIDTH // 2, groups=HEADS
    ).permute(1, 2, 0)
    output = mixed.transpose(0, 1).reshape(1, length, features) @ outer
    if not gradient:
        return [output.detach().numpy()]
    (slope,) = torch.autograd.grad(output, leaf, torch.from_numpy(change).double())
    return [output.detach().numpy(), slope.numpy()]
