"""Checkpoints that rot, lose files or were never finished."""

import json
import random
import shutil

import pytest

from kexue_jax.train.checkpoint import CheckpointError
from tests.reliability import harness


def copy(clean, tmp_path):
    """A finished run, its last two checkpoints and the log of every step."""
    workdir = tmp_path / "run"
    shutil.copytree(clean(), workdir)
    return workdir


def data_files(folder):
    return sorted(p for p in (folder / "state").rglob("*") if p.is_file())


@pytest.mark.reliability(7)
def test_a_flipped_bit_is_found_and_the_step_before_is_taken(clean, tmp_path, figure):
    """20 flips, one bit each, anywhere in a checkpoint; three runs go on to the end."""
    draw, found = random.Random(0), 0
    source, good = copy(clean, tmp_path), harness.result(clean())
    before, _ = harness.steps(source)[-2:]
    like = harness.like()
    for trial in range(20):
        workdir = tmp_path / f"flipped{trial}"
        shutil.copytree(source, workdir)
        folder = harness.last(workdir)
        victims = [path for path in data_files(folder) if path.stat().st_size]
        (victim,) = draw.choices(victims, [path.stat().st_size for path in victims])
        content = bytearray(victim.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        victim.write_bytes(content)
        if trial < 3:
            outcome, said = harness.here(workdir)
            assert outcome.status == "finished"
            assert harness.result(workdir) == good
        else:
            lines = []
            checkpoints = harness.checkpoints(workdir, lines.append)
            assert checkpoints.restore(like).step == before
            said = "\n".join(lines)
        found += (
            f"going on from step {before}" in said
            and victim.relative_to(folder / "state").as_posix() in said
            and folder.name in said
        )
    figure(f"{found}/20 flips found")
    assert found == 20


def truncate(folder):
    victim = max(data_files(folder), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-7])


def delete(folder):
    max(data_files(folder), key=lambda p: p.stat().st_size).unlink()


def empty(name):
    return lambda folder: next(
        p for p in folder.rglob("*") if p.name == name and p.is_file()
    ).write_bytes(b"")


def remove(name):
    return lambda folder: next(p for p in folder.rglob("*") if p.name == name).unlink()


def no_state(folder):
    shutil.rmtree(folder / "state")


def torn_manifest(folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:200])


def manifest_of_another_world(folder):
    (folder / "manifest.json").write_text(json.dumps({"files": {"../../x": []}}))


def emptied_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def later_empty_folder(folder):
    (folder.parent / "00000300").mkdir()


def foreign_folders(folder):
    for name in (
        "notes",
        "00000400.orbax-checkpoint-tmp",
        "1e9",
        "-5",
        "7",
        "99999999999999999999",
    ):
        (folder.parent / name).mkdir()
    (folder.parent / "README").write_text("somebody was here")


def copied_forward(folder):
    shutil.copytree(folder, folder.parent / "00000900")


def flipped_note(folder):
    path = folder / "manifest.json"
    text = path.read_text("utf-8")
    at = text.index('"loss": 0.') + 11
    changed = "2" if text[at] == "1" else "1"
    path.write_text(text[:at] + changed + text[at + 1 :], "utf-8")


CASES = {
    "a copy under another step": copied_forward,
    "a changed number in the marker": flipped_note,
    "a truncated file": truncate,
    "a deleted file": delete,
    "an emptied index of arrays": empty("manifest.ocdbt"),
    "an emptied list of leaves": empty("_METADATA"),
    "a deleted list of leaves": remove("_METADATA"),
    "no marker of Orbax": remove("commit_success.txt"),
    "no marker of ours": remove("manifest.json"),
    "a torn marker": torn_manifest,
    "an absurd marker": manifest_of_another_world,
    "no state": no_state,
    "an emptied folder": emptied_folder,
    "a later empty folder": later_empty_folder,
    "folders of others": foreign_folders,
}


@pytest.mark.reliability(8)
def test_structural_damage_costs_one_interval_and_no_number(clean, tmp_path, figure):
    source, survived = copy(clean, tmp_path), []
    good = harness.result(clean())
    for name, damage in CASES.items():
        workdir = tmp_path / "damaged"
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(source, workdir)
        damage(harness.last(workdir))
        outcome, said = harness.here(workdir)
        assert outcome.status == "finished", (name, said)
        assert harness.result(workdir) == good, name
        survived.append(name)
    figure(f"{len(survived)}/{len(CASES)} cases")


@pytest.mark.slow
@pytest.mark.reliability(9)
@pytest.mark.parametrize("way", ["damaged", "removed"])
def test_a_run_without_one_whole_checkpoint_is_refused(clean, tmp_path, way, figure):
    """Neither damage nor the loss of every folder makes a run start from scratch."""
    workdir = copy(clean, tmp_path)
    folders = [
        harness.last(workdir).parent / f"{s:08d}" for s in harness.steps(workdir)
    ]
    for folder in folders:
        truncate(folder) if way == "damaged" else shutil.rmtree(folder)
    before = (workdir / "scores.jsonl").read_bytes()
    process = harness.start(workdir)
    assert process.end() == 2
    if way == "damaged":
        assert all(f"step {int(folder.name)}:" in process.text for folder in folders)
    assert "no checkpoint in" in process.text
    assert (workdir / "scores.jsonl").read_bytes() == before
    with pytest.raises(CheckpointError):
        harness.here(workdir)
    figure(f"{way}: refused with exit 2")
