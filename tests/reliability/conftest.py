"""The clean run that all others must equal, and the table of the scorecard."""

import json
from unittest import mock

import pytest

from tests.reliability import harness

ROWS = {
    1: "kill -9 anywhere, one device",
    2: "kill -9 anywhere, sharded over 8 devices",
    3: "kill -9 of one of two processes",
    4: "SIGTERM, one process",
    5: "SIGTERM to one of two processes",
    6: "a second signal during a slow save",
    7: "bit flips in the last checkpoint",
    8: "structural damage to checkpoints",
    9: "all checkpoints damaged",
    10: "disk full",
    11: "workdir read-only or gone",
    12: "one gradient is nan",
    13: "every gradient is nan",
    14: "loss spike",
    15: "hang",
    16: "other numbers of devices and processes",
    17: "order of the examples",
    18: "data changed under the run",
    19: "config or model changed",
    20: "two runs, one workdir",
    21: "clock jumps",
    22: "unsafe files",
    23: "integrity of the rows",
    24: "sweep",
    25: "long soak",
}


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """The workdirs of runs that nothing befell, each made once."""
    made = {}

    def get(variant="adam", **changes):
        key = (variant, json.dumps(changes, sort_keys=True))
        if key not in made:
            workdir = tmp_path_factory.mktemp("clean") / "run"
            dotted = {name.replace("__", "."): x for name, x in changes.items()}
            with mock.patch.dict("os.environ", TINY="{}"):
                outcome, _ = harness.here(workdir, variant=variant, changes=dotted)
            assert outcome.status == "finished"
            made[key] = workdir
        return made[key]

    return get


@pytest.fixture(scope="session")
def clean_pair(tmp_path_factory):
    """The workdir of a run of two processes that nothing befell."""
    workdir = tmp_path_factory.mktemp("pair") / "run"
    pair = harness.start_two(workdir)
    assert [process.end() for process in pair] == [0, 0]
    return workdir


@pytest.fixture
def figure(record_property, request):
    """Takes the figure of a row: ``figure("30/30 kills survived")``."""
    return lambda text: record_property("figure", text)


@pytest.fixture(autouse=True)
def _row(record_property, request):
    marker = request.node.get_closest_marker("reliability")
    if marker is not None:
        record_property("row", marker.args[0])


def pytest_terminal_summary(terminalreporter):
    if "reliability" not in terminalreporter.config.option.markexpr:
        return
    passed: dict[int, bool] = {}
    figures: dict[int, list[str]] = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            properties = getattr(report, "user_properties", ())
            rows = [value for name, value in properties if name == "row"]
            if rows and outcome in ("passed", "failed", "error", "skipped"):
                good = passed.get(rows[0], True)
                passed[rows[0]] = good and outcome == "passed"
                figures.setdefault(rows[0], []).extend(
                    value for name, value in properties if name == "figure"
                )
    line = terminalreporter.write_line
    for row, title in ROWS.items():
        word = {True: "pass", False: "FAIL", None: "not run"}[passed.get(row)]
        line(f"{row:3d}  {title:42s} {word:8s} {'; '.join(figures.get(row, []))}")
    line(f"reliability: {sum(passed.values())} of {len(ROWS)} rows pass")
