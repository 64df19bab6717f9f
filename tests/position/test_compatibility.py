import functools
import importlib
import inspect
import pkgutil

import pytest

import kexue_jax.attention as attentions
import kexue_jax.position as room
from kexue_jax.attention.deberta import deberta_attention
from kexue_jax.attention.shaw import shaw_attention
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn import positions, relative
from kexue_jax.position.alibi import alibi_bias
from kexue_jax.position.compatibility import PLACES, REFUSALS, check_compatible
from kexue_jax.position.rotary import rotary, rotary_halves
from kexue_jax.position.sinusoidal import sinusoidal


def linear_attention():
    """Stands for the one of the attention room: only its name is looked at."""


def performer_attention():
    """Likewise."""


def test_every_position_of_the_table_exists():
    modules = [
        importlib.import_module(f"{room.__name__}.{module.name}")
        for module in pkgutil.iter_modules(room.__path__)
    ]
    modules.append(positions)
    names = {name for module in modules for name, _ in inspect.getmembers(module)}
    assert PLACES.keys() <= names


def test_every_refusal_is_of_an_attention_and_a_place_that_exist():
    modules = [
        importlib.import_module(f"{attentions.__name__}.{module.name}")
        for module in pkgutil.iter_modules(attentions.__path__)
    ]
    modules.append(relative)
    names = {name for module in modules for name, _ in inspect.getmembers(module)}
    assert REFUSALS.keys() <= names
    places = set(PLACES.values())
    assert all(refused.keys() <= places for refused in REFUSALS.values())


@pytest.mark.parametrize("position", [sinusoidal, rotary, alibi_bias])
def test_softmax_attention_takes_every_position(position):
    check_compatible(position, softmax_attention)


@pytest.mark.parametrize(
    ("position", "attention", "reason"),
    [
        (alibi_bias, linear_attention, "matrix of scores"),
        (alibi_bias, performer_attention, "matrix of scores"),
        (rotary, linear_attention, "feature map"),
        (rotary_halves, shaw_attention, "relative positions of its own"),
        (positions.TrainedRotary, linear_attention, "feature map"),
        (positions.BucketBias, performer_attention, "matrix of scores"),
        (alibi_bias, deberta_attention, "relative positions of its own"),
    ],
)
def test_an_impossible_pair_is_refused_with_its_reason(position, attention, reason):
    name = f"{position.__name__} does not go with {attention.__name__}.*{reason}"
    with pytest.raises(ValueError, match=name):
        check_compatible(position, attention)


def test_partial_functions_are_looked_through():
    twice = functools.partial(functools.partial(linear_attention, chunk_size=2))
    with pytest.raises(ValueError, match="rotary"):
        check_compatible(functools.partial(rotary, base=1e6), twice)


def test_what_the_tables_do_not_name_is_let_through():
    check_compatible(lambda features, positions: features, linear_attention)
    check_compatible(rotary, lambda query, key, value: value)
    check_compatible(rotary, performer_attention)
    check_compatible(sinusoidal, linear_attention)
