"""Who may import whom: every file is held to the table of the house."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("kexue_jax", "experiments")
OTHERS = {
    "numerics": {"jax"},
    "exhibits": {"numpy"},
    "marked_texts": set(),
    "build": set(),
    "kernels": {"jax", "kexue_jax.numerics"},
    "attention": {"jax", "numpy", "kexue_jax.numerics", "kexue_jax.kernels"},
    "data": {
        "numpy",
        "grain",
        "jieba",
        "pooch",
        "tokenizers",
        "sklearn",
        "PIL",
        "kexue_jax.algorithms.tagging",  # of the host, without jax
    },
    "scores": {"jax", "numpy", "sacrebleu", "rouge_score"},
    "train": {
        "jax",
        "numpy",
        "optax",
        "orbax",
        "grain",
        "tensorboardX",
        "matplotlib",
        "wandb",
        "mlflow",
        "trackio",
        "kexue_jax.exhibits",
        "kexue_jax.marked_texts",
    },
    "experiments": {
        "jax",
        "numpy",
        "optax",
        "absl",
        "ml_collections",
        "optuna",
        "scipy",  # the quantiles of Student's t
        "sqlalchemy",
        "yaml",
        "kexue_jax.build",
        "kexue_jax.exhibits",
        "kexue_jax.pretrained",
        "kexue_jax.train",
    },
    "configs": {"ml_collections"},
}
OTHERS["position"] = OTHERS["algorithms"] = OTHERS["attention"]
OTHERS["metrics"] = OTHERS["attention"] | {"scipy", "kexue_jax.algorithms"}
OTHERS["losses"] = OTHERS["metrics"] | {"optax", "kexue_jax.metrics"}
OTHERS["optim"] = {"jax", "numpy", "optax"} | {
    f"kexue_jax.{room}" for room in ("numerics", "algorithms")
}
OTHERS["nn"] = {"jax", "flax"} | {
    f"kexue_jax.{room}" for room in ("numerics", "attention", "position", "algorithms")
}
OTHERS["pretrained"] = {"jax", "numpy", "flax", "ml_dtypes"} | {
    "safetensors",
    "google_crc32c",
    "kexue_jax.algorithms",
    "kexue_jax.nn",
}
BEHIND_TASKS = "numerics attention position metrics losses algorithms kernels nn scores"
OTHERS["tasks"] = {"jax", "numpy", "optax", "kexue_jax.exhibits"}
OTHERS["tasks"] |= {"kexue_jax.marked_texts"}
OTHERS["tasks"] |= {f"kexue_jax.{room}" for room in BEHIND_TASKS.split(" ")}


def files():
    for top in ("kexue_jax", "experiments", "configs"):
        yield from sorted((ROOT / top).rglob("*.py"))


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "kexue_jax" and len(parts) > 1 else parts[0]


def imports(path):
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                home = ROOT.joinpath(*inner.split("."))
                is_module = home.with_suffix(".py").is_file() or home.is_dir()
                yield (
                    inner if node.module.startswith(OURS) and is_module else node.module
                )


def forbidden(path):
    room = room_of(path)
    allowed = OTHERS.get(room, set())
    for module in imports(path):
        top, own = module.split(".")[0], f"kexue_jax.{room}"
        if top in sys.stdlib_module_names or top == "experiments" == room:
            continue
        if (module + ".").startswith(own + "."):
            continue
        if not any((module + ".").startswith(name + ".") for name in allowed):
            yield module


@pytest.mark.parametrize("path", list(files()), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_what_its_room_may(path):
    assert not list(forbidden(path))


def test_every_room_has_an_entry_in_the_table():
    rooms = {room_of(path) for path in files()} - {"__init__", "kexue_jax"}
    assert rooms <= OTHERS.keys()


def test_the_table_would_notice_a_task_that_imports_data(tmp_path, monkeypatch):
    wrong = tmp_path / "kexue_jax" / "tasks" / "wrong.py"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("from kexue_jax.data import order\nimport torch\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert set(forbidden(wrong)) == {"kexue_jax.data", "torch"}


def test_nobody_names_a_file_for_nothing():
    banned = {"utils", "common", "helpers", "base", "manager", "misc"}
    assert not [path for path in files() if path.stem in banned]
