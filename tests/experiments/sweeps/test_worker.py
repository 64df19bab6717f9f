import json
import os
import signal
import threading
import time
from pathlib import Path

import optuna
import pytest

from experiments import configs, runner
from experiments.sweeps import results, studies, worker
from experiments.sweeps.definition import Sweep
from experiments.sweeps.slots import Limits
from experiments.sweeps.storage import open_storage
from kexue_jax.train.lock import WorkdirLock
from kexue_jax.train.rows import read_rows

SPEC = str(Path(__file__).with_name("config.py").relative_to(configs.ROOT))
VALUE = {"x/value": "min"}


class House:
    """A study in a directory, and workers that run it in this process."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        self.url = f"sqlite:///{folder / 'study.db'}"
        self.lines = []
        monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
        # a report takes longer than all else of such a run
        monkeypatch.setattr(runner, "write_report", lambda *_: None)
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def befalls(self, **what):
        what = {"marks": str(self.folder / "marks")} | what
        self.monkeypatch.setenv("PARABOLA", json.dumps(what))

    def work(self, data, spec=SPEC, **limits):
        storage = open_storage(self.url, patience=5)
        sweep = Sweep(spec, data)
        joined = studies.make(
            storage, "s", sweep, Limits(**limits), workdir=self.folder
        )
        made = worker.Worker(sweep, self.folder, joined.slots, log=self.lines.append)
        over = made.work() == worker.OVER
        self.rows = results.rows_of(joined.slots.all())
        self.slots = joined.slots
        return over

    def marks(self):
        return (self.folder / "marks").read_text().split()


@pytest.fixture
def house(tmp_path, monkeypatch):
    made = House(tmp_path, monkeypatch)
    made.befalls()
    return made


def xs(*values, **more):
    return {"grid": {"task.x": list(values)}, "objective": VALUE} | more


def test_each_trial_is_an_ordinary_run_in_its_own_directory(house):
    assert house.work(xs(1.0, 2.0))
    assert [row.scores["x/value"] for row in house.rows] == [2.0, 5.0]
    for row in house.rows:
        folder = house.folder / row.id
        assert json.loads((folder / "status.json").read_text())["status"] == "finished"
        command = json.loads((folder / "environment.json").read_text())["command"]
        assert f"--config.task.x={row.choice['task.x']}" in command
    assert house.work(xs(1.0, 2.0))
    assert len(house.marks()) == 2


def test_a_trial_that_always_fails_is_reported_and_stops_no_other(house):
    house.befalls(fail=[1.0])
    assert house.work(xs(0.0, 1.0, 2.0), tries=2)
    assert [row.state for row in house.rows] == ["done", "failed", "done"]
    assert house.rows[1].why == "ValueError: x = 1.0 is refused"
    assert house.rows[1].tries == 2
    assert house.marks().count("1.0") == 2
    folder = house.folder / house.slots.all()[1].trial.user_attrs["id"]
    status = json.loads((folder / "status.json").read_text())
    assert status["status"] == "failed"
    assert "x = 1.0 is refused" in status["reason"]
    assert "Traceback" in (folder / "log.txt").read_text()


def test_a_score_that_is_no_number_is_a_failure_that_says_so(house):
    house.befalls(nan=[1.0])
    assert house.work(xs(0.0, 1.0), tries=1)
    assert [row.state for row in house.rows] == ["done", "failed"]
    assert "no finite {'x/value': None}" in house.rows[1].why


def test_a_misspelled_objective_names_the_scores_there_are(house):
    assert house.work(xs(0.0, objective={"x/valeu": "min"}), tries=1)
    assert house.rows[0].state == "failed"
    assert "x/value" in house.rows[0].why


def test_a_search_without_a_list_of_points_finds_the_minimum(house):
    axes = {"task.x": {"low": -4.0, "high": 4.0}}
    data = {"space": axes, "trials": 12, "objective": VALUE, "seed": 3}
    assert house.work(data)
    values = [row.scores["x/value"] for row in house.rows]
    assert len(set(values)) == 12
    assert min(values) < 1.1  # the lowest is 1
    assert house.work(data | {"trials": 14})
    assert [row.scores["x/value"] for row in house.rows][:12] == values
    assert len(house.rows) == 14


def test_a_point_with_several_seeds_scores_their_mean(house):
    axes = {"task.x": {"low": 1.0, "high": 1.0}}
    data = {"space": axes, "trials": 1, "objective": VALUE, "seeds": [0, 1, 2]}
    assert house.work(data)
    assert house.rows[0].scores["x/value"] == 2.0
    assert len(list(house.folder.glob("*/status.json"))) == 3


def test_a_pruned_run_says_so_and_why(house):
    pruner = {"make": "optuna.pruners:MedianPruner", "n_startup_trials": 1}
    data = {
        "list": [{"steps": 8, "eval_every": 2, "task.x": x} for x in (0.0, 1.0, 2.0)],
        "objective": VALUE,
        "pruner": pruner,
    }
    assert house.work(data)
    assert [row.state for row in house.rows] == ["done", "pruned", "pruned"]
    assert house.rows[1].why == "x/value is 2 at step 0, where others did better"
    folder = house.folder / house.rows[1].id
    status = json.loads((folder / "status.json").read_text())
    assert status == {"status": "pruned", "step": 0, "reason": house.rows[1].why}
    assert not (folder / "result.json").exists()
    assert [row["step"] for row in read_rows(folder / "scores.jsonl")] == [0]


def test_a_signal_ends_the_worker_and_its_trial_goes_on_later(house):
    house.befalls(slow=60)
    main = os.getpid()

    def interrupt():
        while not (house.folder / "marks").exists():
            pass
        os.kill(main, signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert not house.work(xs(1.0, 2.0))
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert [row.state for row in house.rows] == ["lacking", "waiting"]
    house.befalls()
    assert house.work(xs(1.0, 2.0), tries=1)
    assert [row.state for row in house.rows] == ["done", "done"]


def test_a_run_that_another_process_still_has_is_waited_for(house):
    point = Sweep(SPEC, xs(1.0)).points()[0]
    folder = house.folder / point.id
    folder.mkdir()
    lock = WorkdirLock(folder)
    lock.__enter__()

    def let_go():
        while not house.lines:
            time.sleep(0.01)
        lock.__exit__()

    thread = threading.Thread(target=let_go)
    thread.start()
    assert house.work(xs(1.0))
    thread.join()
    assert house.rows[0].state == "done"
    assert any("is in use by process" in line for line in house.lines)


def test_runs_side_by_side_leave_what_runs_of_their_own_leave(house, tmp_path):
    data = {
        "list": [{"steps": 6, "eval_every": 3}],
        "grid": {"optimizer.learning_rate": [0.1, 0.2]},
        "seeds": [0, 1],
        "objective": VALUE,
    }
    spec = f"{SPEC}:trained"
    assert house.work(data, spec=spec)
    apart = house.rows
    kept = {row.id: read_rows(house.folder / row.id / "scores.jsonl") for row in apart}
    other = House(tmp_path / "other", house.monkeypatch)
    other.folder.mkdir()
    other.befalls()
    both = data | {"together": ["seed", "optimizer.learning_rate"], "lanes": 3}
    assert other.work(both, spec=spec)
    assert [row.state for row in other.rows] == ["done"] * 4
    assert len(list(other.folder.glob("together/*/status.json"))) == 1
    for row, single in zip(other.rows, apart, strict=True):
        assert row.id == single.id
        value = single.scores["x/value"]
        assert row.scores["x/value"] == pytest.approx(value, rel=1e-6)
        folder = other.folder / row.id
        rows = read_rows(folder / "scores.jsonl")
        assert [x["step"] for x in rows] == [x["step"] for x in kept[row.id]]
        loaded = runner.load(folder, trust=["tests"])
        assert loaded.step == 6
        assert loaded.params["w"].shape == ()


def test_what_cannot_run_side_by_side_runs_one_by_one(house):
    data = {
        "list": [{"steps": 2, "max_skips": 1}],
        "seeds": [0, 1],
        "objective": VALUE,
        "together": ["seed"],
    }
    assert house.work(data)
    assert [row.state for row in house.rows] == ["done", "done"]
    assert "one by one: runs side by side need max_skips = 0, got 1" in house.lines


def test_the_seeds_of_a_trial_of_a_space_run_side_by_side(house):
    data = {
        "space": {"task.x": {"low": 1.0, "high": 1.0}},
        "trials": 1,
        "objective": VALUE,
        "seeds": [0, 1, 2],
        "together": ["seed"],
    }
    assert house.work(data)
    assert house.rows[0].scores["x/value"] == 2.0
    assert len(list(house.folder.glob("together/*/status.json"))) == 1


@pytest.mark.parametrize(
    "points",
    [
        {"list": [{"variant": "follows"}]},
        {"space": {"variant": {"choices": ["follows"]}}, "trials": 1},
    ],
    ids=["list", "space"],
)
def test_where_only_a_variant_follows_the_seed_it_is_not_shared(house, points):
    more = {"objective": VALUE, "seeds": [0, 1], "together": ["seed"]}
    assert house.work(points | more)
    found = [read_rows(path) for path in house.folder.glob("*/scores.jsonl")]
    assert sorted(rows[-1]["x/value"] for rows in found) == [1.0, 2.0]
    assert not list(house.folder.glob("together/*"))


AXES = {
    "variant": {"choices": ["plain", "shifted"]},
    "task.x": {"low": -4.0, "high": 4.0},
    "task.y": {"low": 0.1, "high": 1.0, "when": {"variant": "plain"}},
    "task.count": {"low": 1, "high": 9},
}


@pytest.mark.parametrize(
    ("sampler", "more"),
    [
        pytest.param("RandomSampler", {}, marks=pytest.mark.slow),
        ("TPESampler", {"multivariate": True, "group": True}),
        pytest.param("QMCSampler", {}, marks=pytest.mark.slow),
        pytest.param("CmaEsSampler", {}, marks=pytest.mark.slow),
        pytest.param("NSGAIISampler", {"population_size": 4}, marks=pytest.mark.slow),
        pytest.param("GPSampler", {}, marks=pytest.mark.peer),
    ],
)
def test_every_sampler_draws_what_the_config_takes(house, sampler, more):
    made = {"make": f"optuna.samplers:{sampler}"} | more
    data = {"space": AXES, "trials": 8, "objective": VALUE, "sampler": made}
    assert house.work(data)
    assert [row.state for row in house.rows] == ["done"] * 8
    assert len({row.choice["task.x"] for row in house.rows}) >= 4  # some breed
    for row in house.rows:
        assert ("task.y" in row.choice) == (row.choice["variant"] == "plain")
        assert type(row.choice["task.count"]) is int


def test_a_sampler_that_is_none_is_refused(house):
    for made, words in [
        ({"make": "optuna.samplers:TPESamplr"}, "did you mean 'TPESampler'"),
        ({"make": "os:system"}, "not allowed"),
        ({"make": "optuna.samplers:TPESampler", "n": 1}, "takes no argument 'n'"),
    ]:
        data = {"space": AXES, "trials": 2, "objective": VALUE, "sampler": made}
        with pytest.raises(configs.ConfigError, match=words):
            house.work(data)


def test_several_objectives_have_several_directions(house):
    objective = VALUE | {"x/size": "max"}
    data = {"space": AXES, "trials": 6, "objective": objective}
    assert house.work(data)
    directions = [direction.name for direction in house.slots.study.directions]
    assert directions == ["MINIMIZE", "MAXIMIZE"]
    assert [row.why for row in house.rows] == [""] * 6
    assert house.slots.study.best_trials
    for row in house.rows:
        assert row.scores["x/size"] == abs(row.choice["task.x"])


def test_hyperband_prunes_by_the_scores_of_the_loop(house):
    pruner = {
        "make": "optuna.pruners:HyperbandPruner",
        "min_resource": 1,
        "max_resource": 9,
        "reduction_factor": 3,
    }
    points = [{"steps": 9, "eval_every": 1, "task.x": float(x)} for x in range(8)]
    assert house.work({"list": points, "objective": VALUE, "pruner": pruner})
    states = [row.state for row in house.rows]
    assert states[0] == "done"
    assert "pruned" in states
