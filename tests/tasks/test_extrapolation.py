from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.data.prediction import causal_text
from kexue_jax.data.prose import Prose
from kexue_jax.data.tokenization import byte_tokens
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.transformer import Transformer
from kexue_jax.position.frequencies import interpolated_frequencies
from kexue_jax.position.rotary import rotary
from kexue_jax.tasks.extrapolation import Extrapolation
from kexue_jax.tasks.token_prediction import TokenPrediction

TEXT = Prose(("the cat sat on the mat. " * 20,), "the rat sat. " * 30)


def model(heads=1, **options):
    mixer = partial(SelfAttention, heads=heads, head_size=8, **options)
    return partial(Transformer, features=8, layers=1, hidden=16, mixer=mixer)


def data():
    return causal_text(TEXT, byte_tokens, length=8, batch=4, lengths=(8, 32))


PLAIN = model(position=rotary)
SLOW = model(
    position=partial(rotary, frequencies=interpolated_frequencies(8, factor=4.0))
)


def test_a_reader_scores_what_its_model_scores_with_the_trained_parameters(keys):
    readers = {"valid_32": {"slow": SLOW, "same": PLAIN}}
    task = Extrapolation(data=data(), model=PLAIN, readers=readers)
    params, extras = jax.jit(task.init)(next(keys))
    scores = task.evaluate(params, extras)
    want = TokenPrediction(data=data(), model=SLOW).evaluate(params, extras)
    plain = TokenPrediction(data=data(), model=PLAIN).evaluate(params, extras)
    for kind in ("loss", "accuracy"):
        np.testing.assert_allclose(
            scores[f"valid_32/slow/{kind}"], want[f"valid_32/{kind}"]
        )
        assert scores[f"valid_32/same/{kind}"] == plain[f"valid_32/{kind}"]
    assert {name: scores[name] for name in plain} == plain
    assert scores["valid_32/slow/loss"] != scores["valid_32/loss"]
    assert not any(name.startswith("valid_8/s") for name in scores)
    curves = task.exhibits(params, extras)
    assert [[line.name for line in curve.series] for curve in curves] == [
        ["as trained"],
        ["as trained", "slow", "same"],
    ]


@pytest.mark.parametrize(
    ("readers", "named"),
    [
        ({"valid_16": {"slow": SLOW}}, "valid_8, valid_32; got valid_16"),
        ({"valid_32": {"wide": model(heads=2)}}, "wide of valid_32 must have the par"),
    ],
)
def test_readers_of_no_set_or_with_other_parameters_are_refused(readers, named):
    with pytest.raises(ValueError, match=named):
        Extrapolation(data=data(), model=PLAIN, readers=readers)
