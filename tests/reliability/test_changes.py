"""Data, configs and models that are not those of the run that goes on."""

import json

import pytest

from experiments import run as command
from tests.reliability import harness


@pytest.fixture
def main(monkeypatch, capfd):
    """Runs the command in this process: ``(exit code, what it said)``."""
    cache = str(harness.ROOT / ".cache" / "jax")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", cache)
    monkeypatch.setattr("experiments.runner.write_report", lambda *args: None)

    def call(workdir, *words, variant="adam"):
        code = command.main(harness.command(workdir, *words, variant=variant))
        return code, capfd.readouterr().err

    return call


DATA = {
    "seed": ("--config.task.source.seed=1", "seed"),
    "batch size": ("--config.task.source.batch_size=32", "batch_size"),
    "tokenizer": ("--config.task.source.tokenizer=b", "tokenizer"),
    "examples": ("--config.task.source.examples=128", "examples"),
}


@pytest.fixture
def stopped(main, tmp_path, monkeypatch):
    """The directory of a run that was stopped at step 90."""
    data = tmp_path / "data"
    data.write_bytes(b"one")
    file = f"--config.task.source.file={data}"
    with monkeypatch.context() as patch:
        patch.setattr(
            "kexue_jax.train.stop.StopRequest.at", lambda self, step: step >= 90
        )
        assert main(tmp_path / "run", file)[0] == 75
    return tmp_path / "run", file, data


def untouched(workdir):
    return {
        path: path.read_bytes()
        for path in workdir.rglob("*")
        if path.is_file() and path.name not in ("LOCK", "environment.json")
    }


@pytest.mark.slow
@pytest.mark.reliability(18)
def test_other_data_are_refused_by_name_unless_allowed(stopped, main, figure):
    workdir, file, data = stopped
    before = untouched(workdir)
    for word, field in DATA.values():
        code, said = main(workdir, file, word)
        assert code == 2
        assert f"config.task.source.{field}" in said
    data.write_bytes(b"two")
    code, said = main(workdir, file)
    assert code == 2
    assert "sha256" in said
    assert "--allow_data_change" in said
    assert untouched(workdir) == before
    code, said = main(workdir, file, DATA["seed"][0], "--allow_data_change")
    assert code == 0
    assert "going on from step 90 with other data" in said
    assert all(f"{field}: " in said for field in ("seed", "sha256"))
    figure("5/5 refused, allowed ones logged")


OTHERS = {
    # what changes, what the config's comparison says, what the leaves' says
    "width": (
        "--config.task.width=32",
        "config.task.width",
        "different: params/layer0/kernel is float32[4, 16] in the checkpoint, "
        "float32[4, 32] in this run",
    ),
    "layers": (
        "--config.task.layers=3",
        "config.task.layers",
        "missing in the checkpoint: params/layer2/kernel",
    ),
    "fewer layers": (
        "--config.task.layers=1",
        "config.task.layers",
        "unexpected in the checkpoint: params/layer1/kernel",
    ),
    "optimizer": (
        ":sgd",
        "config.optimizer.rule.make",
        "unexpected in the checkpoint: opt_state/0/0/mu/layer0/bias",
    ),
    "dtype": (
        "--config.task.dtype=bfloat16",
        "config.task.dtype",
        "different: params/layer0/kernel is float32[4, 16] in the checkpoint, "
        "bfloat16[4, 16] in this run",
    ),
}


@pytest.mark.reliability(19)
def test_another_model_or_optimizer_is_refused_leaf_by_leaf(stopped, main, figure):
    """Without a flag by its config; with ``--allow_config_change`` by its leaves.

    There is no flag for loading in part, so nothing is ever loaded in part.
    """
    workdir, file, _ = stopped
    before = untouched(workdir)
    for change, path, leaves in OTHERS.values():
        variant = change[1:] if change[0] == ":" else "adam"
        words = [file, change] if variant == "adam" else [file]
        code, said = main(workdir, *words, variant=variant)
        assert code == 2
        assert path in said
        words.append("--allow_config_change")
        code, said = main(workdir, *words, variant=variant)
        assert code == 2
        assert leaves in said
    assert untouched(workdir) == before
    figure(f"{len(OTHERS)}/{len(OTHERS)} refused, with lists of leaves")


@pytest.mark.reliability(19)
def test_another_model_of_the_same_config_is_refused(stopped, main, monkeypatch):
    workdir, file, _ = stopped
    monkeypatch.setenv("TINY", json.dumps({"width": 8}))
    code, said = main(workdir, file)
    assert code == 2
    assert "float32[4, 8] in this run" in said
    monkeypatch.setenv("TINY", "{}")
    code, _ = main(workdir, file)
    assert code == 0
    code, said = main(workdir, file, "--config.steps=250")
    assert code == 2
    assert "config.steps: 200 before, 250 now" in said
