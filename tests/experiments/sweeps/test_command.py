import json
import sys
from pathlib import Path

import pytest

from experiments import configs, runner, sweep
from experiments.sweeps import supervisor, worker
from experiments.sweeps.storage import open_storage
from experiments.sweeps.studies import join
from kexue_jax.train.rows import read_rows

SPEC = str(Path(__file__).with_name("config.py").relative_to(configs.ROOT))


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command in this process, its only worker included."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    monkeypatch.setenv("PARABOLA", "{}")
    monkeypatch.chdir(configs.ROOT)

    def supervise(url, options, shares, *, begun, log):
        name = options[0].partition("=")[2]
        found = join(open_storage(url, patience=5), name, spec=SPEC)
        why = worker.Worker(found.sweep, tmp_path, found.slots, log=log).work()
        return 0 if why == worker.OVER else 75

    monkeypatch.setattr(supervisor, "supervise", supervise)
    monkeypatch.setattr(runner, "write_report", lambda *_: None)  # of each run

    def run(*words, default=True):
        words = list(words)
        if default:
            words += [f"--config={SPEC}", f"--workdir={tmp_path}"]
        code = sweep.main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_sweep_ends_with_its_table_its_page_and_its_csv(command, tmp_path):
    code, out, _ = command("--sweep=grid")
    assert code == 0
    assert "12 trials: 12 done" in out
    assert out.index("plain    0 ") < out.index("plain    -1")
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 13
    page = (tmp_path / "report.html").read_text()
    assert "Means over seeds" in page
    assert "The best x/value is 1" in page
    assert list((tmp_path / "plots").glob("*over-all-settings.png"))
    before = (tmp_path / "report.html").stat().st_mtime_ns
    code, again, err = command("--sweep=grid")
    assert (code, again) == (0, out)
    assert (tmp_path / "report.html").stat().st_mtime_ns == before
    assert "page" not in err


def test_what_has_failed_is_in_the_exit_code_the_table_and_the_page(
    command, tmp_path, monkeypatch
):
    monkeypatch.setenv("PARABOLA", json.dumps({"fail": [2.0]}))
    code, out, _ = command("--sweep=grid")
    assert code == 1
    assert "12 trials: 8 done, 4 failed" in out
    assert "ValueError: x = 2.0 is refused" in out
    assert "x = 2.0 is refused" in (tmp_path / "report.html").read_text()
    monkeypatch.setenv("PARABOLA", "{}")
    code, out, _ = command("--sweep=grid")
    assert code == 1
    code, out, err = command("--sweep=grid", "--retry")
    assert code == 0
    assert "4 failed trials are tried again" in err


def test_a_dry_run_lists_what_would_be_run_and_writes_nothing(command, tmp_path):
    code, out, _ = command("--sweep=grid", "--dry_run")
    assert code == 0
    assert "12 runs:" in out
    assert "variant=shifted task.x=2.0 seed=1" in out
    code, out, _ = command("--sweep=search", "--dry_run")
    assert "12 trials of 2 axes" in out
    assert not list(tmp_path.iterdir())


def test_workers_elsewhere_find_what_is_prepared(command, tmp_path):
    code, out, _ = command("--sweep=grid", "--workers=0")
    assert code == 0
    assert "12 trials: 12 waiting" in out
    url = f"--storage=sqlite:///{tmp_path / 'study.db'}"
    words = (f"--config={SPEC}", url, "--study=config/grid")
    code, out, _ = command("report", *words, default=False)
    assert code == 0
    assert "12 waiting" in out
    code, _, err = command("report", url, "--study=nothing", default=False)
    assert code == 2
    assert "there is no study 'nothing' (there are config/grid)" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sweep=gird"], "has no sweep 'gird'; did you mean 'grid'?"),
        (["--sweep=grid", "--worker=2"], "no flag --worker; did you mean 'workers'?"),
        (["--sweep=grid", "2"], "what is '2'?"),
        (["--sweep=grid", "--storage=pg"], "expected sqlite:///file"),
        (["--sweep=grid", "--storage=a://u:p@h/n"], "password on a command line"),
        (["--sweep=grid", "--lease_seconds=0"], "lease_seconds"),
        (["launch", "--sweep=grid"], "--to is missing"),
        (["launch", "--sweep=grid", "--workers=0"], "workers"),
        (["launch", "--sweep=grid", "--to=gke"], "need PostgreSQL"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_run(command, words, said):
    code, out, err = command(*words)
    assert code == 2
    assert said in err
    assert not out


def test_a_config_is_needed(command):
    code, _, err = command("--sweep=grid", default=False)
    assert code == 2
    assert "--config is missing" in err


def test_a_launch_prepares_the_study_and_names_no_secret(
    command, tmp_path, monkeypatch
):
    code, out, _ = command("launch", "--sweep=grid", "--to=slurm", "--workers=3")
    assert code == 0
    file = tmp_path / "launch" / "slurm.sh"
    assert f"sbatch --chdir={configs.ROOT} {file}" in out
    assert "#SBATCH --array=0-2" in file.read_text()
    assert sys.executable in file.read_text()
    code, out, _ = command("--sweep=grid", "--workers=0")
    assert "12 waiting" in out


def test_a_pruned_search_is_on_the_page(command, tmp_path):
    data = {
        "list": [{"steps": 4, "eval_every": 2, "task.x": x} for x in (0.0, 1.0, 2.0)],
        "objective": {"x/value": "min"},
        "pruner": {"make": "optuna.pruners:MedianPruner", "n_startup_trials": 1},
    }
    (tmp_path / "three.json").write_text(json.dumps(data))
    code, out, _ = command(f"--sweep={tmp_path / 'three.json'}")
    assert code == 0
    assert "3 trials: 1 done, 2 pruned" in out
    assert "where others did better" in (tmp_path / "report.html").read_text()
    rows = [read_rows(path) for path in tmp_path.glob("*/scores.jsonl")]
    assert sorted(len(x) for x in rows) == [1, 1, 3]
