import functools

import optax
import pytest

from kexue_jax.build import TRUSTED, BuildError, build, nearest, resolve

AVERAGE = "kexue_jax.optim:average_weights"


def test_make_calls_and_bind_waits():
    made = build({"make": AVERAGE, "decay": 0.5})
    assert isinstance(made, optax.GradientTransformation)
    bound = build({"bind": AVERAGE, "decay": 0.5})
    assert isinstance(bound, functools.partial)
    assert bound.keywords == {"decay": 0.5}
    assert build({"bind": AVERAGE}) is resolve(AVERAGE)


def test_what_is_nested_is_built_first_and_the_rest_keeps_its_shape():
    inner = {"make": "builtins:dict", "a": 1}
    data = {"x": ({"y": inner}, [inner, 2]), "z": "os:system"}
    assert build(data) == {"x": ({"y": {"a": 1}}, [{"a": 1}, 2]), "z": "os:system"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"make": "optax:adm", "learning_rate": 1},
            r"config.make.*did you mean 'adam'",
        ),
        (
            {"x": {"make": "optaks:adam"}},
            r"config\.x\.make: there is no module 'optaks'",
        ),
        ({"make": "optax:adam", "learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"make": "optax:adam"}, "lacks its argument 'learning_rate'"),
        (
            {"x": ({"make": "optax"},)},
            r"config\.x\[0\]\.make: 'optax' is not of the form",
        ),
        ({"make": 3}, "expected a name, got 3"),
        ({"make": "optax:adam", "bind": "optax:adam"}, "has both 'make' and 'bind'"),
        ({"make": "math:pi"}, "cannot be called"),
        ({"bind": AVERAGE, "decai": 1}, "did you mean 'decay'"),
    ],
)
def test_an_error_says_where_in_the_config_and_what_is_near(data, message):
    with pytest.raises(BuildError, match=message):
        build(data)


def test_what_a_called_function_raises_passes_with_a_note_of_its_path():
    with pytest.raises(ValueError, match="decay must be in") as found:
        build({"tx": {"make": AVERAGE, "decay": 2.0}})
    assert not isinstance(found.value, BuildError)
    assert found.value.__notes__ == [f"while making config.tx ({AVERAGE})"]


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "kexue_jax.train.lock:os",
        "kexue_jax.data.images:np",
        "kexue_jax.build:_inside",
        "kexue_jax.build:build",
        "kexue_jax.train.checkpoint:write_atomically",
        "kexue_jax.data.fetch:download",
        "jax.numpy:load",
        "optaxx:adam",
    ],
)
def test_a_config_of_unknown_origin_may_not_name(name):
    with pytest.raises(BuildError, match=r"not allowed|leads outside"):
        build({"bind": name}, allow=TRUSTED)


@pytest.mark.parametrize(
    "name",
    [
        AVERAGE,
        "optax:adam",
        "optax.contrib:muon",
        "jax.nn:gelu",
        "kexue_jax.train.writers:TensorBoard",
        "kexue_jax.data.images:Digits",
    ],
)
def test_a_config_of_unknown_origin_may_name(name):
    assert callable(build({"bind": name}, allow=TRUSTED))


def test_the_last_name_of_a_path_is_what_people_remember():
    words = ["task.source.batch_size", "steps"]
    assert nearest("batch_size", words) == "; did you mean 'task.source.batch_size'?"
    assert nearest("stpes", words) == "; did you mean 'steps'?"
    assert nearest("zzz", words) == ""
