"""What the loop costs over the bare compiled step, and the time to the first step.

    python -m benchmarks.loop [--turns=5] [--write]

In one process, in turns, for each experiment: the bare step, a plain ``jax.jit`` of the
gradient and the optax update with none of the house's guards or norms, and the loop
itself (`fit`, logging every ten steps, with its prefetch). The first two find their
batches made; all three train on the same ones, and the losses after the same number of
steps say that they did the same work. Then, in processes of their own, the time from
the start of the command to its first step, with an empty and with a warm compilation
cache. ``--write`` writes ``docs/benchmarks/loop.json`` and the page of it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import optax
from absl import flags

from experiments import configs, runner
from experiments.objects import Objects, make_objects
from kexue_jax.train import parallel
from kexue_jax.train.checkpoint import write_atomically
from kexue_jax.train.loop import Watchers, abstract_state, compile_step, fit
from kexue_jax.train.options import Options
from kexue_jax.train.step import init_state

EXPERIMENTS = {
    "configs/images/vae_batchnorm.py": 2000,
    "configs/text/docs_model.py": 30,
}
RESULT = configs.ROOT / "docs" / "benchmarks" / "loop.json"


def _objects(spec: str) -> Objects:
    experiment = configs.load_config(spec)
    experiment.config.mesh.data = 1
    return make_objects(experiment)


def _loop_options(options: Options, steps: int) -> Options:
    return Options(
        steps=steps,
        seed=options.seed,
        micro_batches=options.micro_batches,
        compute_dtype=options.compute_dtype,
        save_every=10**9,
    )


def _state(objects: Objects) -> Any:
    return jax.jit(partial(init_state, objects.task, objects.tx, 0))()


def _batches(objects: Objects, steps: int) -> list[Any]:
    return [
        parallel.place_batch(objects.task.batch(step), objects.layout)
        for step in range(steps)
    ]


def time_bare(objects: Objects, steps: int) -> tuple[float, float]:
    """Seconds a step of the compiled step, and the last loss."""
    like = abstract_state(objects.task, objects.tx, 0, objects.layout)
    batches = _batches(objects, steps)
    options = _loop_options(objects.options, steps)
    step = compile_step(
        objects.task,
        objects.tx,
        options,
        objects.layout,
        like,
        batches[0],
        objects.wrap,
    )
    state, scores = step(_state(objects), batches[0])
    jax.block_until_ready(scores)
    start = time.perf_counter()
    for batch in batches[1:]:
        state, scores = step(state, batch)
    jax.block_until_ready((state, scores))
    return (time.perf_counter() - start) / (steps - 1), float(scores["loss"])


def time_plain(objects: Objects, steps: int) -> tuple[float, float]:
    """The same of what a reader would write by hand: gradient, update, apply."""
    tx = optax.with_extra_args_support(objects.tx)
    key = jax.random.key(objects.options.seed)

    def step(params, extras, opt_state, batch, number):
        rng = jax.random.fold_in(key, number)
        loss_fn = lambda p: objects.task.loss(p, extras, batch, rng)  # noqa: E731
        (loss, (extras, _)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), extras, opt_state, loss

    compiled = jax.jit(step, donate_argnums=(0, 1, 2))
    batches, state = _batches(objects, steps), _state(objects)
    parts = state.params, state.extras, state.opt_state
    *parts, loss = compiled(*parts, batches[0], 0)
    jax.block_until_ready(loss)
    start = time.perf_counter()
    for number, batch in enumerate(batches[1:], 1):
        *parts, loss = compiled(*parts, batch, number)
    jax.block_until_ready((parts, loss))
    return (time.perf_counter() - start) / (steps - 1), float(loss)


class _Clock:
    """Notes when steps are reached; stands where the progress line would."""

    def __init__(self):
        self.at: dict[int, float] = {}

    def write(self, step, scores):
        self.at[step] = time.perf_counter()

    def close(self):
        pass


def time_loop(objects: Objects, steps: int) -> tuple[float, float]:
    """Seconds a step of `fit`, without its first and last rows, and the same loss."""
    clock, every = _Clock(), Options(steps=1).log_every
    with tempfile.TemporaryDirectory() as folder:
        outcome = fit(
            objects.task,
            objects.tx,
            _loop_options(objects.options, steps + 2 * every),
            workdir=Path(folder),
            layout=objects.layout,
            wrap=objects.wrap,
            watchers=Watchers(open_writers=lambda step: [clock]),
        )
    first, last = every, steps + every
    seconds = (clock.at[last] - clock.at[first]) / (last - first)
    (loss,) = (row["loss"] for row in outcome.rows if row["step"] == steps)
    return seconds, loss


def measure(spec: str, steps: int, turns: int) -> dict[str, Any]:
    """Times the three in turns and returns the medians and what they say."""
    objects = _objects(spec)
    ways = {"bare": time_bare, "plain": time_plain, "loop": time_loop}
    times: dict[str, list[float]] = {name: [] for name in ways}
    checks = {}
    for _ in range(turns):
        for name, way in ways.items():
            seconds, checks[name] = way(objects, steps)
            times[name].append(seconds)
    best = {name: min(x) for name, x in times.items()}
    middle = {name: statistics.median(x) for name, x in times.items()}
    over = best["loop"] - best["bare"]
    return {
        "steps": steps,
        "turns": turns,
        "least_ms": {name: round(1e3 * x, 4) for name, x in best.items()},
        "median_ms": {name: round(1e3 * x, 4) for name, x in middle.items()},
        "loss": checks,
        "same_loss": checks["bare"] == checks["loop"],
        "overhead_us": round(1e6 * over, 1),
        "overhead_share": round(over / best["bare"], 4),
        "within": over <= max(150e-6, 0.05 * best["bare"]),
    }


def time_to_first_step(spec: str, cache: Path) -> float:
    """Seconds from the start of the command to the row of its first step."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        command = [
            sys.executable,
            "-m",
            "experiments.run",
            f"--config={spec}",
            f"--workdir={workdir}",
            "--config.log_every=1",
            "--noprogress",
        ]
        env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
        start = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=configs.ROOT, env=env, stderr=subprocess.DEVNULL
        )
        try:
            while child.poll() is None:
                rows = runner.read_rows(workdir / "scores.jsonl")
                if rows and rows[-1]["step"] >= 1:
                    return time.perf_counter() - start
                time.sleep(0.02)
        finally:
            child.kill()
            child.wait()
    raise RuntimeError(f"{' '.join(command)} ended before its first step")


def page(results: dict[str, Any], about: dict[str, Any]) -> str:
    """Returns the page of the results."""
    what = f"""Written by `python -m benchmarks.loop --write`; no cell is typed.
    Milliseconds a step, the least of several turns, on {about["cores"]} shared cores
    (jax {about["jax"]}, {about["date"][:10]}): the bare compiled step with its batches
    ready, the same by hand without guards and norms, and the loop with everything on.
    The bar is 150 us or 5 % over the bare step, whichever is more, and 15 s to the
    first step with a warm compilation cache."""
    lines = [
        "# What the loop costs",
        "",
        textwrap.fill(" ".join(what.split()), 88),
        "",
        "| experiment | bare | by hand | loop | over the bare | same loss | "
        "first step, warm |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for spec, found in results.items():
        least, name = found["least_ms"], spec.removeprefix("configs/")
        cells = [f"`{name.removesuffix('.py')}`"]
        cells += [f"{least[way]:.2f} ms" for way in ("bare", "plain", "loop")]
        cells += [f"{found['overhead_us']:+.0f} us ({found['overhead_share']:+.1%})"]
        cells += ["yes" if found["same_loss"] else "no"]
        cells += [f"{found['first_step_s']['warm cache']:.1f} s"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints a table and, if asked, writes it to docs."""
    values = flags.FlagValues()
    flags.DEFINE_integer("turns", 5, "Times each way is timed.", flag_values=values)
    flags.DEFINE_bool("write", False, "Write docs/benchmarks.", flag_values=values)
    values(["loop", *argv])
    found: dict[str, Any] = {}
    for spec, steps in EXPERIMENTS.items():
        found[spec] = measure(spec, steps, values.turns)
        with tempfile.TemporaryDirectory() as cache:
            found[spec]["first_step_s"] = {
                name: round(time_to_first_step(spec, Path(cache)), 2)
                for name in ("empty cache", "warm cache")
            }
        print(spec, json.dumps(found[spec], indent=1))
    if values.write:
        first = configs.load_config(next(iter(EXPERIMENTS)))
        about = runner.environment(first, ["python", "-m", "benchmarks.loop", *argv])
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        result = {"environment": about, "results": found}
        write_atomically(RESULT, json.dumps(result, indent=1) + "\n")
        write_atomically(RESULT.with_suffix(".md"), page(found, about))


if __name__ == "__main__":
    main(sys.argv[1:])
