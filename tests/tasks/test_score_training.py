from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.data.small_tables import few_positives
from kexue_jax.data.two_orders import two_orders
from kexue_jax.losses.zeroth_order import zeroth_order
from kexue_jax.nn.rows import InputClassifier
from kexue_jax.tasks import score_training
from kexue_jax.tasks.score_training import ScoreTraining

COLUMNS = ("mean texture", "mean smoothness")


def task(**options):
    return ScoreTraining(
        **dict(
            data=few_positives(columns=COLUMNS),
            model=partial(InputClassifier, columns=2, hidden=()),
            score=score_training.f1,
        )
        | options
    )


def gradient(made, steps=0):
    params, extras = made.init(jax.random.key(0))
    extras = extras | {"steps": jnp.int32(steps)}
    slope = jax.jit(jax.grad(made.loss, has_aux=True))
    return slope(params, extras, made.batch(0), jax.random.key(1))


def leaves(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_the_score_has_no_gradient_of_its_own_and_its_loss_is_what_it_lacks_to_1():
    slope, (extras, scores) = gradient(task())
    assert not leaves(slope).any()
    np.testing.assert_allclose(scores["loss"], 1.0 - scores["score"], rtol=1e-6)
    assert extras["steps"] == 1


def test_after_its_steps_of_likelihood_the_other_loss_begins():
    estimator = partial(zeroth_order, deviation=0.5, directions=8, chunk=8)
    made = task(likelihood_steps=5, estimator=estimator)
    before, _ = gradient(made, steps=4)
    plain, _ = gradient(task(objective="likelihood"))
    np.testing.assert_allclose(leaves(before), leaves(plain), rtol=1e-5, atol=1e-7)
    after, (_, scores) = gradient(made, steps=5)
    assert leaves(after).any()
    np.testing.assert_allclose(scores["loss"], 1.0 - scores["score"], rtol=1e-6)


@pytest.mark.parametrize("baseline", ["leave_one_out", "greedy"])
def test_a_policy_of_rows_goes_where_their_mean_accuracy_rises(baseline):
    def right(chosen, batch):
        return (chosen == batch["label"]).astype(jnp.float32)

    made = task(score=right, objective="policy", samples=400, baseline=baseline)
    params, extras = made.init(jax.random.key(0))
    batch = made.batch(0)

    def minus_accuracy(params):
        logits, _ = made.apply(params, extras["model"], batch["inputs"])
        p = jax.nn.softmax(logits)
        return -jnp.mean(jnp.take_along_axis(p, batch["label"][:, None], axis=1))

    slope, _ = gradient(made)
    np.testing.assert_allclose(
        leaves(slope), leaves(jax.grad(minus_accuracy)(params)), atol=0.01
    )


def test_a_score_of_the_whole_batch_is_a_reward_too():
    slope, _ = gradient(task(objective="policy", samples=16))
    assert np.isfinite(leaves(slope)).all()
    assert leaves(slope).any()


def test_held_out_scores_weigh_rows_and_choices_are_shown():
    made = task(reported=dict(f1=score_training.f1, accuracy=score_training.accuracy))
    params, extras = made.init(jax.random.key(0))
    found = made.evaluate(params, extras)
    (batch,) = made.data.held_out
    logits, _ = made.apply(params, extras["model"], batch["inputs"])
    right = np.argmax(logits, axis=1) == batch["label"]
    want = np.average(right, weights=batch["weight"])
    np.testing.assert_allclose(found["valid/accuracy"], want, rtol=1e-5)
    assert 0.0 < found["valid/f1"] < 1.0
    (table,) = made.exhibits(params, extras)
    assert len(table.rows) == 12


def test_rare_rows_are_as_rare_in_what_is_held_out():
    data = few_positives(columns=COLUMNS, positives=30, negatives=180)
    (batch,) = data.held_out
    positive = batch["label"] == 1
    share = batch["weight"][positive].sum() / batch["weight"].sum()
    np.testing.assert_allclose(share, 30 / 210, rtol=1e-5)
    assert data.source(0)["label"].sum() == 30
    np.testing.assert_allclose(data.source(0)["inputs"].mean(axis=0), 0.0, atol=1e-5)
    with pytest.raises(ValueError, match="columns must be some of"):
        few_positives(columns=("weight",))
    with pytest.raises(ValueError, match="not \\(300, 180\\)"):
        few_positives(columns=COLUMNS, positives=300)


def test_either_order_is_a_perfect_translation_and_half_of_each_is_not():
    batch = two_orders(batch=6, held_out=3).source(0)
    bleu = jax.jit(score_training.row_bleu)
    whole = jax.jit(score_training.corpus_bleu)
    for order in (0, 1):
        np.testing.assert_allclose(bleu(batch["references"][:, order], batch), 1.0)
    np.testing.assert_allclose(whole(batch["label"], batch), 1.0, rtol=1e-6)
    mixed = np.where(np.arange(10) % 2, *batch["references"].swapaxes(0, 1))
    assert (bleu(mixed, batch) < 0.9).all()
    words = batch["weight"] > 0
    assert (batch["inputs"][words] <= 20).all()
    assert (batch["label"][words] > 20).all()
    assert (batch["label"][~words] == 0).all()
    with pytest.raises(ValueError, match="1 <= least <= length"):
        two_orders(least=11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(objective="reward"), "objective must be"),
        (dict(baseline="best"), "no baseline 'best'"),
        (dict(samples=0), "samples at least 1"),
        (dict(objective="policy", estimator=lambda loss: loss), "is for the score"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        task(**options)
