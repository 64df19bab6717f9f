import json

import numpy as np
import pytest
from scipy.stats import t as student_t

from experiments import check, configs, score_tables

CONFIG = '''"""A tiny claim.

Claim:  the loss of a line is below one.
Limits: none.
Source: https://kexue.fm/
Run:    python -m experiments.run --config=configs/tiny.py:good
Cost:   nothing.
"""

from ml_collections import ConfigDict

VARIANTS = ("good", "bad")
SMOKE = {"task.value": 7.0}


def get_config(variant="good"):
    value = {"good": 0.5, "bad": 2.0}[variant]
    task = dict(make="tests.experiments.test_check:Constant", value=value)
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    return {"below": scores["good"]["x/loss"] < 1, "above": scores["bad"]["x/loss"] > 1}
'''


class Constant:
    """A task that trains nothing and scores what it is told, plus its seed."""

    def __init__(self, *, value):
        self.value = value

    def init(self, rng):
        return {}, {"rng": rng}

    def evaluate(self, params, extras):
        return {"x/loss": self.value}


def record(cell):
    return {
        "variant": cell.variant,
        "seed": cell.seed,
        "key": cell.key,
        "scores": {"x/loss": {"good": 0.5, "bad": 2.0}[cell.variant]},
        "status": "finished",
        "seconds": 1.5,
        "environment": {},
    }


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A root with one config, whose runs are made in this process."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.py").write_text(CONFIG)
    monkeypatch.setattr(configs, "ROOT", tmp_path)
    monkeypatch.setattr(check, "RESULTS", tmp_path / "docs" / "results")
    monkeypatch.setattr(check, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(check, "CLAIMS", tmp_path / "docs" / "claims.md")
    monkeypatch.setattr(check, "SCORES", tmp_path / "docs" / "scores.md")
    monkeypatch.setattr(check, "README", tmp_path / "README.md")
    made = []

    def run_cells(name, cells, *, smoke, jobs, log):
        made.extend((cell.variant, cell.seed) for cell in cells)
        return {cell.key: record(cell) for cell in cells}, []

    monkeypatch.setattr(check, "run_cells", run_cells)
    return tmp_path, made


def run(**options):
    options = (
        dict(smoke=False, jobs=1, seeds=(0, 1, 2), log=lambda line: None) | options
    )
    return check.check("tiny", **options)


def test_a_claim_is_asked_over_all_variants_and_seeds_and_written(house):
    root, made = house
    found = run()
    assert sorted(made) == [(v, s) for v in ("bad", "good") for s in range(3)]
    assert found["verdict"] == "holds"
    assert found["over_seeds"] == {"below": [True] * 3, "above": [True] * 3}
    written = json.loads((root / "docs/results/tiny.json").read_text())
    assert written["cost_seconds"] == 9.0
    assert written["mean"]["good"]["x/loss"] == [0.5, 0.0]


def test_what_is_known_is_not_run_again_until_config_or_code_changes(house):
    root, made = house
    run()
    made.clear()
    run()
    assert made == []
    run(seeds=(0, 1, 2, 3))
    assert sorted(made) == [("bad", 3), ("good", 3)]
    made.clear()
    file = root / "configs" / "tiny.py"
    file.write_text(CONFIG.replace('"good": 0.5', '"good": 0.25'))
    run()
    assert sorted(made) == [("good", 0), ("good", 1), ("good", 2)]


def test_a_changed_claim_is_judged_anew_without_a_run(house):
    root, made = house
    run()
    made.clear()
    file = root / "configs" / "tiny.py"
    file.write_text(CONFIG.replace("< 1,", "< 0,"))
    found = run()
    assert made == []
    assert found["verdict"] == "does not hold"
    assert found["parts"] == {"below": False, "above": True}


def test_a_smoke_check_never_overwrites_a_full_one(house):
    root, _ = house
    run()
    before = (root / "docs/results/tiny.json").read_bytes()
    found = run(smoke=True)
    assert found["smoke"] is True
    assert (root / "docs/results/tiny.json").read_bytes() == before


def test_the_tables_are_written_between_the_marks_of_the_readme(house):
    root, _ = house
    (root / "README.md").write_text(
        f"a\n{check.MARKS[0]}\nstale\n{check.MARKS[1]}\nb\n"
    )
    check.write_tables()
    assert "not checked" in (root / "README.md").read_text()
    run()
    check.write_tables()
    text = (root / "README.md").read_text()
    assert "**holds**" in text
    assert "stale" not in text
    assert text.startswith("a\n")
    assert text.endswith("b\n")


def test_scores_that_a_config_names_are_shown_with_their_intervals(house):
    root, _ = house
    run()
    check.write_tables()
    assert "tiny" not in (root / "docs/scores.md").read_text()
    config = root / "configs" / "tiny.py"
    config.write_text(CONFIG + '\nSCORES = ("x/loss",)\n')
    check.write_tables()
    text = (root / "docs/scores.md").read_text()
    assert "## `tiny`" in text
    assert "x/loss" in text


def test_a_table_of_scores_is_of_all_seeds_of_each_variant():
    def made(variant, seed, **scores):
        return {"variant": variant, "seed": seed, "scores": scores, "seconds": 90.0}

    runs = [made("a", seed, f1=0.5 + 0.1 * seed, em=0.2) for seed in range(3)]
    lines = score_tables.table({"runs": [*runs, made("b", 0, f1=0.25)]}, ("f1", "em"))
    low, high = student_t(2, 0.6, 0.1 / 3**0.5).interval(0.95)
    assert (
        lines[2] == f"| `a` | 60.0 ± {50 * (high - low):.1f} | 20.0 ± 0.0 | 3 | 1.5 |"
    )
    assert lines[3] == "| `b` | 25.0 |  | 1 | 1.5 |"


def test_a_seed_that_fails_fails_the_claim():
    assert not check.judge(np.array([True, False, True])).holds
    assert check.judge(True).holds


@pytest.mark.parametrize("answer", [0.5, {}, {"a": 1.0}, "yes", np.array([])])
def test_a_claim_that_does_not_answer_in_bools_is_refused(answer):
    with pytest.raises(TypeError, match="claim"):
        check.judge(answer)


def test_an_absent_score_is_nan_and_fails_what_compares_it():
    scores = check.by_variant(
        [
            {"variant": "a", "scores": {"x": None}},
            {"variant": "a", "scores": {"x": 1.0}},
        ]
    )
    assert np.isnan(scores["a"]["x"][0])
    assert not check.judge(scores["a"]["x"] < 2).holds


@pytest.mark.slow
def test_cells_run_in_processes_of_their_own_and_are_known_afterwards(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(check, "RUNS", tmp_path)
    name = "metrics/gaussian_transport"
    cells = [check.cell(name, "normal", seed, smoke=True) for seed in (0, 1)]
    lines = []
    records, failures = check.run_cells(
        name, cells, smoke=True, jobs=2, log=lines.append
    )
    assert not failures
    assert list(records) == [cell.key for cell in cells]
    for record in records.values():
        assert record["status"] == "finished"
        assert "couplings/map_error" in record["scores"]
    again, _ = check.run_cells(name, cells, smoke=True, jobs=1, log=lines.append)
    assert again == records
    assert len(list(tmp_path.glob(f"smoke/{name}/*/status.json"))) == 2


RUN_CELLS = check.run_cells
LATER = CONFIG.replace(
    "dict(seed=0, steps=0,", 'dict(seed=0, init_from="runs/tiny/good", steps=0,'
)


def test_what_a_run_begins_with_is_in_its_key(house):
    root, _ = house
    (root / "configs" / "later.py").write_text(LATER)
    before = check.cell("later", "good", 1, smoke=False)
    assert before == check.cell("later", "good", 1, smoke=False)
    first = (root / "configs" / "tiny.py").read_text()
    (root / "configs" / "tiny.py").write_text(
        first.replace('"good": 0.5', '"good": 0.6')
    )
    assert check.cell("later", "good", 1, smoke=False).key != before.key
    (root / "configs" / "later.py").write_text(LATER.replace("runs/tiny", "/tmp"))
    with pytest.raises(configs.ConfigError, match="must be runs/<name>/<variant>"):
        check.cell("later", "good", 1, smoke=False)


@pytest.fixture
def runs(house, monkeypatch):
    """A root whose second config begins with the first, and what was run, in order."""
    root, _ = house
    monkeypatch.setattr(check, "run_cells", RUN_CELLS)
    (root / "configs" / "later.py").write_text(LATER)
    asked = []

    def run(name, cells, begun, *, smoke, jobs, log):
        asked.append((name, [(c.variant, c.seed) for c in cells], begun))
        if name == "tiny" and not (root / "well").exists():
            return {}, ["tiny:good seed 0: no such thing"]
        return {c.key: root / f"{name}-{c.variant}-{c.seed}" for c in cells}, []

    monkeypatch.setattr(check, "_run", run)
    monkeypatch.setattr(check, "_record", lambda cell, place: record(cell))
    return root, asked


def test_what_a_variant_begins_with_is_run_before_it(runs):
    root, asked = runs
    cells = [check.cell("later", "good", seed, smoke=False) for seed in (0, 1)]
    options = dict(smoke=False, jobs=1, log=print)
    assert check.run_cells("later", cells, **options) == (
        {},
        ["tiny:good seed 0: no such thing"],
    )
    (root / "well").touch()
    records, failures = check.run_cells("later", cells, **options)
    assert list(records) == [cell.key for cell in cells]
    assert not failures
    place = str((root / "tiny-good-0").resolve())
    assert asked[1:] == [
        ("tiny", [("good", 0)], {}),
        ("later", [("good", 0), ("good", 1)], {"good": place}),
    ]


@pytest.mark.slow
def test_a_cell_that_fails_says_why_and_the_others_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "RUNS", tmp_path)
    name = "metrics/gaussian_transport"
    good = check.cell(name, "normal", 0, smoke=True)
    cells = [good, check.cell(name, "normal", 2**70, smoke=True)]  # no key has it
    records, failures = check.run_cells(name, cells, smoke=True, jobs=1, log=print)
    assert list(records) == [good.key]
    assert len(failures) == 1
    assert f"{name}:normal seed {2**70}" in failures[0]


@pytest.mark.slow
def test_a_claim_begins_with_the_run_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "RUNS", tmp_path)
    monkeypatch.setenv("XLA_FLAGS", "")  # one device in the processes of the runs
    options = dict(smoke=True, jobs=1, log=print)
    first = check.cell("text/chinese_roformer", "words", 0, smoke=True)
    places, failures = check._run("text/chinese_roformer", [first], {}, **options)
    assert not failures
    begun = {"weibo": str(places[first.key])}
    cells = [check.cell("extraction/pretrained", "weibo", 0, smoke=True)]
    places, failures = check._run("extraction/pretrained", cells, begun, **options)
    assert not failures
    text = (places[cells[0].key] / "log.txt").read_text()
    assert "not of the run: head/" in text
    assert "arrays matched" in text
