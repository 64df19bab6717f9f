from functools import partial

import jax
import numpy as np
import optax
import pytest
from scipy.stats import spearmanr

from kexue_jax.data.matching import matching
from kexue_jax.losses import cosent, pair_classification_loss
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.positions import LearnedPositions
from kexue_jax.nn.text_pairs import Joined, MeanEncoder, StackEncoder, Towers
from kexue_jax.tasks.sentence_pairs import ClassifiedPairs, SentencePairs

DATA = matching("drawn", batch=16)
MEANS = partial(Towers, encoder=partial(MeanEncoder, sizes=(6, 4)))
STACK = partial(
    StackEncoder,
    features=8,
    layers=1,
    hidden=8,
    mixer=partial(SelfAttention, heads=2, head_size=4),
    position=partial(LearnedPositions, length=64),
)


def test_towers_are_cosines_of_perceptrons_on_means(keys):
    task = SentencePairs(data=DATA, model=MEANS)
    params, extras = jax.jit(task.init)(next(keys))
    assert "vectors" in str(jax.tree.structure(extras))  # frozen, not trained
    batch = task.batch(0)
    layers = params["model"]["encoder"]["perceptron"]["layers"]
    sides = []
    for rows in (batch["first"], batch["second"]):
        mean = np.stack([DATA.vectors[row[row > 0]].mean(0) for row in rows])
        for place in ("0", "1"):
            kernel, bias = (
                np.asarray(layers[place][n], float) for n in ("kernel", "bias")
            )
            mean = mean @ kernel + bias
            mean = np.tanh(mean) if place == "0" else mean
        sides.append(mean / np.linalg.norm(mean, axis=1, keepdims=True))
    cosine = (sides[0] * sides[1]).sum(1)
    loss, _ = jax.jit(task.loss)(params, extras, batch, None)
    terms = [
        20 * (cosine[a] - cosine[b])
        for a in range(16)
        for b in range(16)
        if batch["label"][a] < batch["label"][b]
    ]
    assert loss == pytest.approx(np.log1p(np.exp(terms).sum()), rel=1e-4)


def test_what_is_judged_is_the_order_and_a_threshold_chosen_apart(keys):
    task = SentencePairs(data=DATA, model=MEANS)
    params, extras = jax.jit(task.init)(next(keys))
    scores = task.evaluate(params, extras)
    similarity, label = task._all(params, extras, DATA.valid)
    assert len(label) == 30
    want = 100 * spearmanr(similarity, label).statistic
    assert scores["valid/spearman"] == pytest.approx(want, abs=1e-3)
    cuts = [-np.inf, *similarity, np.inf]
    best = max(np.mean((similarity >= cut) == (label == 1)) for cut in cuts)
    assert scores["valid/accuracy"] == pytest.approx(100 * best, abs=1e-4)
    assert scores["test/accuracy"] <= 100
    assert len(task.exhibits(params, extras)) == 3


def test_the_head_is_trained_and_not_judged(keys):
    task = ClassifiedPairs(data=DATA, model=MEANS)
    params, extras = jax.jit(task.init)(next(keys))
    assert params["kernel"].shape == (12, 2)
    batch = task.batch(0)
    read, _ = jax.jit(task._read)(params, extras, batch)
    want = jax.jit(pair_classification_loss)(
        read.first, read.second, batch["label"], params["kernel"]
    )
    (loss, _), gradient = jax.jit(jax.value_and_grad(task.loss, has_aux=True))(
        params, extras, batch, None
    )
    assert loss == pytest.approx(float(want), rel=1e-5)
    assert np.abs(np.asarray(gradient["kernel"])).max() > 0
    other = params | {"kernel": -np.asarray(params["kernel"])}
    assert task.evaluate(params, extras) == task.evaluate(other, extras)
    with pytest.raises(ValueError, match="must give a vector for each text"):
        ClassifiedPairs(data=DATA, model=partial(Joined, encoder=STACK)).init(
            next(keys)
        )


def test_joined_texts_are_read_together(keys):
    """What is said of a pair is no function of two vectors: it depends on both texts,
    on their order, and not on what fills the second up."""
    loss = optax.losses.sigmoid_binary_cross_entropy
    task = SentencePairs(data=DATA, model=partial(Joined, encoder=STACK), loss=loss)
    params, extras = jax.jit(task.init)(next(keys))
    first, second = np.random.default_rng(0).integers(1, 40, (2, 3, 5))

    @jax.jit
    def read(first, second):
        return task.apply(params["model"], extras, first, second)[0]

    whole = read(first, second)
    assert whole.first is None
    assert not np.allclose(whole.similarity, read(second, first).similarity)
    assert not np.allclose(whole.similarity, read(first, second[::-1]).similarity)
    longer = read(first, np.pad(second, ((0, 0), (0, 4))))
    np.testing.assert_allclose(whole.similarity, longer.similarity, atol=1e-5)
    nothing = np.zeros_like(first)
    assert np.isfinite(read(nothing, nothing).similarity).all()


def test_towers_do_not_see_padding_and_empty_texts_have_finite_gradients(keys):
    task = SentencePairs(data=DATA, model=partial(Towers, encoder=STACK), loss=cosent)
    params, extras = jax.jit(task.init)(next(keys))
    batch = {name: rows[:6] for name, rows in task.batch(0).items()}
    longer = batch | {
        side: np.pad(batch[side], ((0, 0), (0, 5))) for side in ("first", "second")
    }
    own, same = (task._similar(params, extras, x) for x in (batch, longer))
    np.testing.assert_allclose(own, same, atol=1e-5)
    empty = batch | {"first": np.zeros_like(batch["first"])}
    gradient = jax.jit(jax.grad(lambda p: task.loss(p, extras, empty, None)[0]))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_without_layers_a_text_is_its_mean(keys):
    task = SentencePairs(
        data=DATA, model=partial(Towers, encoder=partial(MeanEncoder, sizes=()))
    )
    params, extras = jax.jit(task.init)(next(keys))
    assert not jax.tree.leaves(params)
    batch = task.batch(0)
    sides = [
        np.stack([DATA.vectors[row[row > 0]].mean(0) for row in batch[side]])
        for side in ("first", "second")
    ]
    sides = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in sides]
    want = (sides[0] * sides[1]).sum(1)
    found = task._similar(params, extras, batch)
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_a_mean_refuses_two_texts_in_one_row(keys):
    task = SentencePairs(data=DATA, model=partial(Joined, encoder=MeanEncoder))
    state = jax.eval_shape(task.init, next(keys))
    with pytest.raises(ValueError, match="segments must be None"):
        jax.eval_shape(task.loss, *state, task.batch(0), None)
