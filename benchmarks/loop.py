"""What the loop costs over the bare compiled step, and the time to the first step.

    python -m benchmarks.loop [--write]

In one process, for each experiment, three ways make the same steps in turns of 30, so
that what else the machine does meets all of them: the loop itself (`fit`, logging every
ten steps, with its prefetch), the step that it compiles called by itself, and a plain
``jax.jit`` of the gradient and the optax update with none of the house's guards or
norms. The last two find their batches made; the losses at the end say that all did the
same work. Then, in processes of their own, the time from the start of the command to
its first step, with an empty and with a warm compilation cache. ``--write`` writes
``docs/benchmarks/loop.json`` and the page of it.
"""

import io
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from absl import flags

from experiments import configs, runner
from experiments.objects import Objects, make_objects
from kexue_jax.train import parallel
from kexue_jax.train.checkpoint import write_atomically
from kexue_jax.train.compiled import Scores, abstract_state, compile_step
from kexue_jax.train.loop import Watchers, fit
from kexue_jax.train.options import Options
from kexue_jax.train.progress import Progress
from kexue_jax.train.step import init_state

EVERY, ROWS = 10, 4  # steps between two rows of the loop; rows in a turn
TURN = EVERY * ROWS
TURNS = {"configs/images/vae_batchnorm.py": 100, "configs/text/docs_model.py": 10}
RESULT = configs.ROOT / "docs" / "benchmarks" / "loop.json"


class Way(NamedTuple):
    """One way to make steps: ``step(batch) -> loss``, which keeps its own state."""

    step: Callable[[Any], Any]
    times: list[float]


def bare_step(objects: Objects, batch: Any) -> Callable[[Any], Any]:
    """The compiled step of the loop, called by itself."""
    like = abstract_state(objects.task, objects.tx, 0, objects.layout)
    parts = (objects.task, objects.tx, objects.options, objects.layout)
    compiled = compile_step(*parts, like, batch, wrap=objects.wrap)
    state = _state(objects)

    def step(batch):
        nonlocal state
        state, scores = compiled(state, batch)
        return scores

    return step


def plain_step(objects: Objects) -> Callable[[Any], Any]:
    """What a reader would write by hand: gradient, update, apply."""
    tx = optax.with_extra_args_support(objects.tx)
    key = jax.random.key(objects.options.seed)

    def update(params, extras, opt_state, batch, number):
        rng = jax.random.fold_in(key, number)
        loss_fn = lambda p: objects.task.loss(p, extras, batch, rng)  # noqa: E731
        (loss, (extras, _)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), extras, opt_state, loss

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    state, numbers = _state(objects), itertools.count()
    parts = [state.params, state.extras, state.opt_state]

    def step(batch):
        *parts[:], loss = compiled(*parts, batch, next(numbers))
        return loss

    return step


def _state(objects: Objects) -> Any:
    return jax.jit(partial(init_state, objects.task, objects.tx, 0))()


class Turns:
    """Stands where a tracker would, and gives the other ways their turns in between.

    In every `EVERY` times `ROWS` steps the loop comes first, then the others make the
    same steps. The steps of a turn's first row are not timed: they fill caches and what
    is made ahead.
    """

    def __init__(self, objects: Objects):
        self.objects, self.since = objects, 0.0
        first = self._batches(0, 1)[0]
        self.others = {
            "bare": Way(bare_step(objects, first), []),
            "by hand": Way(plain_step(objects), []),
        }
        self.times: list[float] = []
        self.losses: dict[str, float] = {}

    def write(self, step: int, scores: Any) -> None:
        """Takes a row of the loop."""
        now = time.perf_counter()
        if step % TURN == 0 and step:
            self.times.append((now - self.since) / (TURN - EVERY))
            self.losses["loop"] = scores["loss"]
            batches = self._batches(step - TURN, step)
            for name in sorted(self.others, reverse=step // TURN % 2 == 0):
                self.losses[name] = self._make(self.others[name], batches)
        elif step % TURN == EVERY:
            self.since = time.perf_counter()

    def _make(self, way: Way, batches: list[Any]) -> float:
        for batch in batches[:EVERY]:
            made = way.step(batch)
        jax.block_until_ready(made)
        start = time.perf_counter()
        for batch in batches[EVERY:]:
            made = way.step(batch)
        jax.block_until_ready(made)
        way.times.append((time.perf_counter() - start) / (TURN - EVERY))
        return made.read()["loss"] if isinstance(made, Scores) else float(made)

    def _batches(self, start: int, stop: int) -> list[Any]:
        make, layout = self.objects.task.batch, self.objects.layout
        return [parallel.place_batch(make(step), layout) for step in range(start, stop)]

    def close(self) -> None:
        pass


def measure(spec: str, turns: int) -> dict[str, Any]:
    """Times the three in turns and returns what they say.

    The overhead is the median over turns of the loop's time less the bare step's of the
    same turn; its interval is that of the median's order statistics (95 %). The first
    and the last turn, which hold compilation and evaluation, do not count.
    """
    experiment = configs.load_config(spec)
    experiment.config.mesh.data = 1
    objects = make_objects(experiment)
    watch, steps = Turns(objects), (turns + 2) * TURN
    with tempfile.TemporaryDirectory() as folder:
        fit(
            objects.task,
            objects.tx,
            Options(
                steps=steps,
                seed=objects.options.seed,
                micro_batches=objects.options.micro_batches,
                compute_dtype=objects.options.compute_dtype,
                log_every=EVERY,
                save_every=10**9,
            ),
            workdir=Path(folder),
            layout=objects.layout,
            wrap=objects.wrap,
            watchers=Watchers(
                open_writers=lambda step: [watch],
                progress=Progress(steps, stream=io.StringIO()),
                schedules=objects.schedules,
            ),
        )
    times = {name: np.array(way.times[1:-1]) for name, way in watch.others.items()}
    times["loop"] = np.array(watch.times[1:-1])
    over = np.sort(times["loop"] - times["bare"])
    bare, middle = float(np.median(times["bare"])), float(np.median(over))
    reach = math.ceil(0.98 * math.sqrt(turns))
    low, high = (
        over[max(0, turns // 2 - reach)],
        over[min(turns - 1, turns // 2 + reach)],
    )
    return {
        "turns": turns,
        "steps_a_turn": TURN - EVERY,
        "median_ms": {
            name: round(1e3 * float(np.median(x)), 4) for name, x in times.items()
        },
        "loss": watch.losses,
        "same_loss": watch.losses["bare"] == watch.losses["loop"],
        "overhead_us": round(1e6 * middle, 1),
        "overhead_us_95": [round(1e6 * float(x), 1) for x in (low, high)],
        "overhead_share": round(middle / bare, 4),
        "within": middle <= max(150e-6, 0.05 * bare),
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
    Milliseconds a step, medians of short turns that alternate in one process, on
    {about["cores"]} shared cores (jax {about["jax"]}, {about["date"][:10]}): the bare
    compiled step with its batches ready, the same by hand without guards and norms, and
    the loop with its rows, progress line and prefetch. What the loop costs is the
    median over turns of its time less that of the bare step in the same turn, with a
    95 % interval. The bar is 150 us or 5 % over the bare step, whichever is more, and
    15 s to the first step with a warm compilation cache."""
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
        median, name = found["median_ms"], spec.removeprefix("configs/")
        low, high = found["overhead_us_95"]
        cells = [f"`{name.removesuffix('.py')}`"]
        cells += [f"{median[way]:.2f} ms" for way in ("bare", "by hand", "loop")]
        cells += [
            f"{found['overhead_us']:+.0f} us, {low:+.0f} to {high:+.0f} "
            f"({found['overhead_share']:+.1%})"
        ]
        cells += ["yes" if found["same_loss"] else "no"]
        cells += [f"{found['first_step_s']['warm cache']:.1f} s"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints a table and, if asked, writes it to docs."""
    values = flags.FlagValues()
    flags.DEFINE_bool("write", False, "Write docs/benchmarks.", flag_values=values)
    values(["loop", *argv])
    found: dict[str, Any] = {}
    for spec, turns in TURNS.items():
        found[spec] = measure(spec, turns)
        with tempfile.TemporaryDirectory() as cache:
            found[spec]["first_step_s"] = {
                name: round(time_to_first_step(spec, Path(cache)), 2)
                for name in ("empty cache", "warm cache")
            }
        print(spec, json.dumps(found[spec], indent=1))
    if values.write:
        first = configs.load_config(next(iter(TURNS)))
        about = runner.environment(first, ["python", "-m", "benchmarks.loop", *argv])
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        result = {"environment": about, "results": found}
        write_atomically(RESULT, json.dumps(result, indent=1) + "\n")
        write_atomically(RESULT.with_suffix(".md"), page(found, about))


if __name__ == "__main__":
    main(sys.argv[1:])
