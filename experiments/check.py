"""Checks claims: ``python -m experiments.check [names]``, all of them by default.

Runs every variant of a config over its seeds at full size, unless ``docs/results`` has
the scores of the same config and the same code already; asks the config's ``claim``;
writes ``docs/results/<name>.json``, the tables of claims in ``docs/claims.md`` and the
README, and those of scores in ``docs/scores.md``. Where a variant's ``init_from`` is
the place of another run, ``runs/<name>/<variant>``, that is run first, with the seed 0.
Stopped and started again, it goes on. Exit codes: 0 all checked claims hold, 1 one does
not, 2 refused, 3 a run failed.
"""

import datetime
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from experiments import command_line, configs, score_tables
from experiments.provenance import House, names_in
from kexue_jax.build import nearest
from kexue_jax.train.checkpoint import write_atomically
from kexue_jax.train.rows import read_rows

SEEDS = (0, 1, 2)
RESULTS = configs.ROOT / "docs" / "results"
RUNS = configs.ROOT / "runs"
CLAIMS = configs.ROOT / "docs" / "claims.md"
SCORES = configs.ROOT / "docs" / "scores.md"
README = configs.ROOT / "README.md"
MARKS = ("<!-- claims: written by experiments.check -->", "<!-- end of claims -->")


class Cell(NamedTuple):
    """One variant with one seed, and what its scores are known by."""

    variant: str
    seed: int
    key: str


class RunFailed(RuntimeError):
    """A run of a claim ended without scores."""


def names() -> list[str]:
    """Returns the names of all configs, such as ``text/docs_model``."""
    files = sorted((configs.ROOT / "configs").rglob("*.py"))
    return [
        p.relative_to(configs.ROOT / "configs").with_suffix("").as_posix()
        for p in files
        if p.name != "__init__.py"
    ]


def cell(name: str, variant: str, seed: int, *, smoke: bool) -> Cell:
    """Returns a cell; its key hashes the resolved config and the code it names."""
    spec = f"configs/{name}.py" + (f":{variant}" if variant else "")
    experiment = configs.load_config(spec, smoke=smoke)
    configs.override(experiment.config, {"seed": seed})
    config = configs.plain(experiment.config)
    before = _begins(experiment, smoke=smoke)
    for free in configs.FREE:
        config.pop(free, None)
    code = House(configs.ROOT).digest(names_in(config))
    whole = [variant, config, code, *([before[1].key] if before else ())]
    text = json.dumps(whole, sort_keys=True)
    return Cell(variant, seed, hashlib.sha256(text.encode()).hexdigest()[:16])


def _begins(experiment: configs.Experiment, *, smoke: bool) -> tuple[str, Cell] | None:
    """The run that another begins with: its config, and which of its cells it is."""
    path = experiment.config.init_from
    if path is None:
        return None
    parts = Path(path).parts
    if parts[0] != "runs" or len(parts) < 3:
        raise configs.ConfigError(
            f"config.init_from of a claim must be runs/<name>/<variant>, got {path!r}"
        )
    name = "/".join(parts[1:-1])
    return name, cell(name, parts[-1], 0, smoke=smoke)


def run_cells(
    name: str, cells: Sequence[Cell], *, smoke: bool, jobs: int, log=print
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Runs cells as a sweep, each in a process of its own, or goes on with them.

    Returns:
      The records of those that ended well, by their keys; and why the others did not.
    """
    begun = {}
    for variant in dict.fromkeys(c.variant for c in cells):
        spec = f"configs/{name}.py" + (f":{variant}" if variant else "")
        before = _begins(configs.load_config(spec, smoke=smoke), smoke=smoke)
        if before is not None:
            other, first = before
            log(f"{name}:{variant} begins with {other}:{first.variant}")
            places, failures = _run(other, [first], {}, smoke=smoke, jobs=1, log=log)
            if failures:
                return {}, failures
            begun[variant] = str(places[first.key].resolve())
    places, failures = _run(name, cells, begun, smoke=smoke, jobs=jobs, log=log)
    records = {c.key: _record(c, places[c.key]) for c in cells if c.key in places}
    return records, failures


def _run(name, cells, begun, *, smoke, jobs, log) -> tuple[dict[str, Path], list[str]]:
    """Where cells were run, by their keys, and why others did not end well."""
    from experiments.sweeps import devices, results, storage, studies, supervisor
    from experiments.sweeps.definition import Sweep
    from experiments.sweeps.slots import Limits

    entries = [
        ({"variant": c.variant} if c.variant else {})
        | {"seed": c.seed}
        | ({"init_from": begun[c.variant]} if c.variant in begun else {})
        for c in cells
    ]
    data = {"list": entries, "code": True, "smoke": smoke}
    sweep = Sweep(f"configs/{name}.py", data, name=name)
    folder = RUNS / ("smoke" if smoke else "claims") / name
    folder.mkdir(parents=True, exist_ok=True)
    ids = [point.id for point in sweep.points()]
    study = hashlib.sha256(" ".join(ids).encode()).hexdigest()[:12]
    url = f"sqlite:///{folder / 'study.db'}"
    opened = storage.open_storage(url, patience=60, log=log)
    limits = Limits(tries=1, deaths=2)
    joined = studies.make(opened, study, sweep, limits, workdir=folder)
    joined.slots.try_again()
    options = [f"--study={study}", f"--config={sweep.spec}", "--trials=1"]
    shares = devices.at_most(min(jobs, len(cells)))
    code = supervisor.supervise(url, options, shares, begun=joined.slots.begun, log=log)
    places, failures = {}, []
    for cell, row in zip(cells, results.rows_of(joined.slots.all()), strict=True):
        if row.state == "done":
            places[cell.key] = folder / row.id
        else:
            why = row.why or f"{row.state}, as the workers left with exit code {code}"
            tail = _tail(folder / row.id / "log.txt")
            failures.append(f"{name}:{cell.variant} seed {cell.seed}: {why}{tail}")
    return places, failures


def _record(cell: Cell, workdir: Path) -> dict[str, Any]:
    found = json.loads((workdir / "result.json").read_text("utf-8"))
    timing = read_rows(workdir / "timing.jsonl")
    about = json.loads((workdir / "environment.json").read_text("utf-8"))
    return {
        "variant": cell.variant,
        "seed": cell.seed,
        "key": cell.key,
        "scores": found["scores"],
        "status": found["status"],
        "seconds": timing[-1]["seconds"] if timing else 0.0,
        "environment": {k: v for k, v in about.items() if k not in ("command", "seed")},
    }


def _tail(path: Path) -> str:
    """The last lines of a log, if there is one."""
    if not path.exists():
        return ""
    lines = path.read_text("utf-8", errors="replace").splitlines()[-15:]
    return "".join(f"\n  {line}" for line in lines)


def by_variant(records: Sequence[Mapping]) -> dict[str, dict[str, np.ndarray]]:
    """Returns ``scores[variant][name]``, an array over seeds; nan where absent."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for variant in dict.fromkeys(record["variant"] for record in records):
        rows = [r["scores"] for r in records if r["variant"] == variant]
        keys = dict.fromkeys(key for row in rows for key in row)
        found[variant] = {
            key: np.array(
                [np.nan if row.get(key) is None else row[key] for row in rows], float
            )
            for key in keys
        }
    return found


class Judgement(NamedTuple):
    """What a claim answers: whether it holds, and each of its parts over the seeds."""

    holds: bool
    parts: dict[str, bool]
    over_seeds: dict[str, list[bool]]


def judge(answer: Any) -> Judgement:
    """Reads the answer of a claim: a bool, an array of them, or a dict of named ones.

    Raises:
      TypeError: if it is anything else; a claim that gives a number cannot fail.
    """
    parts = answer if isinstance(answer, Mapping) else {"claim": answer}
    if not parts:
        raise TypeError("a claim must answer something, got an empty dict")
    over_seeds = {}
    for name, value in parts.items():
        values = np.asarray(value)
        if values.dtype != bool or not values.size:
            raise TypeError(f"a claim answers in bools; {name} is {value!r}")
        over_seeds[name] = [bool(x) for x in np.atleast_1d(values)]
    whole = {name: all(values) for name, values in over_seeds.items()}
    return Judgement(all(whole.values()), whole, over_seeds)


def _summary(judgement: Judgement, seeds: int) -> str:
    words = []
    for name, values in judgement.over_seeds.items():
        count = f"{sum(values)} of {len(values)} seeds" if len(values) > 1 else ""
        state = "holds" if all(values) else "does not hold"
        label = "" if name == "claim" else f"{name}: "
        words.append(f"{label}{state}" + (f" ({count})" if count else ""))
    return "; ".join(words) + f"; {seeds} seeds"


def check(
    name: str, *, smoke: bool, jobs: int, seeds: Sequence[int], log=print
) -> dict[str, Any]:
    """Checks one claim and returns its result, which it also writes.

    Raises:
      RunFailed: if a run ends without scores; those that ended well are kept.
    """
    experiment = configs.load_config(f"configs/{name}.py")
    if experiment.module is None or not hasattr(experiment.module, "claim"):
        raise configs.ConfigError(f"configs/{name}.py has no claim(scores)")
    variants = getattr(experiment.module, "VARIANTS", ("",))
    cells = [cell(name, v, seed, smoke=smoke) for v in variants for seed in seeds]
    where = RUNS / "smoke" / "results" if smoke else RESULTS
    path = where / f"{name}.json"
    known = {}
    if path.is_file():
        old = json.loads(path.read_text("utf-8"))
        known = {record["key"]: record for record in old["runs"]}
    missing = [c for c in cells if c.key not in known]
    log(f"{name}: {len(cells) - len(missing)} of {len(cells)} runs are known")
    if missing:
        made, failures = run_cells(name, missing, smoke=smoke, jobs=jobs, log=log)
        known |= made
        if failures:
            raise RunFailed("\n".join(failures))
    records = [known[c.key] for c in cells]
    scores = by_variant(records)
    judgement = judge(experiment.module.claim(scores))
    about = configs.describe(experiment)
    result = {
        "name": name,
        "title": about["title"],
        "claim": about.get("claim", ""),
        "source": about.get("source", ""),
        "smoke": smoke,
        "verdict": "holds" if judgement.holds else "does not hold",
        "parts": judgement.parts,
        "over_seeds": judgement.over_seeds,
        "summary": _summary(judgement, len(seeds)),
        "seeds": list(seeds),
        "cost_seconds": round(sum(record["seconds"] for record in records), 1),
        "mean": _means(scores),
        "checked": datetime.date.today().isoformat(),
        "runs": records,
    }
    if not missing and path.is_file():
        result["checked"] = old["checked"]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    verdict = "ran; a smoke test has no verdict" if smoke else result["verdict"]
    log(f"{name}: {verdict} ({result['summary']})")
    return result


def _means(scores: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict]:
    """Mean and standard deviation over seeds of what was evaluated."""
    return {
        variant: {
            key: [float(np.mean(x)), float(np.std(x, ddof=1)) if x.size > 1 else 0.0]
            for key, x in found.items()
            if "/" in key and np.all(np.isfinite(x))
        }
        for variant, found in scores.items()
    }


# Tables


def table() -> str:
    """Returns the table of all claims, from ``docs/results`` alone."""
    lines = [
        "| experiment | claim | verdict | seeds | cost | checked |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in names():
        path = RESULTS / f"{name}.json"
        link = f"`{name}`"
        about = configs.describe(configs.load_config(f"configs/{name}.py"))
        claim = about.get("claim", "").replace("|", "\\|")
        if not path.is_file():
            lines.append(f"| {link} | {claim} | not checked | | | |")
            continue
        found = json.loads(path.read_text("utf-8"))
        minutes = f"{found['cost_seconds'] / 60:.1f} min"
        verdict = f"**{found['verdict']}**"
        failed = [part for part, holds in found["parts"].items() if not holds]
        if failed and failed != ["claim"]:
            verdict += f": not {', '.join(failed)}"
        lines.append(
            f"| {link} | {claim} | {verdict} | {len(found['seeds'])} | {minutes} | "
            f"{found['checked']} |"
        )
    return "\n".join(lines)


def _scores() -> dict[str, Sequence[str]]:
    """Which scores of which configs are shown in tables."""
    modules = {n: configs.load_config(f"configs/{n}.py").module for n in names()}
    return {n: m.SCORES for n, m in modules.items() if hasattr(m, "SCORES")}


def write_tables() -> None:
    """Writes ``docs/claims.md``, ``docs/scores.md`` and between the README's marks."""
    text = table()
    CLAIMS.parent.mkdir(exist_ok=True)
    head = "# Claims\n\nWritten by `python -m experiments.check`; no cell is typed.\n\n"
    write_atomically(CLAIMS, head + text + "\n")
    write_atomically(SCORES, score_tables.page(_scores(), RESULTS))
    if not README.is_file():
        return
    readme = README.read_text("utf-8")
    start, end = (readme.find(mark) for mark in MARKS)
    if start < 0 or end < start:
        raise configs.ConfigError(f"README.md lacks the marks {MARKS}")
    middle = f"{MARKS[0]}\n{text}\n"
    write_atomically(README, readme[:start] + middle + readme[end:])


def main(argv: Sequence[str]) -> int:
    """Checks the claims that the arguments name and returns the exit code."""
    values = flags.FlagValues()
    flags.DEFINE_bool(
        "smoke", False, "Seconds, not minutes; no verdict.", flag_values=values
    )
    flags.DEFINE_integer(
        "jobs", 1, "Runs side by side.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_list(
        "seeds", list(map(str, SEEDS)), "Seeds of the runs.", flag_values=values
    )
    flags.DEFINE_bool(
        "tables", False, "Only write the tables anew.", flag_values=values
    )
    if any(word in ("-h", "--help") for word in argv):
        print(__doc__)
        print(values.get_help())
        return 0
    try:
        wanted = list(values(["check", *argv])[1:])
        seeds = [int(seed) for seed in values.seeds]
    except (flags.Error, ValueError) as error:
        return command_line.leave(error, command_line.EXIT_CONFIG)
    if values.tables:
        write_tables()
        return 0
    known = names()
    for name in wanted:
        if name not in known:
            error = configs.ConfigError(f"no config {name!r}{nearest(name, known)}")
            return command_line.leave(error, command_line.EXIT_CONFIG)
    code = 0
    for name in wanted or known:
        try:
            found = check(name, smoke=values.smoke, jobs=values.jobs, seeds=seeds)
            code = max(code, int(found["verdict"] != "holds" and not values.smoke))
        except RunFailed as error:
            code = command_line.leave(error, 3)
        except configs.ConfigError as error:
            code = command_line.leave(error, command_line.EXIT_CONFIG)
    if not values.smoke:
        write_tables()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
