"""Every config is data, has a claim, and runs."""

import ast
import shutil
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import check, configs, runner
from experiments.sweeps.definition import load_sweep
from kexue_jax.build import build, resolve
from kexue_jax.nn.functional import functional
from kexue_jax.train.rows import read_rows

ROOT = Path(__file__).resolve().parent.parent
NAMES = check.names()
LOADED = {name: configs.load_config(f"configs/{name}.py") for name in NAMES}
CONFIGS = {name: loaded.config for name, loaded in LOADED.items()}
FIRST = {name: loaded.variant for name, loaded in LOADED.items()}
# For each task the last config, by name, that is of it.
TASKS = {config.task.make: name for name, config in CONFIGS.items()}
MADE = {name: resolve(make) for make, name in TASKS.items()}
ALL = [
    (name, variant)
    for name, loaded in LOADED.items()
    for variant in loaded.module.VARIANTS
]


# Of published size: they load, and only somebody with a GPU runs them.
FULL = [
    (name, variant)
    for name, loaded in LOADED.items()
    for variant in getattr(loaded.module, "FULL", ())
]


@pytest.mark.parametrize("name", NAMES)
def test_a_config_says_what_it_claims_and_what_it_costs(name):
    about = configs.describe(configs.load_config(f"configs/{name}.py"))
    lacking = {"title", "claim", "limits", "source", "run", "cost"} - about.keys()
    assert not lacking
    assert f"configs/{name}.py" in about["run"]
    assert about["source"].startswith("https://")


@pytest.mark.parametrize("name", NAMES)
def test_a_config_file_holds_nothing_but_data_and_a_claim(name):
    tree = ast.parse((ROOT / "configs" / f"{name}.py").read_text("utf-8"))
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert {"get_config", "claim"} <= defined
    assert all(n == "get_config" or n == "claim" or n[0] == "_" for n in defined)
    assert not [n for n in tree.body if isinstance(n, ast.ClassDef)]


SWEPT = [
    (name, sweep)
    for name, loaded in LOADED.items()
    for sweep in getattr(loaded.module, "SWEEPS", {})
]


@pytest.mark.parametrize(("name", "sweep"), SWEPT)
def test_every_sweep_fits_its_config(name, sweep):
    made = load_sweep(f"configs/{name}.py", sweep)
    assert made.objective
    assert "space" in made.data or len(made.points()) > 1


@pytest.mark.parametrize(("name", "variant"), ALL + FULL)
def test_every_variant_resolves_and_survives_a_round_trip(name, variant, tmp_path):
    experiment = configs.load_config(f"configs/{name}.py:{variant}")
    runner.claim_workdir(tmp_path, experiment)
    again = configs.load_config(str(tmp_path))
    assert configs.plain(again.config) == configs.plain(experiment.config)
    assert (again.name, again.variant) == (name, variant)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] * (not pair[1].startswith(first)))
        for pair in FULL
        for first in [FIRST[pair[0]]]
    ],
)
def test_a_variant_of_published_size_has_a_model_of_that_size(name, variant):
    config = configs.load_config(f"configs/{name}.py:{variant}").config
    assert variant not in LOADED[name].module.VARIANTS
    tx = build(configs.plain(config.optimizer))
    if "encoder" in config.task:
        init, _ = functional(partial(build(configs.plain(config.task.encoder)), 21128))
        params, _ = jax.eval_shape(init, jax.random.key(0))
        assert sum(x.size for x in jax.tree.leaves(params)) == 101_677_056  # BERT base
    else:
        model = build(configs.plain(config.task.model))
        init, apply = functional(partial(model, 10))
        tokens = jax.ShapeDtypeStruct((2, config.task.model.position.length), np.int32)
        params, extras = jax.eval_shape(init, jax.random.key(0))
        scores, _ = jax.eval_shape(apply, params, extras, tokens)
        assert scores.shape == (2, 10)
    assert jax.tree.leaves(jax.eval_shape(tx.init, params))


@pytest.mark.parametrize("name", NAMES)
def test_no_entry_has_the_name_of_a_method_so_that_all_can_be_overridden(name):
    paths = configs.flat(configs.load_config(f"configs/{name}.py").config)
    words = {word for path in paths for word in path.split(".")}
    assert not {word for word in words if hasattr(ConfigDict, word)}


def smoke(name, variant, tmp_path):
    experiment = configs.load_config(f"configs/{name}.py:{variant}", smoke=True)
    experiment.config.mesh.data = 1
    lines = []
    done = runner.run(experiment, tmp_path, log=lines.append, progress=False)
    assert done.status == "finished"
    rows = read_rows(tmp_path / "scores.jsonl")
    assert rows[-1]["step"] == experiment.config.steps
    assert any("/" in key for key in rows[-1])
    assert all(np.isfinite(v) for v in rows[-1].values() if isinstance(v, float))
    assert (tmp_path / "report.html").stat().st_size > 1000
    assert not list(tmp_path.rglob("*.pkl"))
    shutil.rmtree(tmp_path)


def takes_long(name):
    """An analysis without training, or a task that does more than the one it is of."""
    bases = set(MADE[name].__mro__[1:])
    return not CONFIGS[name].steps or bool(bases & set(MADE.values()))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * takes_long(name))
        for name in TASKS.values()
    ],
)
def test_a_config_of_each_task_runs_to_its_report(name, tmp_path):
    smoke(name, FIRST[name], tmp_path)


OTHERS = sorted(set(ALL) - {(name, FIRST[name]) for name in TASKS.values()})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), OTHERS)
def test_every_other_config_and_variant_runs_to_its_report(name, variant, tmp_path):
    smoke(name, variant, tmp_path)
