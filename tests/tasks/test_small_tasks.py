"""The variational, many-label and transport tasks, by what they promise the loop."""

import functools

import jax
import numpy as np
import pytest

from kexue_jax.data.images import DigitPairs, Digits
from kexue_jax.nn.autoencoder import BatchNormHead, VariationalAutoencoder
from kexue_jax.nn.perceptron import SharedTrunk
from kexue_jax.tasks.distances import GaussianTransport
from kexue_jax.tasks.multi_task import ManyLabels
from kexue_jax.tasks.variational import VariationalAutoencoding


def variational(**more):
    return VariationalAutoencoding(
        model=functools.partial(
            VariationalAutoencoder,
            features=64,
            hidden=(16,),
            latent=4,
            head=BatchNormHead,
        ),
        source=Digits(batch_size=8),
        held_out={"test": Digits(train=False, batch_size=8)},
        held_out_batches=2,
        **more,
    )


def labels(scales=(1.0, 1.0), **more):
    pairs = dict(pairs=32, batch_size=8)
    return ManyLabels(
        model=functools.partial(SharedTrunk, sizes=(121, 16), heads=2, classes=10),
        source=DigitPairs(**pairs),
        held_out={"test": DigitPairs(train=False, **pairs)},
        held_out_batches=2,
        scales=scales,
        names=("first", "second"),
        **more,
    )


def test_the_loss_of_an_autoencoder_is_error_plus_beta_times_divergence():
    task = variational(beta=3.0)
    params, extras = jax.jit(task.init)(jax.random.key(0))
    loss = jax.jit(task.loss)
    args = params, extras, task.batch(0), jax.random.key(1)
    value, (_, scores) = jax.device_get(loss(*args))
    np.testing.assert_allclose(value, scores["error"] + 3 * scores["kl"], rtol=1e-6)


def test_evaluation_of_an_autoencoder_repeats_and_leaves_statistics_alone():
    task = variational()
    params, extras = jax.jit(task.init)(jax.random.key(0))
    first, second = (task.evaluate(params, extras) for _ in range(2))
    assert first == second
    np.testing.assert_allclose(
        first["test/loss"], first["test/error"] + first["test/kl"], rtol=1e-6
    )
    shown = task.exhibits(params, extras)
    assert [len(x.pictures) for x in shown[:2]] == [16, 32] or len(shown) == 3


def test_many_losses_are_in_their_units_and_scores_are_not():
    one, scaled = labels(), labels(scales=(0.01, 1.0))
    params, extras = jax.jit(one.init)(jax.random.key(0))
    args = params, extras, one.batch(0), None
    (plain, (_, scores)), (small, (_, same)) = (
        jax.device_get(jax.jit(task.loss)(*args)) for task in (one, scaled)
    )
    np.testing.assert_allclose(small, plain * np.array([0.01, 1.0]), rtol=1e-6)
    assert plain.shape == (2,)
    assert float(scores["loss_first"]) == float(same["loss_first"])
    assert one.evaluate(params, extras) == scaled.evaluate(params, extras)


def test_each_loss_reaches_the_trunk_and_its_own_head_alone():
    task = labels()
    params, extras = jax.jit(task.init)(jax.random.key(0))
    batch = task.batch(0)
    slopes = jax.jit(jax.jacrev(lambda p: task.loss(p, extras, batch, None)[0]))
    grads = jax.device_get(slopes(params))
    heads = grads["heads"]
    assert np.any(grads["trunk"]["layers"]["0"]["kernel"][0] != 0)
    assert np.any(heads["0"]["kernel"][0] != 0)
    assert not np.any(heads["0"]["kernel"][1])


def test_scales_without_names_are_refused():
    with pytest.raises(ValueError, match="one length"):
        labels(scales=(1.0,))


def test_transport_finds_the_closed_form_and_nothing_cheaper():
    task = GaussianTransport(dimension=3, pairs=3, samples=4000, condition=10.0)
    params, extras = jax.jit(task.init)(jax.random.key(0))
    assert params == {}
    scores = task.evaluate(params, extras)
    assert scores["couplings/map_error"] < 4.5
    assert scores["couplings/image_error"] < 1e-4
    assert scores["couplings/cholesky_excess"] > 0
    assert scores["couplings/corrupted_error"] > 10
    assert task.evaluate(*task.init(jax.random.key(0))) == scores
    assert task.evaluate(*task.init(jax.random.key(1))) != scores


def test_a_task_with_nothing_to_train_says_so():
    task = GaussianTransport()
    with pytest.raises(NotImplementedError, match="set steps to 0"):
        task.batch(0)
    with pytest.raises(ValueError, match="pairs must be at least 1, got 0"):
        GaussianTransport(pairs=0)
