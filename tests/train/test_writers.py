import math
import struct
import subprocess
import sys
import types

import numpy as np
import pytest

from kexue_jax.exhibits import Images, Table, Text
from kexue_jax.train import writers


def events(workdir):
    """Events in the order in which TensorBoard reads them: files by name."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    from tensorboardX.record_writer import masked_crc32c

    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size, check = struct.unpack_from("<QI", data, at)
            assert check == masked_crc32c(data[at : at + 8])
            record = data[at + 12 : at + 12 + size]
            (check,) = struct.unpack_from("<I", data, at + 12 + size)
            assert check == masked_crc32c(record)
            found.append(event_pb2.Event.FromString(record))
            at += 16 + size
    return found


def points(workdir):
    """What TensorBoard shows: a session that starts takes later steps away."""
    shown = {}
    for event in events(workdir):
        if event.HasField("session_log"):
            for steps in shown.values():
                for step in [step for step in steps if step >= event.step]:
                    del steps[step]
        for value in event.summary.value:
            shown.setdefault(value.tag, {})[event.step] = value.simple_value
    return shown


def test_tensorboard_has_every_score_at_its_step(tmp_path):
    writer = writers.TensorBoard(workdir=tmp_path, start_step=0)
    writer.write(1, {"loss": 0.5, "valid/nll": np.float32(0.25)})
    writer.write(2, {"loss": math.nan, "valid/nll": math.inf})
    writer.close()
    shown = points(tmp_path)
    assert shown["loss"][1] == 0.5
    assert shown["valid/nll"] == {1: 0.25, 2: math.inf}
    assert math.isnan(shown["loss"][2])


def test_points_are_on_disk_before_close(tmp_path):
    writer = writers.TensorBoard(workdir=tmp_path, start_step=0)
    writer.write(1, {"loss": 0.5})
    assert points(tmp_path) == {"loss": {1: 0.5}}
    writer.close()


def test_steps_replayed_after_a_resume_replace_the_old_ones(tmp_path):
    first = writers.TensorBoard(workdir=tmp_path, start_step=0)
    for step in range(6):
        first.write(step, {"loss": float(step)})
    first.close()
    again = writers.TensorBoard(workdir=tmp_path, start_step=3)
    again.write(3, {"loss": 30.0})
    again.close()
    assert points(tmp_path) == {"loss": {0: 0.0, 1: 1.0, 2: 2.0, 3: 30.0}}


def test_processes_that_start_in_the_same_second_keep_their_own_files(tmp_path):
    for start in range(12):
        writer = writers.TensorBoard(workdir=tmp_path, start_step=start)
        writer.write(start, {"loss": float(start)})
        writer.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 12
    assert points(tmp_path)["loss"] == {step: float(step) for step in range(12)}


def test_tensorboard_shows_passages_and_pictures(tmp_path):
    writer = writers.TensorBoard(workdir=tmp_path, start_step=0)
    exhibits = [
        Text("samples", [("T = 1", "你好\n<b>")]),
        Images("digits", np.full((2, 4, 5), 2.0), 2),
        Images("colours", np.zeros((1, 4, 5, 3)), 2),
        Table("numbers", ["a"], [[1]]),
    ]
    writer.show(7, exhibits)
    writer.close()
    values = {v.tag: (e.step, v) for e in events(tmp_path) for v in e.summary.value}
    assert all(step == 7 for step, _ in values.values())
    passage = values["samples/text_summary"][1].tensor.string_val[0].decode()
    assert "    你好\n    <b>" in passage
    assert {"digits/0", "digits/1", "colours/0"} <= set(values)
    assert values["digits/1"][1].image.height == 4
    assert values["digits/1"][1].image.width == 5


def test_a_point_that_cannot_be_written_raises(tmp_path):
    writer = writers.TensorBoard(workdir=tmp_path, start_step=0)
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(1, {"loss": 0.5})


class Recorder:
    """Stands for a tracker: whatever is called is written down."""

    def __init__(self, calls, prefix="", answers=None):
        self.calls, self.prefix, self.answers = calls, prefix, answers or {}

    def __getattr__(self, name):
        def call(*args, **options):
            self.calls.append((self.prefix + name, args, options))
            return self.answers.get(name)

        return call


@pytest.fixture
def calls():
    return []


def fake(monkeypatch, name, **attributes):
    module = types.ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(
    ("make", "package"),
    [(writers.WeightsAndBiases, "wandb"), (writers.Trackio, "trackio")],
)
def test_a_resumed_run_has_the_same_name_and_another_directory_another(
    make, package, calls, monkeypatch, tmp_path
):
    run = Recorder(calls, "run.")
    fake(monkeypatch, package, init=Recorder(calls, "", {"init": run}).init)
    for workdir, start in [("a b", 0), ("a b", 5), ("c", 0)]:
        writer = make(workdir=tmp_path / workdir, start_step=start)
        writer.write(start, {"loss": np.float32(0.5), "valid/nll": math.nan})
        writer.close()
    names = [options["name"] for what, _, options in calls if what == "init"]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("a-b-")
    assert all(options["resume"] == "allow" for w, _, options in calls if w == "init")
    assert [what for what, *_ in calls] == ["init", "run.log", "run.finish"] * 3
    _, (row,), options = calls[4]
    assert options == {"step": 5}
    assert row["loss"] == 0.5
    assert type(row["loss"]) is float
    assert math.isnan(row["valid/nll"])


def test_weights_and_biases_is_offline_unless_told(calls, monkeypatch, tmp_path):
    fake(monkeypatch, "wandb", init=Recorder(calls).init)
    writers.WeightsAndBiases(workdir=tmp_path, start_step=0)
    writers.WeightsAndBiases(workdir=tmp_path, start_step=0, mode="online")
    modes = [options["mode"] for *_, options in calls]
    assert modes == ["offline", "online"]
    assert calls[0][2]["id"] == calls[0][2]["name"]
    assert calls[0][2]["dir"] == str(tmp_path)


def test_mlflow_reopens_the_run_it_made(calls, monkeypatch, tmp_path):
    info = types.SimpleNamespace(run_id="abc123")
    answers = {
        "get_experiment_by_name": None,
        "create_experiment": "7",
        "create_run": types.SimpleNamespace(info=info),
    }
    client = Recorder(calls, "", answers)
    uris = []

    def make_client(tracking_uri):
        uris.append(tracking_uri)
        return client

    def metric(key, value, timestamp, step):
        return key, value, step

    fake(monkeypatch, "mlflow", MlflowClient=make_client)
    fake(monkeypatch, "mlflow.entities", Metric=metric)
    for start in (0, 5):
        writer = writers.MLflow(workdir=tmp_path, start_step=start)
        writer.write(start, {"loss": 0.5})
        writer.close()
    assert [what for what, *_ in calls] == [
        "get_experiment_by_name",
        "create_experiment",
        "create_run",
        "log_batch",
        "set_terminated",
        "update_run",
        "log_batch",
        "set_terminated",
    ]
    assert calls[2][1] == ("7",)
    assert calls[5][1:] == (("abc123",), {"status": "RUNNING"})
    metrics = [("loss", 0.5, 5)]
    assert calls[6][1:] == (("abc123",), {"metrics": metrics, "synchronous": True})
    assert uris == [f"sqlite:///{tmp_path / 'mlflow.db'}"] * 2


def test_an_error_of_the_tracker_is_not_swallowed(monkeypatch, tmp_path):
    class Broken:
        def log(self, row, step):
            raise ConnectionError("no server")

    fake(monkeypatch, "wandb", init=lambda **_: Broken())
    writer = writers.WeightsAndBiases(workdir=tmp_path, start_step=0)
    with pytest.raises(ConnectionError, match="no server"):
        writer.write(1, {"loss": 0.5})


@pytest.mark.parametrize(
    ("make", "package", "remedy"),
    [
        (writers.TensorBoard, "tensorboardX.summary", r"kexue-jax\[train\]"),
        (writers.WeightsAndBiases, "wandb", "wandb"),
        (writers.MLflow, "mlflow", "mlflow"),
        (writers.Trackio, "trackio", "trackio"),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(
    make, package, remedy, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"pip install {remedy}"):
        make(workdir=tmp_path, start_step=0)


def test_importing_the_room_imports_no_package_that_draws_or_tracks():
    modules = "report, plots, page, writers, progress"
    heavy = "{'matplotlib', 'tensorboardX', 'wandb', 'mlflow', 'trackio'}"
    code = (
        f"import sys; from kexue_jax.train import {modules}; "
        f"found = {heavy} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
