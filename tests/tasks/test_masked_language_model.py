from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.algorithms.masking import masked_tokens, masked_words
from kexue_jax.algorithms.neighbour_counts import (
    best_strength,
    counted,
    neighbour_scores,
)
from kexue_jax.data.characters import Characters
from kexue_jax.data.packed import Packed, words_of
from kexue_jax.exhibits import Table, Text
from kexue_jax.nn import families
from kexue_jax.tasks.masked_language_model import MaskedLanguageModel

WORDS = ("red", "blue", "green", "sun", "moon")
ENCODER = partial(families.roformer, features=32, layers=1, heads=2, hidden=64)


class Texts(NamedTuple):
    train: tuple
    valid: tuple

    def fingerprint(self):
        return {"texts": len(self.train)}


def texts(count=64, seed=0):
    """Each word is followed by the next one of the list."""
    draws = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        first = draws.integers(len(WORDS))
        size = draws.integers(3, 7)
        found.append(" ".join(WORDS[(first + n) % len(WORDS)] for n in range(size)))
    return tuple(found)


def spaced(text):
    return [part for word in text.split(" ") for part in (word, " ")][:-1]


def made(**changes):
    corpus = Texts(texts(), texts(12, seed=1))
    options = dict(
        corpus=lambda: corpus,
        tokenizer=Characters(corpus.train, length=None),
        packed=partial(Packed, batch=8, starts=partial(words_of, words=spaced)),
        encoder=ENCODER,
        length=32,
        rate=0.2,
    )
    return MaskedLanguageModel(**options | changes)


@pytest.fixture(scope="module")
def task():
    return made(
        held_out=dict(
            words=partial(masked_words, shares=(1.0, 0.0)),
            signs=partial(masked_tokens, shares=(1.0, 0.0)),
        )
    )


@pytest.fixture(scope="module")
def drawn(task):
    return jax.jit(task.init)(jax.random.key(0))


def logits_everywhere(task, params, extras, tokens):
    out, _ = task.apply(params, extras, tokens, kept=tokens != task.tokenizer.padding)
    return np.asarray(out, np.float64)


def test_the_loss_is_the_mean_surprise_of_what_was_hidden(task, drawn):
    params, extras = drawn
    batch, rng = task.batch(3), jax.random.key(5)
    loss, (_, scores) = jax.jit(task.loss)(params, extras, batch, rng)
    mask, _ = jax.random.split(rng)
    masked = masked_words(
        mask,
        batch["tokens"],
        batch["words"],
        hidden=task.tokenizer.hidden,
        replacements=jnp.arange(5, task.tokenizer.vocabulary, dtype=jnp.int32),
        width=7,
        rate=0.2,
    )
    scored = logits_everywhere(task, params, extras, masked.tokens)
    total, right, count = 0.0, 0, 0
    for row in range(len(scored)):
        for place, target, weight in zip(
            masked.places[row], masked.targets[row], masked.weight[row], strict=True
        ):
            if weight:
                own = scored[row, place]
                total += np.log(np.sum(np.exp(own))) - own[target]
                right += int(np.argmax(own)) == target
                count += 1
    assert count > 20
    assert float(loss) == pytest.approx(total / count, rel=1e-5)
    assert float(scores["accuracy"]) == pytest.approx(right / count)
    assert float(scores["weight"]) == count


def test_another_mask_is_drawn_in_each_step_and_none_without_a_key(task, drawn):
    batch = task.batch(0)
    loss = jax.jit(lambda *args: task.loss(*drawn, *args)[0])
    first, again, other = (loss(batch, jax.random.key(n)) for n in (1, 1, 2))
    assert first == again != other
    fixed = jax.jit(lambda batch: task.loss(*drawn, batch, None)[0])
    assert fixed(batch) == fixed(batch)


def test_a_batch_without_tokens_has_a_loss_of_0_and_finite_gradients(task, drawn):
    params, extras = drawn
    nothing = {
        "tokens": np.zeros((2, 32), np.int32),
        "words": np.full((2, 32), -1, np.int32),
    }
    found = jax.value_and_grad(task.loss, has_aux=True)
    (loss, (_, scores)), grads = found(params, extras, nothing, jax.random.key(0))
    assert loss == 0.0
    assert scores["weight"] == 0.0
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_scores_are_of_all_that_is_held_out_with_masks_that_stay(task, drawn):
    params, extras = drawn
    scores = task.evaluate(params, extras)
    assert scores == task.evaluate(params, extras)
    again = made(held_out=dict(words=partial(masked_words, shares=(1.0, 0.0))))
    np.testing.assert_array_equal(
        task.masks["words"][0].tokens, again.masks["words"][0].tokens
    )
    for name in ("words", "signs"):
        total = right = count = 0
        for masked in task.masks[name]:
            scored = logits_everywhere(task, params, extras, masked.tokens)
            for row, at in zip(*np.nonzero(masked.weight), strict=True):
                own = scored[row, masked.places[row, at]]
                total += np.log2(np.sum(np.exp(own))) - own[masked.targets[row, at]] / (
                    np.log(2)
                )
                right += np.argmax(own) == masked.targets[row, at]
                count += 1
                # All that is to be told is hidden.
                token = masked.tokens[row, masked.places[row, at]]
                assert token == task.tokenizer.hidden
        assert scores[f"{name}/bits"] == pytest.approx(total / count, rel=1e-5)
        assert scores[f"{name}/accuracy"] == pytest.approx(right / count)
        assert scores[f"{name}/perplexity"] == pytest.approx(
            2 ** scores[f"{name}/bits"], rel=1e-6
        )


def test_the_baselines_are_counts_of_the_training_rows(task):
    rows = task.rows["train"].tokens
    kept, size = rows != task.tokenizer.padding, task.tokenizer.vocabulary
    strength = best_strength(rows, kept, vocabulary=size)
    known = counted(rows, kept, vocabulary=size, strength=strength)
    batches = task.masks["signs"]
    whole = [np.concatenate(each) for each in zip(*batches, strict=True)]
    want = neighbour_scores(known, *whole, unknown=[4], never=range(5))
    assert task.baselines["signs/neighbours_bits"] == want.bits
    assert task.baselines["signs/neighbours_accuracy"] == want.accuracy
    assert task.baselines["signs/often_accuracy"] == want.often
    # Two neighbours tell a letter within a word better than a word that is gone.
    assert want.accuracy > task.baselines["words/neighbours_accuracy"]


def test_texts_are_filled_by_what_the_model_says_at_each_mark(task, drawn):
    params, extras = drawn
    asked = ["red [MASK]lue g[MASK]een", "moon", "[MASK]"]
    found = task.predict(params, extras, asked)
    assert [len(items) for items in found] == [2, 0, 1]
    for text, items in zip(asked, found, strict=True):
        assert [text[i["start"] : i["stop"]] for i in items] == ["[MASK]"] * len(items)
    own = task.tokenizer
    spelt = [*"red ", "[MASK]", *"lue g", "[MASK]", *"een"]
    row = np.zeros((1, 32), np.int32)
    pieces = ["[CLS]", *spelt, "[SEP]"]
    row[0, : len(pieces)] = [
        own.pieces(range(own.vocabulary)).index(piece) for piece in pieces
    ]
    scored = logits_everywhere(task, params, extras, row)[0, 5]
    scored[:5] = -np.inf  # marks are not told
    shares = np.exp(scored) / np.exp(scored).sum()
    best = np.argsort(-shares)[:5]
    guesses = found[0][0]["guesses"]
    assert [piece for piece, _ in guesses] == own.pieces(best)
    np.testing.assert_allclose([s for _, s in guesses], shares[best], rtol=1e-4)
    first, second = (item["text"] for item in found[0])
    filled = task.fill(params, extras, asked)
    assert filled[:2] == [f"red {first}lue g{second}een", "moon"]
    assert task.predict(params, extras, []) == []
    with pytest.raises(ValueError, match="at most 32 tokens, got 42"):
        task.predict(params, extras, ["x" * 40])


def test_what_is_served_is_the_scores_of_all_places(task, drawn):
    params, extras = drawn
    tokens = task.batch(0)["tokens"]
    kept = tokens != task.tokenizer.padding
    serve = jax.jit(task.serving(params, extras))
    np.testing.assert_allclose(
        serve(tokens, kept, np.zeros_like(tokens)),
        logits_everywhere(task, params, extras, tokens),
        atol=1e-5,
    )


def test_a_report_shows_the_counts_and_what_was_hidden(task, drawn):
    table, text = task.exhibits(*drawn)
    assert isinstance(table, Table)
    assert isinstance(text, Text)
    assert len(table.rows) == 6
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert all("[" in passage for _, passage in text.items)
    assert len(text.items) > 2


def test_texts_are_read_when_they_are_needed_and_a_tokenizer_may_be_learned():
    asked = []

    def corpus():
        asked.append(1)
        return Texts(texts(), texts(4, seed=1))

    late = made()
    late = MaskedLanguageModel(
        corpus=corpus,
        tokenizer=late.tokenizer,
        packed=partial(Packed, batch=8),
        encoder=ENCODER,
        length=32,
    )
    late.init(jax.random.key(0))
    assert not asked
    about = late.fingerprint()
    assert asked == [1]
    assert about["vocabulary"] == late.tokenizer.vocabulary
    assert about["texts"] == 64
    learned = made(tokenizer=partial(Characters, length=None), learns=True)
    assert learned.tokenizer.fingerprint() == late.tokenizer.fingerprint()
    assert list(learned.masks) == ["valid"]


@pytest.mark.slow
def test_it_learns_which_word_comes_next_and_beats_counts():
    corpus = Texts(texts(256), texts(12, seed=1))
    task = made(
        corpus=lambda: corpus,
        encoder=partial(ENCODER, layers=2),
        packed=partial(Packed, batch=16, starts=partial(words_of, words=spaced)),
    )
    params, extras = jax.jit(task.init)(jax.random.key(0))
    tx = optax.adam(3e-3)
    state = tx.init(params)

    @jax.jit
    def step(params, state, batch, rng):
        grads = jax.grad(lambda p: task.loss(p, extras, batch, rng)[0])(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for number in range(600):
        key = jax.random.key(number)
        params, state = step(params, state, task.batch(number), key)
    scores = task.evaluate(params, extras)
    assert scores["valid/accuracy"] > 0.9
    assert scores["valid/neighbours_accuracy"] < 0.6
    filled = task.fill(params, extras, ["red blue [MASK]reen sun"])
    assert filled == ["red blue green sun"]
