from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.data.prediction import causal_text
from kexue_jax.data.prose import Prose
from kexue_jax.data.tokenization import byte_tokens
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.transformer import Transformer
from kexue_jax.tasks.decoding import Decoding, distinct, share_of_words

TEXT = Prose(("the cat sat on the mat. " * 20,), "the rat sat. " * 30)


def make(**options):
    mixer = partial(SelfAttention, heads=1, head_size=8)
    return Decoding(
        text=TEXT,
        data=partial(causal_text, tokenizer=byte_tokens, length=24, batch=4),
        model=partial(Transformer, features=8, layers=1, hidden=16, mixer=mixer),
        **(dict(samples=6, prompt=8) | options),
    )


def test_words_are_whole_and_known_or_not():
    known = frozenset([b"the", b"cat"])
    assert share_of_words([b"xthe cat the dog th", b"e a cat."], known) == 0.75
    assert share_of_words([b"nothing"], known) == 0.0


def test_distinct_is_the_share_of_different_passages():
    assert distinct([b"abab", b"ab"], size=2) == 0.5
    assert distinct([b"a"], size=2) == 0.0


@pytest.mark.slow
def test_every_way_has_the_mean_entropy_of_the_nucleus(keys):
    task = make(shares=(0.9, 0.5))
    scores = task.evaluate(*jax.jit(task.init)(next(keys)))
    most = scores["plain/entropy"] - 0.1
    for share in (0.9, 0.5):
        goal = scores[f"top_p_{share}/entropy"]
        assert goal < most
        for way in ("temperature", "at_entropy", "at_most_entropy"):
            assert scores[f"{way}_{share}/entropy"] == pytest.approx(goal, abs=1e-3)
        assert scores[f"at_entropy_{share}/value"] == pytest.approx(goal, rel=1e-6)
        most = goal
    assert scores["held_out/words"] < 1.0  # it says "rat"


def test_samples_begin_with_their_prompts_and_depend_on_their_seed_alone(keys):
    params, extras = jax.jit(make().init)(next(keys))
    one, again, other = (
        make(sample_seed=seed)._drawn(params, extras, lambda logits: logits)
        for seed in (0, 0, 1)
    )
    assert one.shape == (6, 24)
    np.testing.assert_array_equal(one[:, :8], make().windows[:, :8])
    np.testing.assert_array_equal(one, again)
    assert (one[:, 8:] != other[:, 8:]).mean() > 0.5


def test_step_by_step_draws_what_the_whole_model_gives(keys):
    task = make()
    params, extras = jax.jit(task.init)(next(keys))
    cold = task._drawn(params, extras, lambda logits: 1e6 * logits)
    logits, _ = jax.jit(task.apply)(params, extras, cold)
    np.testing.assert_array_equal(np.argmax(logits, -1)[:, 7:-1], cold[:, 8:])


def test_too_many_samples_and_too_long_prompts_are_refused():
    with pytest.raises(ValueError, match="got 90 and 8"):
        make(samples=90)
    with pytest.raises(ValueError, match="got 6 and 24"):
        make(prompt=24)
