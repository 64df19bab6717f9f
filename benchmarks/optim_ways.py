"""What `benchmarks.optim` measures: steps of optimizers, and merges of gradients.

`make` measures one cell. Ways that are compared stand in one process and take turns,
each round beginning with another one and with a triad, ``b + s c`` in place, which
tells the bandwidth of that moment; a ratio is the median of the ratios of the rounds.
"""

import os
from collections.abc import Callable
from importlib import import_module as package
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import optim_rewrites, turns
from benchmarks.optim_rewrites import DECAY, EVERY, GAMMA, PERIOD, RATE
from kexue_jax import optim
from kexue_jax.optim import by_role

ROUNDS, STEPS = 15, 50
TRIAD = 2**25  # numbers in each of two arrays, 128 MiB: beyond all caches
WIDTH, VOCABULARY, LENGTH, TOKENS = 768, 30522, 512, 2048
RADIUS = 0.5  # of CAGrad
BF16 = jnp.bfloat16


class Way(NamedTuple):
    """`make` gives an optimizer whose step moves at least `traffic` bytes a parameter.

    `rewrite` names its rule in `benchmarks.optim_rewrites`.
    """

    make: Callable[[], optax.GradientTransformation]
    traffic: int
    rewrite: str


def _adamw(**options: Any) -> optax.GradientTransformation:
    return optax.adamw(RATE, weight_decay=DECAY, **options)


def _rated(direction: optax.GradientTransformation, decay: float = 0.0) -> Any:
    decayed = [optax.add_decayed_weights(decay)] if decay else []
    return optax.chain(direction, *decayed, optax.scale_by_learning_rate(RATE))


# Traffic: gradients and params are read, params written, moments read and written.
# Whatever belongs to one leaf may wait in a cache, what belongs to all may not.
WAYS = {
    "optax.adamw": Way(_adamw, 28, "adamw"),
    "adax": Way(lambda: optim.adax(RATE), 28, "adax"),
    "adaxw": Way(lambda: optim.adaxw(RATE, weight_decay=DECAY), 28, "adaxw"),
    "lamb": Way(lambda: optim.lamb(RATE, weight_decay=DECAY), 28, "lamb"),
    "lookahead(adamw)": Way(lambda: optim.lookahead(_adamw(), PERIOD), 36, "lookahead"),
    "lazy_rows(adamw)": Way(lambda: optim.lazy_rows(_adamw()), 28, "lazy_rows"),
    "lazy_rows of embeddings": Way(
        lambda: optax.partition(
            {"rows": optim.lazy_rows(_adamw()), "rest": _adamw()}, _tables
        ),
        28,
        "lazy_tables",
    ),
    "smooth clip, adamw": Way(
        lambda: optax.chain(optim.smooth_clip_by_global_norm(GAMMA), _adamw()),
        32,
        "clipped",
    ),
    "adamw, average_weights": Way(
        lambda: optax.chain(_adamw(), optim.average_weights()), 36, "average_weights"
    ),
    "accumulate_in_momentum": Way(
        lambda: _rated(optim.accumulate_in_momentum(EVERY)),
        20,
        "accumulate_in_momentum",
    ),
    "optax.lion": Way(
        lambda: optax.lion(RATE, 0.9, 0.99, weight_decay=DECAY), 20, "lion"
    ),
    "tiger": Way(lambda: optim.tiger(RATE, weight_decay=DECAY), 20, "tiger"),
    "sign momentum": Way(
        lambda: _rated(optim.scale_by_sign_momentum(), DECAY), 20, "sign_momentum"
    ),
    "optax.adafactor": Way(lambda: optax.adafactor(RATE), 12, "adafactor"),
    "adafactor": Way(lambda: optim.adafactor(RATE), 12, "adafactor"),
    "adamw, bf16 mu": Way(lambda: _adamw(mu_dtype=BF16), 24, "adamw"),
    "adaxw, bf16 mu": Way(
        lambda: optim.adaxw(RATE, weight_decay=DECAY, mu_dtype=BF16), 24, "adaxw"
    ),
    "adaxw, bf16 mu and nu": Way(
        lambda: optim.adaxw(RATE, weight_decay=DECAY, mu_dtype=BF16, nu_dtype=BF16),
        20,
        "adaxw",
    ),
    "tiger, bf16 mu": Way(
        lambda: optim.tiger(RATE, weight_decay=DECAY, mu_dtype=BF16), 16, "tiger"
    ),
    # of the same name or use, for comparison
    "optax.lamb": Way(
        lambda: optax.lamb(RATE, weight_decay=DECAY, mask=_weights), 28, ""
    ),
    "optax.lookahead": Way(
        lambda: optax.lookahead(_adamw(), PERIOD, 0.5), 36, "lookahead"
    ),
    "optax clip, adamw": Way(
        lambda: optax.chain(optax.clip_by_global_norm(GAMMA), _adamw()), 32, ""
    ),
}


def _tables(params: Any) -> Any:
    return jax.tree.map(
        lambda role: "rows" if role == "embedding" else "rest", by_role(params)
    )


def _weights(params: Any) -> Any:
    return jax.tree.map(lambda role: role not in ("bias", "gain"), by_role(params))


def make(kind: str, **arguments: Any) -> dict[str, Any]:
    """Measures a cell, "steps" or "merges"; see there for the arguments."""
    return {"steps": steps, "merges": merges}[kind](**arguments)


def bert(layers: int, vocabulary: int = VOCABULARY, width: int = WIDTH) -> Any:
    """The shapes of a BERT without its heads: 109 million numbers with 12 layers."""

    def dense(inputs, outputs):
        return {"kernel": (inputs, outputs), "bias": (outputs,)}

    def norm():
        return {"scale": (width,), "bias": (width,)}

    def block():
        sides = {name: dense(width, width) for name in ("query", "key", "value", "out")}
        wide = {"up": dense(width, 4 * width), "down": dense(4 * width, width)}
        return sides | wide | {"first_norm": norm(), "second_norm": norm()}

    tables = {"words": vocabulary, "positions": LENGTH, "kinds": 2}
    return {
        **{name: {"embedding": (rows, width)} for name, rows in tables.items()},
        "norm": norm(),
        **{f"block_{at:02d}": block() for at in range(layers)},
        "pooler": dense(width, width),
    }


def drawn(shapes: Any, rng: np.random.Generator, scale: float, seen: int = 0) -> Any:
    """Normal numbers in float32; of a large table all rows but `seen` are 0, if any."""

    def draw(shape):
        x = scale * rng.standard_normal(shape, dtype=np.float32)
        if seen and shape[0] > 4 * seen:
            kept = np.zeros(shape[0], bool)
            kept[rng.choice(shape[0], seen, replace=False)] = True
            x[~kept] = 0.0
        return x

    return jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))


def step_of(tx: optax.GradientTransformation) -> Any:
    """An update and its application, which give up params and state."""

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def _start(way: str, params: Any) -> Any:
    """Params as the optimizer wants them: `optax.lookahead` wants pairs."""
    params = jax.tree.map(jnp.array, params)
    if way == "optax.lookahead":
        return optax.LookaheadParams(params, jax.tree.map(jnp.array, params))
    return params


def error(way: str) -> float | None:
    """The error after 50 steps beside `optim_rewrites`, in units of the change.

    Both as root mean squares over five leaves, one a table most of whose rows are
    without gradient in each step. None if there is no rewrite.
    """
    rule = WAYS[way].rewrite
    if not rule:
        return None
    rng = np.random.default_rng(1)
    shapes = {
        "words": {"embedding": (200, 160)},
        "norm": {"scale": (160,), "bias": (160,)},
        "dense": {"kernel": (160, 144), "bias": (144,)},
    }
    params = drawn(shapes, rng, 0.1)
    made = [drawn(shapes, rng, rng.uniform(0.01, 0.1), 40) for _ in range(STEPS)]
    step, tx = step_of(WAYS[way].make()), WAYS[way].make()
    found = _start(way, params)
    state = tx.init(found)
    for grads in made:
        found, state = step(found, state, grads)
    found = found.fast if way == "optax.lookahead" else found
    leaves, roles = (jax.tree.leaves(x) for x in (params, by_role(params)))
    want = optim_rewrites.run(rule, [jax.tree.leaves(g) for g in made], leaves, roles)
    apart = [
        np.asarray(x) - w for x, w in zip(jax.tree.leaves(found), want, strict=True)
    ]
    moved = [w - p for w, p in zip(want, leaves, strict=True)]
    sizes = [np.sqrt(sum(np.sum(x**2) for x in each)) for each in (apart, moved)]
    return float(sizes[0] / sizes[1])


def _triad() -> Callable[[], Any]:
    b, c = jnp.ones(TRIAD), jnp.full(TRIAD, 1e-3)
    compiled = jax.jit(lambda b, c: b + 0.5 * c, donate_argnums=0)

    def run():
        nonlocal b
        b = jax.block_until_ready(compiled(b, c))

    run()
    return run


def steps(ways: list[str], layers: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Steps of several optimizers on one tree of parameters, in turns.

    Args:
      ways: names in `WAYS`; the first is the one that others are ratios to.
      layers: of the tree `bert`.
      rounds: that are told.

    Returns:
      Of each way times, the bytes it took beyond its inputs, ``ratio`` (of its time to
      that of the first), ``bound`` (of its time to what its traffic takes at the
      triad's bandwidth in the same rounds), ``compilations`` after the first, and the
      error of 50 steps.
    """
    errors = {way: error(way) for way in ways}
    rng = np.random.default_rng(0)
    shapes = bert(layers)
    grads = jax.tree.map(jnp.asarray, drawn(shapes, rng, 1e-2, TOKENS))
    values = drawn(shapes, rng, 2e-2)
    count = sum(x.size for x in jax.tree.leaves(grads))
    runs, compiled, peaks = {"triad": _triad()}, {}, {}

    def runner(way):
        tx, params = WAYS[way].make(), _start(way, values)
        state = jax.jit(tx.init)(params)
        jax.block_until_ready((params, state))
        step = compiled[way] = step_of(tx)
        alone = step.lower(params, state, grads).compile()
        kept = [params, state]
        del params, state

        def run(step):
            kept[:] = jax.block_until_ready(step(*kept, grads))

        peaks[way] = turns.highest(lambda: run(alone))[1]
        run(step)
        return lambda: run(step)

    for way in ways:
        runs[way] = runner(way)
    times = turns.in_turns(runs, rounds)
    found = turns.told(times, ways[0], peaks)
    speed = 12 * TRIAD / np.asarray(times["triad"])  # bytes a second
    for way in ways:
        least = WAYS[way].traffic * count / speed
        found[way] |= {
            "bound": float(np.median(np.asarray(times[way]) / least)),
            "compilations": compiled[way]._cache_size() - 1,
            "error": errors[way],
        }
    found["triad"]["bandwidth"] = float(np.median(speed))
    return {"ways": found, "parameters": count}


MERGES = {
    "MGDA": ("mgda", "MGDA", {}),
    "PCGrad": ("pcgrad", "PCGrad", {}),
    "CAGrad": ("cagrad", "CAGrad", {"c": RADIUS}),
    "UPGrad": ("upgrad", "UPGrad", {}),
}


def _conflicting(shapes: Any, objectives: int) -> Any:
    """Gradients ``[K, ...]`` of different lengths, some of which point apart."""
    rng = np.random.default_rng(0)
    sizes = rng.uniform(0.5, 2.0, objectives).astype(np.float32)
    signs = np.where(np.arange(objectives) % 2, -1, 1).astype(np.float32)

    def draw(shape):
        own = rng.standard_normal((objectives, *shape), dtype=np.float32)
        both = rng.standard_normal((2, *shape), dtype=np.float32)
        for k in range(objectives):
            own[k] += 0.5 * both[0] + 0.3 * signs[k] * both[1]
            own[k] *= sizes[k]
        return own

    return jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))


def _objective(merge: str, rows: np.ndarray, found: np.ndarray) -> float | None:
    """What the merge makes small: a norm, or minus the gain of the worst off."""
    found = found.astype(np.float64)
    if merge == "MGDA":
        return float(np.linalg.norm(found))
    if merge == "CAGrad":  # within the ball around the mean; who is outside is drawn in
        mean = rows.mean(axis=0, dtype=np.float64)
        apart = found - mean
        reach = RADIUS * np.linalg.norm(mean) / np.linalg.norm(apart)
        found = mean + min(1.0, float(reach)) * apart
        return -float(min(np.vdot(row.astype(np.float64), found) for row in rows))
    return None


def merges(merge: str, objectives: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """A merge of the gradients of K objectives beside that of torchjd, in turns.

    Ours finds them as a tree of ``[K, ...]``, torchjd as its matrix ``[K, P]``.

    Returns:
      Of each way times, bytes beyond its inputs and the objective, if there is one.
    """
    torch = package("torch")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    ours, theirs, options = MERGES[merge]
    shapes = bert(1, vocabulary=3000)
    grads = _conflicting(shapes, objectives)
    leaves = [x.reshape(objectives, -1) for x in jax.tree.leaves(grads)]
    rows = np.concatenate(leaves, axis=1)
    tree = jax.tree.map(jnp.asarray, grads)
    tx = getattr(optim, ours)(objectives)
    state = tx.init(None)
    compiled = jax.jit(lambda g, s: tx.update(g, s)[0]).lower(tree, state).compile()
    aggregate = getattr(package("torchjd.aggregation"), theirs)(**options)
    matrix = torch.from_numpy(rows)

    def run():
        return jax.block_until_ready(compiled(tree, state))

    runs = {"ours": run, "torchjd": lambda: aggregate(matrix)}
    peaks, results = {}, {}
    for name, each in runs.items():
        results[name], peaks[name] = turns.highest(each)
    flat = [np.asarray(x).ravel() for x in jax.tree.leaves(results["ours"])]
    scale = 1.0 + RADIUS**2 if merge == "CAGrad" else 1.0  # the rescaling of its paper
    vectors = {
        "ours": scale * np.concatenate(flat),
        "torchjd": results["torchjd"].numpy(),
    }
    found = turns.told(turns.in_turns(runs, rounds), "ours", peaks)
    for name, vector in vectors.items():
        found[name]["objective"] = _objective(merge, rows, vector)
    return {"ways": found, "parameters": rows.shape[1]}
