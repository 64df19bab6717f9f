import json
from pathlib import Path

import pytest

from experiments import configs
from experiments.configs import ConfigError
from experiments.sweeps.definition import Sweep, command_of, draw, load_sweep

SPEC = str(Path(__file__).with_name("config.py").relative_to(configs.ROOT))
VALUE = {"x/value": "min"}


def grid(**axes):
    return Sweep(SPEC, {"grid": {k.replace("_", "."): v for k, v in axes.items()}})


def space(axes, **more):
    return Sweep(SPEC, {"space": axes, "trials": 3, "objective": VALUE} | more)


def test_a_grid_is_every_combination_with_every_seed():
    points = load_sweep(SPEC, "grid").points()
    assert len(points) == 2 * 3 * 2
    assert len({point.id for point in points}) == 12
    assert points[0].named() == {"variant": "plain", "task.x": -1.0, "seed": 0}
    assert points[-1].named() == {"variant": "shifted", "task.x": 2.0, "seed": 1}


def test_an_id_is_of_the_resolved_config_and_of_nothing_else():
    explicit = Sweep(SPEC, {"list": [{"task.x": 1.0, "task.y": 0.5}]}).points()
    brief = Sweep(SPEC, {"list": [{"task.x": 1.0}]}, name="other").points()
    assert explicit[0].id == brief[0].id
    free = Sweep(SPEC, {"list": [{"task.x": 1.0, "keep": 7}]}).points()
    assert free[0].id == brief[0].id
    other = Sweep(SPEC, {"list": [{"task.x": 1.0, "seed": 1}]}).points()
    assert other[0].id != brief[0].id


def test_each_entry_of_a_list_is_combined_with_each_point_of_the_grid():
    data = {"list": [{"task.x": 1.0}, {"task.x": 2.0}], "grid": {"seed": (0, 1, 2)}}
    found = [point.overrides for point in Sweep(SPEC, data).points()]
    assert found == [{"task.x": x, "seed": s} for x in (1.0, 2.0) for s in range(3)]


def test_an_axis_with_a_condition_is_there_only_where_it_holds():
    axes = {
        "variant": ["plain", "shifted"],
        "task.shift": {"values": [1.0, 2.0], "when": {"variant": "shifted"}},
    }
    found = [point.named() for point in Sweep(SPEC, {"grid": axes}).points()]
    assert found == [
        {"variant": "plain"},
        {"variant": "shifted", "task.shift": 1.0},
        {"variant": "shifted", "task.shift": 2.0},
    ]


def test_a_list_in_json_is_the_tuple_of_the_config():
    sweep = grid(task_sizes=[[3, 4], [5]])
    assert sweep.resolve({"task.sizes": [3, 4]})[1].config.task.sizes == (3, 4)


def test_a_draw_leaves_out_what_its_condition_excludes():
    axes = {
        "variant": {"choices": ["plain", "shifted"]},
        "task.shift": {"low": 0.0, "high": 1.0, "when": {"variant": ["shifted"]}},
    }
    sweep = space(axes)
    first = lambda path, axis: axis.get("choices", [0.25])[0]  # noqa: E731
    last = lambda path, axis: axis.get("choices", [0.25])[-1]  # noqa: E731
    assert draw(sweep, first) == {"variant": "plain"}
    assert draw(sweep, last) == {"variant": "shifted", "task.shift": 0.25}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "needs a list, a grid or both, or else a space"),
        ({"grd": {}}, "no entry 'grd'; did you mean 'grid'"),
        ({"grid": {"task.z": [1]}}, "no config.task.z"),
        ({"grid": {"task.x": ["a"]}}, "config.task.x is of type float, got 'a'"),
        ({"grid": {"variant": ["plan"]}}, "no variant 'plan'; did you mean 'plain'"),
        ({"grid": {"task.x": []}}, "must list values"),
        ({"grid": {"task.x": 1.0}}, "must list values, got 1.0"),
        ({"grid": {"task.x": [1.0, 1.0]}}, "are the same run"),
        ({"list": [3]}, "an entry of list is a dict of overrides, got 3"),
        ({"grid": {"seed": [0]}, "trials": 3}, "'trials' is for a space only"),
        ({"grid": {"task.x": [1.0]}, "seeds": [0, 0]}, "seeds repeats"),
        ({"grid": {"task.x": [1.0]}, "seeds": [0.5]}, "seeds must be ints"),
        ({"grid": {"task.x": [1.0]}, "objective": {"a": "low"}}, "'min' or 'max'"),
        ({"grid": {"seed": [1]}, "seeds": [0]}, "seeds stand beside a path seed"),
        ({"grid": {"task.x": [1.0]}, "lanes": 4}, "lanes needs together"),
        (
            {"grid": {"seed": [0, 1]}, "together": ["seed"], "lanes": 1},
            "at least 2; got 1",
        ),
        (
            {"grid": {"task.x": {"values": [1.0], "when": {"task.y": 1.0}}}},
            "does not stand before it",
        ),
    ],
)
def test_a_wrong_definition_is_refused_by_name(data, words):
    with pytest.raises(ConfigError, match=r"sweep") as error:
        Sweep(SPEC, data)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ({"low": 1.0}, "needs choices, or numbers low <= high"),
        ({"low": 2.0, "high": 1.0}, "needs choices, or numbers low <= high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "a log scale needs low > 0"),
        ({"low": 0.0, "high": 1.0, "step": 0.0}, "step must be positive"),
        ({"lo": 0.0, "high": 1.0}, "no 'lo'; did you mean 'low'"),
        ({"choices": []}, "choices must list values"),
        ({"choices": ["a", 1.0]}, "config.task.x is of type float, got 'a'"),
        ([1.0, 2.0], "must be a dict"),
    ],
)
def test_a_wrong_axis_of_a_space_is_refused_by_name(axis, words):
    with pytest.raises(ConfigError) as error:
        space({"task.x": axis})
    assert words in str(error.value)


def test_both_ends_of_every_axis_are_tried_before_anything_runs():
    axes = {
        "variant": {"choices": ["plain", "shifted"]},
        "task.name": {"choices": ["a", 3], "when": {"variant": "shifted"}},
    }
    with pytest.raises(ConfigError, match=r"config\.task\.name is of type str, got 3"):
        space(axes)
    never = {"task.x": {"choices": [1.0], "when": {}}} | {
        "task.y": {"low": 0.1, "high": 1.0, "when": {"task.x": 2.0}}
    }
    with pytest.raises(ConfigError, match="never true"):
        space(never)


def test_a_space_needs_trials_and_an_objective():
    axes = {"task.x": {"low": 0.0, "high": 1.0}}
    with pytest.raises(ConfigError, match="needs trials, a positive int; got None"):
        Sweep(SPEC, {"space": axes, "objective": VALUE})
    with pytest.raises(ConfigError, match="needs an objective"):
        Sweep(SPEC, {"space": axes, "trials": 2})
    two = VALUE | {"x/other": "max"}
    with pytest.raises(ConfigError, match="pruner needs one objective"):
        space(axes, objective=two, pruner={"make": "optuna.pruners:MedianPruner"})


def test_a_sweep_is_found_in_its_config_in_another_file_or_in_json(tmp_path):
    assert load_sweep(SPEC, "search").trials == 12
    other = tmp_path / "more.py"
    other.write_text("SWEEPS = {'two': {'grid': {'seed': (1, 2)}}}\n")
    assert len(load_sweep(SPEC, f"{other}:two").points()) == 2
    assert len(load_sweep(SPEC, str(other)).points()) == 2
    written = tmp_path / "three.json"
    written.write_text(json.dumps({"grid": {"seed": [1, 2, 3]}}))
    assert load_sweep(SPEC, str(written)).name == "three"
    with pytest.raises(ConfigError, match="no sweep 'serch'; did you mean 'search'"):
        load_sweep(SPEC, "serch")
    with pytest.raises(ConfigError, match=r"has no sweep '' \(it has grid, search"):
        load_sweep(SPEC, None)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_sweep(SPEC, str(tmp_path / "none.json"))


def test_ids_are_of_the_code_as_well_where_that_is_asked_for(monkeypatch):
    data = {"list": [{"task.x": 1.0}]}
    plain = Sweep(SPEC, data).points()[0].id
    with_code = Sweep(SPEC, data | {"code": True}).points()[0].id
    assert plain != with_code
    monkeypatch.setattr("experiments.provenance.House.digest", lambda *_: "other")
    assert Sweep(SPEC, data).points()[0].id == plain
    assert Sweep(SPEC, data | {"code": True}).points()[0].id != with_code


def test_values_with_names_may_be_whole_sections():
    optimizers = {
        "sgd": {"make": "optax:sgd", "learning_rate": 0.1},
        "adam": {"make": "optax:adam", "learning_rate": 0.01, "b1": 0.8},
    }
    data = {"grid": {"optimizer": {"values": optimizers}, "task.x": [1.0, 2.0]}}
    sweep = Sweep(SPEC, data)
    points = sweep.points()
    assert [p.overrides["optimizer"] for p in points] == ["sgd", "sgd", "adam", "adam"]
    config = sweep.resolve(points[2].named())[1].config
    assert config.optimizer.to_dict() == optimizers["adam"]
    command = command_of(sweep, points[2], Path("w"))
    assert command[-1] == "--config=w/config.json"
    command = command_of(
        sweep, Sweep(SPEC, {"list": [{"task.x": 1.0}]}).points()[0], ""
    )
    assert command[-1] == "--config.task.x=1.0"
    axes = {"optimizer": {"choices": optimizers}}
    drawn = draw(space(axes), lambda path, axis: next(iter(axis["choices"])))
    assert drawn == {"optimizer": "sgd"}
    axes = {"optimizer": {"choices": {"none": 3.0}}}
    with pytest.raises(ConfigError, match=r"optimizer"):
        space(axes)


def test_what_follows_the_seed_elsewhere_is_not_shared_by_lanes():
    """Their data would be that of the first seed, under the names of the others."""
    spec = "configs/optim/optimizers_digits.py"
    data = {"list": [{"seed": 0}, {"seed": 1}]}
    with pytest.raises(ConfigError, match=r"task\.data\.seed follows seed"):
        Sweep(spec, data | {"together": ["seed"]})
    for variant, groups in (("plain", 1), ("follows", 2)):
        data = {"list": [{"variant": variant}], "seeds": [0, 1], "together": ["seed"]}
        sweep = Sweep(SPEC, data)
        assert len({sweep.group(point) for point in sweep.points()}) == groups
