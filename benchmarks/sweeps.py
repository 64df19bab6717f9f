"""What a trial of a sweep costs beside its run, and what runs side by side gain.

    python -m benchmarks.sweeps [--write]

First, a sweep of 1,000 trials that train nothing (`benchmarks.nothing`), by four
workers and SQLite, from the command to its table; and the same runs made one after
another in one process, without any sweep. Then, for each of two experiments, runs with
several seeds: one after another, and in the lanes of one program; both in a process of
its own, with an empty compilation cache, compilation included. ``--write`` writes
``docs/benchmarks/sweeps.json`` and the page of it.
"""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments import configs, runner
from experiments.objects import make_objects
from experiments.sweeps.definition import Sweep
from experiments.sweeps.together import Lane, lane_objects
from kexue_jax.train import lanes
from kexue_jax.train.checkpoint import write_atomically
from kexue_jax.train.loop import fit

TRIALS, WORKERS, ALONE = 1000, 4, 100
LANES = {  # experiment, seeds, steps
    "configs/images/vae_batchnorm.py": (8, 300),
    "configs/text/docs_model.py": (4, 60),
}
RESULT = configs.ROOT / "docs" / "benchmarks" / "sweeps.json"


def overhead() -> dict[str, Any]:
    """Times the sweep of nothing, and its runs without a sweep."""
    config = "benchmarks/nothing.py"
    with tempfile.TemporaryDirectory() as folder:
        points = {"task.x": [float(i) for i in range(TRIALS)]}
        data = {"grid": points, "objective": {"x/value": "min"}}
        sweep = Path(folder) / "nothing.json"
        sweep.write_text(json.dumps(data))
        command = [sys.executable, "-m", "experiments.sweep", f"--config={config}"]
        command += [f"--sweep={sweep}", f"--workdir={folder}/runs"]
        command += [f"--workers={WORKERS}"]
        seconds = []
        for _ in range(2):  # the second finds everything done
            start = time.perf_counter()
            done = subprocess.run(
                command, cwd=configs.ROOT, capture_output=True, text=True, check=True
            )
            seconds.append(time.perf_counter() - start)
        assert f"{TRIALS} trials: {TRIALS} done" in done.stdout, done.stdout
        times = []
        for i in range(ALONE):
            experiment = configs.load_config(config)
            configs.override(experiment.config, {"task.x": float(i)})
            start = time.perf_counter()
            workdir = Path(folder) / "alone" / str(i)
            runner.run(experiment, workdir, log=lambda line: None, progress=False)
            times.append(time.perf_counter() - start)
    cores = len(os.sched_getaffinity(0))
    return {
        "trials": TRIALS,
        "workers": WORKERS,
        "sweep_seconds": round(seconds[0], 1),
        "again_seconds": round(seconds[1], 2),
        "run_seconds": round(float(np.median(times[10:])), 4),
        "trial_core_seconds": round(seconds[0] * min(cores, WORKERS) / TRIALS, 4),
    }


def _members(spec: str, seeds: int, steps: int) -> list[Lane]:
    changes = {"steps": steps, "eval_every": None, "save_every": steps, "mesh.data": 1}
    entries = [changes | {"seed": seed} for seed in range(seeds)]
    sweep = Sweep(spec, {"list": entries, "together": ["seed"]})
    return [Lane(*sweep.resolve(point.named())) for point in sweep.points()]


def side_by_side(spec: str, way: str) -> dict[str, Any]:
    """Times one way to make the runs; returns its seconds and the rows of each."""
    seeds, steps = LANES[spec]
    members = _members(spec, seeds, steps)
    start, found = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:

        def run(objects, name):
            path = Path(folder) / name
            path.mkdir()
            return fit(
                objects.task,
                objects.tx,
                objects.options,
                workdir=path,
                layout=objects.layout,
                wrap=objects.wrap,
            )

        if way == "together":
            rows = run(lane_objects(members, ["seed"]), "all").rows
            found = [[lanes.lane_row(row, i) for row in rows] for i in range(seeds)]
        else:
            for i, member in enumerate(members):
                found.append(run(make_objects(member.experiment), str(i)).rows)
    return {"seconds": time.perf_counter() - start, "rows": found}


def difference(apart: list, together: list, at: int) -> float:
    """The largest of any score of a row of any run, as a share of the score."""
    worst = 0.0
    for one, two in zip(apart, together, strict=True):
        assert one[at]["step"] == two[at]["step"]
        for name in one[at].keys() & two[at].keys() - {"step"}:
            away = abs(one[at][name] - two[at][name])
            worst = max(worst, away / max(abs(one[at][name]), 1e-6))
    return worst


def lanes_gain(spec: str) -> dict[str, Any]:
    """Compares both ways, each in a process of its own, three times in turns."""
    found: dict[str, list[dict[str, Any]]] = {"apart": [], "together": []}
    for _ in range(3):
        for way in found:
            command = [sys.executable, "-m", "benchmarks.sweeps"]
            command += [f"--spec={spec}", f"--way={way}"]
            done = subprocess.run(
                command, cwd=configs.ROOT, capture_output=True, text=True, check=True
            )
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    ratios = [
        a["seconds"] / b["seconds"]
        for a, b in zip(found["apart"], found["together"], strict=True)
    ]
    apart, together = found["apart"][0]["rows"], found["together"][0]["rows"]
    seeds, steps = LANES[spec]
    return {
        "seeds": seeds,
        "steps": steps,
        "apart_seconds": round(
            float(np.median([x["seconds"] for x in found["apart"]])), 2
        ),
        "together_seconds": round(
            float(np.median([x["seconds"] for x in found["together"]])), 2
        ),
        "ratio": round(float(np.median(ratios)), 3),
        "first_row": apart[0][1]["step"],  # of 0 are the scores before training
        "first_difference": difference(apart, together, 1),
        "last_difference": difference(apart, together, -1),
    }


def page(found: dict[str, Any], about: dict[str, Any]) -> str:
    """Returns the page of the results."""
    over = found["overhead"]
    first = f"""Written by `python -m benchmarks.sweeps --write`; no cell is typed. On
    {about["cores"]} shared cores (jax {about["jax"]}, {about["date"][:10]}). A sweep of
    {over["trials"]} trials that train nothing, by {over["workers"]} workers and SQLite,
    took {over["sweep_seconds"]} s from the command to its table and page (bar: 300 s):
    {over["trial_core_seconds"]} s of a core for each trial. The run alone, its report
    included, takes {over["run_seconds"]} s in a process that is warm; what is beyond
    that, the start of the workers included, is
    {over["trial_core_seconds"] - over["run_seconds"]:.3f} s (bar: 1 s). The same
    command again took {over["again_seconds"]} s (bar: 2 s)."""
    second = """Runs with different seeds, one after another and in the lanes of one
    program; each way in a process of its own, compilation included. Differences are the
    largest of any score of any run, as a share of the score, in the first row after
    step 0 and in the last: training makes what is rounded otherwise grow, most in
    gradients and losses that have become small."""
    fill = lambda text: textwrap.fill(" ".join(text.split()), 88)  # noqa: E731
    lines = [
        "# What sweeps cost, and what lanes gain",
        "",
        fill(first),
        "",
        fill(second),
    ]
    lines += [
        "",
        "| experiment | runs | steps | apart | together | gain | differ at first | "
        "at last |",
    ]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for spec, x in found["lanes"].items():
        name = spec.removeprefix("configs/").removesuffix(".py")
        lines.append(
            f"| `{name}` | {x['seeds']} | {x['steps']} | {x['apart_seconds']} s | "
            f"{x['together_seconds']} s | {x['ratio']:.2f} | "
            f"{x['first_difference']:.1e} (step {x['first_row']}) | "
            f"{x['last_difference']:.1e} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints what it found and, if asked, writes it to docs."""
    values = flags.FlagValues()
    flags.DEFINE_bool("write", False, "Write docs/benchmarks.", flag_values=values)
    flags.DEFINE_string("spec", None, "Only this experiment.", flag_values=values)
    flags.DEFINE_string("way", None, "And only this way.", flag_values=values)
    values(["sweeps", *argv])
    if values.way:
        print(json.dumps(side_by_side(values.spec, values.way)))
        return
    jax.config.update("jax_platforms", "cpu")
    found = {"overhead": overhead()}
    print(json.dumps(found["overhead"], indent=1), flush=True)
    found["lanes"] = {}
    for spec in LANES:
        found["lanes"][spec] = lanes_gain(spec)
        print(spec, json.dumps(found["lanes"][spec], indent=1), flush=True)
    if values.write:
        first = configs.load_config(next(iter(LANES)))
        about = runner.environment(first, ["python", "-m", "benchmarks.sweeps", *argv])
        result = {"environment": about, "results": found}
        write_atomically(RESULT, json.dumps(result, indent=1) + "\n")
        write_atomically(RESULT.with_suffix(".md"), page(found, about))


if __name__ == "__main__":
    main(sys.argv[1:])
