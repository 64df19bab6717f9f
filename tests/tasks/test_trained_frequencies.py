from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.data.prediction import causal_text
from kexue_jax.data.prose import Prose
from kexue_jax.data.tokenization import byte_tokens
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.positions import TrainedRotary
from kexue_jax.nn.transformer import Transformer
from kexue_jax.position.rotary import rotary
from kexue_jax.tasks.trained_frequencies import TrainedFrequencies, diagonal_dominance

TEXT = Prose(("the cat sat on the mat. " * 20,), "the rat sat. " * 30)


def make(position=TrainedRotary, tied=False, **options):
    mixer = partial(SelfAttention, heads=1, head_size=4, position=position)
    model = partial(Transformer, features=4, layers=2, hidden=8, mixer=mixer, tied=tied)
    data = causal_text(TEXT, byte_tokens, length=8, batch=4)
    options = dict(windows=2, read=6) | options
    return TrainedFrequencies(data=data, model=model, **options)


def test_dominance_is_the_diagonal_over_the_rest():
    assert diagonal_dominance(np.ones((2, 3, 3))) == 1.0
    assert diagonal_dominance(np.array([[4.0, -1.0], [3.0, -2.0]])) == 1.5
    assert diagonal_dominance(np.eye(3)) > 1e30


def test_a_change_of_frequencies_is_scored_in_logarithms(keys):
    task = make()
    params, extras = jax.jit(task.init)(next(keys))
    own = params["stack"]["blocks"]["1"]["mixer"]["position"]
    change = np.array([0.4, -0.8], np.float32)
    own["log_frequencies"] = np.asarray(own["log_frequencies"]) + change
    scores = task.evaluate(params, extras)
    assert scores["frequencies/moved"] == pytest.approx(0.3, rel=1e-5)
    assert scores["frequencies/moved_most"] == pytest.approx(0.8, rel=1e-5)
    titles = [shown.title for shown in task.exhibits(params, extras)]
    assert titles[-1] == "Change of the logarithm of each frequency"


def test_fixed_frequencies_have_no_such_scores(keys):
    task = make(position=rotary)
    scores = task.evaluate(*jax.jit(task.init)(next(keys)))
    assert not any(name.startswith("frequencies/") for name in scores)
    assert scores["embedding/dominance_at_first"] > 0.0


@pytest.mark.slow
def test_pairs_are_mixed_derivatives_of_the_loss_of_the_last_target(keys):
    task = make()
    params, extras = jax.jit(task.init)(next(keys))
    found = task._interactions(params, extras)
    assert found.shape == (2, 2, 4, 4)  # the pairs (3, 4) and (3, 5)
    own, tokens = params["vocabulary"], task.first["tokens"][1, -6:]

    def loss(one, other):
        rows = own["embedding"][tokens].at[3].add(one).at[5].add(other)
        varied = params | {"vocabulary": own | {"embedding": rows}}
        logits, _ = task.apply(varied, extras, np.arange(6)[None])
        return -jax.nn.log_softmax(logits[0, -1])[task.first["targets"][1, -1]]

    step, eye, zero = 0.03, np.eye(4, dtype=np.float32), np.zeros(4, np.float32)
    whole = -jax.nn.log_softmax(task.apply(params, extras, tokens[None])[0][0, -1])[
        task.first["targets"][1, -1]
    ]
    np.testing.assert_allclose(loss(zero, zero), whole, rtol=1e-6)
    slope = jax.jit(jax.grad(loss))
    want = [(slope(zero, step * e) - slope(zero, -step * e)) / (2 * step) for e in eye]
    scale = np.abs(found).max()
    np.testing.assert_allclose(found[1, 1], np.transpose(want), atol=0.02 * scale)


def test_a_tied_model_and_a_window_too_short_are_refused():
    with pytest.raises(ValueError, match="must not be tied"):
        make(tied=True)
    with pytest.raises(ValueError, match="at most the 8 tokens of a window, got 9"):
        make(read=9)
