"""Files that somebody else may have written."""

import ast
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments import configs
from experiments.objects import make_objects
from kexue_jax.build import BuildError
from kexue_jax.data import archives
from kexue_jax.pretrained import WeightsError, load_pretrained
from kexue_jax.train.checkpoint import CheckpointError
from kexue_jax.train.rows import read_rows
from tests.reliability import harness

ROOT = Path(__file__).resolve().parents[2]

NAMES = [
    "os:system",
    "subprocess:run",
    "builtins:eval",
    "builtins:exec",
    "kexue_jax.train.lock:os",
    "kexue_jax.train.checkpoint:shutil",
    "kexue_jax.data.fetch:tarfile",
    "kexue_jax.build:importlib",
    "kexue_jax.build:resolve.__globals__",
    "kexue_jax.train.checkpoint:_sha256",
    "kexue_jax.train.checkpoint:__builtins__",
    "kexue_jax._x:y",
    "kexue_jax.train.stop:signal",
    "kexue_jax_evil:run",
    "optax_evil:run",
    "jax:config",
    "kexue_jax",
    ":system",
    "kexue_jax.train:../../os:system",
    "experiments.run:main",
    "jax.numpy:load",
    "kexue_jax.build:build",
    "kexue_jax.build:resolve",
    "kexue_jax.train.rows:read_rows",
    "kexue_jax.train.checkpoint:write_atomically",
    "kexue_jax.train.writers:importlib",
    "kexue_jax.data.fetch:download",
    "kexue_jax.data.registry:DataSet",
    "kexue_jax.pretrained:write_safetensors",
    "kexue_jax.pretrained.writing:write_safetensors",
    "kexue_jax.pretrained.torch_files:pickle",
]


def run_config(tmp_path, task):
    config = {"task": task, "steps": 1}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"origin": {"file": "x"}, "config": config}))
    return configs.load_config(str(path))


@pytest.mark.reliability(22)
def test_a_config_of_unknown_origin_reaches_nothing_but_our_public_names(
    tmp_path, figure
):
    marker = tmp_path / "executed"
    for verb in ("make", "bind"):
        for name in NAMES:
            task = {verb: name, "command": f"touch {marker}"}
            for wrapped in (task, {"make": "optax:chain", "args": [task]}):
                with pytest.raises((BuildError, configs.ConfigError)):
                    make_objects(run_config(tmp_path, wrapped))
    assert not marker.exists()
    figure(f"{len(NAMES)}/{len(NAMES)} names of a config refused")


@pytest.mark.reliability(22)
def test_a_config_cannot_have_a_second_one_built_that_it_reads(tmp_path):
    rows, marker = tmp_path / "scores.jsonl", tmp_path / "executed"
    evil = {"make": "os:system", "command": f"touch {marker}"}
    rows.write_text(json.dumps({"step": 1, "x": evil}) + "\n")
    read = {"make": "kexue_jax.train.rows:read_rows", "path": str(rows)}
    with pytest.raises(BuildError, match="not allowed"):
        make_objects(
            run_config(tmp_path, {"make": "kexue_jax.build:build", "data": read})
        )
    assert not marker.exists()


DEEP = "[" * 100_000
CONFIGS = ["", "[]", "null", "{", DEEP, '{"config": 1}', '{"origin": 1, "config": {}}']


@pytest.mark.reliability(22)
@pytest.mark.parametrize("text", CONFIGS, ids=range(len(CONFIGS)))
def test_a_config_that_is_no_config_is_refused_in_words(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(configs.ConfigError):
        make_objects(configs.load_config(str(path)))
    with pytest.raises(configs.ConfigError):
        harness.here(tmp_path)


MANIFESTS = [
    "",
    DEEP,
    "[]",
    "1e999",
    '{"files": {"../../../x": [1, "0"]}, "leaves": {}}',
    '{"files": {}, "leaves": {"params/w": "float32[99999999999999]"}, "step": 20}',
    '{"step": -1}',
    '{"step": 1e300, "files": 3, "sha256": 7}',
    '{"sha256": null, "files": [], "notes": {"make": "os:system"}}',
]


@pytest.mark.reliability(22)
def test_a_manifest_of_nonsense_is_damage_and_nothing_else(clean, tmp_path, figure):
    for number, text in enumerate(MANIFESTS):
        workdir = tmp_path / str(number)
        shutil.copytree(clean(), workdir)
        for step in harness.steps(workdir):
            folder = harness.checkpoints(workdir, print).path(step)
            (folder / "manifest.json").write_text(text)
        outside = sorted(tmp_path.iterdir())
        with pytest.raises(CheckpointError):
            harness.checkpoints(workdir, print).restore(harness.like())
        with pytest.raises(CheckpointError):
            harness.arrays(harness.last(workdir))
        assert sorted(tmp_path.iterdir()) == outside
    figure(f"{len(MANIFESTS)}/{len(MANIFESTS)} manifests")


ROWS = [
    b"\x80\x04\x95cposix\nsystem\n",
    DEEP.encode(),
    b'{"step": "x"}',
    b"NaN",
    b"[1]",
]


@pytest.mark.reliability(22)
def test_rows_of_nonsense_are_no_rows(tmp_path):
    for text in ROWS:
        path = tmp_path / "scores.jsonl"
        path.write_bytes(b'{"step": 1}\n' + text + b'\n{"step": 2}\n')
        assert read_rows(path) == [{"step": 1}]


def member(name, kind=tarfile.REGTYPE, link="", size=3):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


MEMBERS = {
    "a path upwards": member("../x"),
    "a hidden path upwards": member("a/../../x"),
    "an absolute path": member("/x"),
    "a drive": member("c:/x"),
    "a symlink": member("x", tarfile.SYMTYPE, "/etc/passwd", 0),
    "a hard link": member("x", tarfile.LNKTYPE, "../x", 0),
    "a device": member("x", tarfile.CHRTYPE, "", 0),
    "a pipe": member("x", tarfile.FIFOTYPE, "", 0),
}


@pytest.mark.reliability(22)
def test_an_archive_writes_nothing_and_leads_nowhere(tmp_path, figure):
    for name, info in MEMBERS.items():
        path = tmp_path / "evil.tar"
        with tarfile.open(path, "w") as archive:
            archive.addfile(info, io.BytesIO(b"abc"[: info.size]))
        with pytest.raises(ValueError, match="must hold plain files"):
            list(archives.members(path))
        assert sorted(os.listdir(tmp_path)) == ["evil.tar"], name
    figure(f"{len(MEMBERS)}/{len(MEMBERS)} archives")


class Evil:
    """Pickles into a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.reliability(22)
def test_an_array_of_objects_is_refused_where_numpy_reads(tmp_path):
    """Every reader of ours is on `numpy.load` as it is, which the scan below checks."""
    path, marker = tmp_path / "evil.npz", tmp_path / "executed"
    np.savez(path, x=np.array([Evil(marker)], dtype=object))
    with np.load(path) as file, pytest.raises(ValueError, match="allow_pickle"):
        file["x"]
    assert not marker.exists()


BANNED = {
    ("pickle", "load"),
    ("pickle", "loads"),
    ("pickle", "Unpickler"),
    ("dill", "load"),
    ("cloudpickle", "load"),
    ("joblib", "load"),
    ("torch", "load"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("os", "system"),
    ("os", "popen"),
}
MODULES = ("marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle")


def unsafe(tree):
    """Yields every use of what can run a file's content."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", "") or ""
            names = [alias.name for alias in node.names]
            yield from (n for n in [*names, module] if n.split(".")[0] in MODULES)
            yield from (f"{module}.{n}" for n in names if (module, n) in BANNED)
        if isinstance(node, ast.Attribute) and (
            (getattr(node.value, "id", ""), node.attr) in BANNED
        ):
            yield f"{node.value.id}.{node.attr}"
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            yield node.func.id
        for word in node.keywords:
            constant = getattr(word.value, "value", None)
            if word.arg in ("allow_pickle", "shell") and constant is not False:
                yield f"{word.arg}="


@pytest.mark.reliability(22)
def test_nothing_of_ours_runs_what_a_file_says(figure):
    """One reader of pickles there is, which knows tensors alone; see the next test."""
    files = [
        path
        for top in ("kexue_jax", "experiments", "configs", "benchmarks")
        for path in (ROOT / top).rglob("*.py")
    ]
    found = {
        (path.name, use)
        for path in files
        for use in unsafe(ast.parse(path.read_text("utf-8")))
    }
    assert found == {("torch_files.py", "pickle.Unpickler")}
    figure(f"{len(files)} files scanned, 1 use, which is restricted")


class Called:
    """What pickle would call on being read."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def evil_pickles(marker):
    """Pickles that would make a file, or reach what could."""
    yield pickle.dumps(Called(os.system, f"touch {marker}"), protocol=2)
    yield pickle.dumps(Called(eval, f"open({str(marker)!r}, 'w')"), protocol=2)
    yield pickle.dumps({"weight": Called(Path.touch, marker)}, protocol=2)
    yield pickle.dumps(Called(getattr, dict, "fromkeys"), protocol=2)
    for name in (
        "torch.hub load",
        "torch._utils _rebuild_device_tensor_from_numpy",
        "numpy.core.multiarray scalar",
        "builtins __import__",
        "posix system",
        "torch.storage _load_from_bytes",
    ):
        module, attribute = name.split()
        word = f"touch {marker}".encode()
        call = b"(S'" + word + b"'\ntR."
        yield b"c" + f"{module}\n{attribute}\n".encode() + call


def weights(path, content, form):
    """A file of torch, of today or of before, whose tensors are this pickle."""
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", content)
        return
    heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    front = b"".join(pickle.dumps(head, protocol=2) for head in heads)
    path.write_bytes(front + content)


@pytest.mark.reliability(22)
def test_weights_that_would_run_something_are_refused_and_run_nothing(tmp_path, figure):
    marker, refused = tmp_path / "executed", 0
    (tmp_path / "config.json").write_text(
        '{"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, '
        '"num_attention_heads": 1, "intermediate_size": 4}'
    )
    for form in ("zip", "stream"):
        for content in evil_pickles(marker):
            weights(tmp_path / "pytorch_model.bin", content, form)
            with pytest.raises(WeightsError, match="which is no tensor"):
                load_pretrained(path=tmp_path)
            refused += 1
    # The same pickle by the name of another kind of file.
    for name in ("model.safetensors", "bert_model.ckpt.index"):
        for content in evil_pickles(marker):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(WeightsError):
                load_pretrained(path=tmp_path)
            refused += 1
        (tmp_path / name).unlink()
        (tmp_path / "pytorch_model.bin").unlink(missing_ok=True)
    assert not marker.exists()
    figure(f"{refused}/{refused} files of weights")


@pytest.mark.reliability(22)
@pytest.mark.parametrize(
    "line",
    [
        "import pickle\npickle.load(f)",
        "from pickle import loads",
        "eval('1')",
        "exec('1')",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f)",
        "import marshal",
        "os.system('x')",
        "subprocess.run('x', shell=True)",
    ],
)
def test_the_scan_would_notice(line):
    assert list(unsafe(ast.parse(line)))
