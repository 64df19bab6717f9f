import errno
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.train import checkpoint
from kexue_jax.train.checkpoint import (
    CheckpointError,
    Checkpoints,
    SaveError,
    compare_leaves,
    read_arrays,
)


def state(value=0.0):
    return {
        "w": jnp.full((2, 3), float(value)),
        "half": jnp.full((2,), value, jnp.bfloat16),
        "count": jnp.int32(7),
        "key": jax.random.key(3),
        "nothing": jnp.zeros((0, 4)),
        "nested": {"deep": [jnp.ones(2), jnp.zeros(())]},
    }


def abstract(tree):
    def shape(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)

    return jax.tree.map(shape, tree)


def saved(folder, *steps, **options):
    made = Checkpoints(folder / "checkpoints", **options)
    for step in steps:
        made.save(step, state(step), {"row": {"loss": 0.1 * step}})
    made.wait()
    return made


def test_every_bit_comes_back_with_the_notes(tmp_path):
    made = saved(tmp_path, 5)
    found = made.restore(abstract(state()))
    assert (found.step, found.notes) == (5, {"row": {"loss": 0.5}})
    have, want = found.state, state(5)
    key, wanted = have.pop("key"), want.pop("key")
    assert jnp.array_equal(jax.random.key_data(key), jax.random.key_data(wanted))
    assert jax.tree.structure(have) == jax.tree.structure(want)
    for x, y in zip(jax.tree.leaves(have), jax.tree.leaves(want), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.array_equal(x, y)


def test_nothing_saved_is_none_and_not_an_error(tmp_path):
    assert Checkpoints(tmp_path / "checkpoints").restore(abstract(state())) is None


def test_the_newest_and_the_protected_stay(tmp_path):
    made = Checkpoints(tmp_path / "checkpoints", keep=2)
    made.protected = {1}
    for step in (1, 2, 3, 4):
        made.save(step, state(step))
    made.wait()
    made.prune()
    assert made.steps() == [1, 3, 4]


def test_a_damaged_one_is_set_aside_and_the_one_before_is_taken(tmp_path):
    lines = []
    made = saved(tmp_path, 1, 2, log=lines.append)
    files = (made.path(2) / "state").rglob("*")
    victim = next(p for p in files if p.is_file() and p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert made.restore(abstract(state())).step == 1
    assert any("bytes instead of" in line and victim.name in line for line in lines)
    assert (made.folder / "00000002.bad").is_dir()


def test_all_damaged_is_an_error_that_changes_nothing(tmp_path):
    made = saved(tmp_path, 1, 2)
    for step in (1, 2):
        (made.path(step) / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="Nothing was changed") as found:
        made.restore(abstract(state()))
    assert "step 1:" in str(found.value)
    assert "step 2:" in str(found.value)
    assert made.steps() == [1, 2]


def test_lost_folders_are_an_error_and_not_a_fresh_start(tmp_path):
    made = saved(tmp_path, 1)
    made._remove(made.path(1))
    with pytest.raises(CheckpointError, match="no folder with a manifest is left"):
        made.restore(abstract(state()))


def test_leaves_that_differ_are_listed_by_kind():
    have = {"a": "float32[2]", "b": "float32[2]", "old": "int32[]"}
    want = {"a": "float32[2]", "b": "bfloat16[2]", "new": "int32[]"}
    assert compare_leaves(have, want).split("\n  ") == [
        "different: b is float32[2] in the checkpoint, bfloat16[2] in this run",
        "missing in the checkpoint: new int32[]",
        "unexpected in the checkpoint: old int32[]",
    ]


def test_other_data_are_refused_or_said(tmp_path):
    saved(tmp_path, 1, data={"seed": 0, "n": 9})
    other = Checkpoints(tmp_path / "checkpoints", data={"seed": 1, "n": 9})
    with pytest.raises(CheckpointError, match="seed: 0 in the checkpoint, 1 in this"):
        other.restore(abstract(state()))
    lines = []
    allowed = Checkpoints(
        tmp_path / "checkpoints",
        data={"seed": 1, "n": 9},
        allow_data_change=True,
        log=lines.append,
    )
    assert allowed.restore(abstract(state())).step == 1
    assert "seed: 0" in lines[-1]


def test_a_save_that_fails_in_the_background_is_told_and_forgotten(
    tmp_path, monkeypatch
):
    made = saved(tmp_path, 1)
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(path, text):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", fail)
        made.save(2, state(2))
        made._thread.join()
        with pytest.raises(SaveError, match="step 1 is the last whole one"):
            made.check()
    made.check()
    assert made.steps() == [1]
    made.save(2, state(2))
    made.wait()
    assert made.restore(abstract(state())).step == 2


def test_a_rollback_moves_later_steps_aside(tmp_path):
    made = saved(tmp_path, 1, 2, 3, keep=3)
    made.roll_back(1)
    assert made.steps() == [1]
    assert sorted(p.name for p in (made.folder / "rolled_back").iterdir()) == [
        "00000002",
        "00000003",
    ]
    made.save(2, state(20))
    made.wait()
    assert float(made.restore(abstract(state())).state["w"][0, 0]) == 20.0


@pytest.mark.parametrize("change", ["notes", "leaves", "step", "data"])
def test_a_manifest_that_was_changed_is_damage(tmp_path, change):
    made = saved(tmp_path, 1)
    path = made.path(1) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest[change] = {"other": 1}
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"manifest\.json has changed"):
        made.restore(abstract(state()))


def test_arrays_are_read_by_path_without_a_task(tmp_path):
    made = saved(tmp_path, 1)
    found = read_arrays(made.path(1), ("w", "nested/"))
    assert sorted(found) == ["nested/deep/0", "nested/deep/1", "w"]
    assert np.array_equal(found["w"], np.ones((2, 3)))


def test_a_directory_that_was_replaced_takes_no_checkpoint(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    made = Checkpoints(folder / "checkpoints")
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    with pytest.raises(SaveError, match="replaced by another folder"):
        made.save(1, state())
    assert list(folder.iterdir()) == []
