from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.nn.functional import functional
from kexue_jax.nn.skip_reader import SkipReader
from kexue_jax.tasks.skip_reading import SkipReading

SHAPE = dict(columns=4, length=3, size=5)


def source(step):
    rng = np.random.default_rng(step)
    return {
        "image": rng.normal(size=(6, 3, 4)).astype(np.float32),
        "label": rng.integers(0, 2, 6).astype(np.int32),
    }


def task(bias=0.0, **options):
    model = partial(SkipReader, open_bias=bias, **SHAPE)
    return SkipReading(
        model=model, source=source, held_out=source, classes=2, **options
    )


@pytest.fixture(scope="module")
def reader():
    init, apply = functional(partial(SkipReader, 2, open_bias=0.0, **SHAPE))
    params, extras = init(jax.random.key(0))
    return params, lambda params, image, **more: apply(params, extras, image, **more)[0]


def test_a_row_that_is_skipped_cannot_matter(reader):
    params, read = reader
    image = source(0)["image"]
    params = params | {"gate_bias": jnp.array([1.0, -1.0, 1.0])}
    found = jax.jit(read)(params, image)
    np.testing.assert_array_equal(found.read, [[True, False, True]] * 6)
    other = image.copy()
    other[:, 1] = 100.0
    np.testing.assert_array_equal(jax.jit(read)(params, other).scores, found.scores)
    other[:, 0] = 100.0
    assert (jax.jit(read)(params, other).scores != found.scores).any()
    log_p = 2 * np.log(1 / (1 + np.exp(-1.0))) + np.log(1 / (1 + np.exp(-1.0)))
    np.testing.assert_allclose(found.log_probability, log_p, rtol=1e-5)


def test_gates_fall_as_often_as_their_probability_says(reader):
    params, read = reader
    params = params | {"gate_bias": jnp.array([1.0, -1.0, 0.0])}
    image = jnp.zeros((4000, 3, 4))
    found = jax.jit(partial(read, gates="drawn"))(params, image, rng=jax.random.key(1))
    want = 1 / (1 + np.exp(-np.array([1.0, -1.0, 0.0])))
    np.testing.assert_allclose(np.mean(found.read, axis=0), want, atol=0.03)
    opened = np.where(found.read, want, 1 - want)
    np.testing.assert_allclose(
        found.log_probability, np.log(opened).sum(axis=1), rtol=1e-4
    )


def test_a_price_shuts_gates_and_gates_alone_have_no_gradient_but_the_reward():
    made = task(price=5.0, samples=64)
    params, extras = made.init(jax.random.key(0))
    slope = jax.jit(jax.grad(made.loss, has_aux=True))
    grads, (_, scores) = slope(params, extras, source(0), jax.random.key(2))
    assert (grads["gate_bias"] > 0.0).all()  # downhill is shut
    assert 0.3 < scores["read"] < 0.7
    free = task(gates="open", price=1.0)
    grads, (_, scores) = jax.jit(jax.grad(free.loss, has_aux=True))(
        params, extras, source(0), None
    )
    assert not grads["gate_bias"].any()
    assert scores["read"] == 1.0


def test_the_reward_is_accuracy_less_the_price():
    made = task(bias=-1.0, price=0.5)
    params, extras = made.init(jax.random.key(0))
    found = made.evaluate(params, extras)
    assert found["test/read"] == 0.0
    assert found["test/reward"] == found["test/accuracy"]
    images, bars = made.exhibits(params, extras)
    assert (images.pictures == 0.5).all()
    assert not bars.values.any()
    opened = task(bias=-1.0, price=0.5, gates="open").evaluate(params, extras)
    assert opened["test/read"] == 1.0


def test_what_does_not_fit_is_refused(reader):
    params, read = reader
    image = source(0)["image"]
    with pytest.raises(ValueError, match=r"inputs must be \[B, 3, D\]"):
        read(params, image[:, :2])
    with pytest.raises(ValueError, match="gates must be"):
        read(params, image, gates="half")
    with pytest.raises(ValueError, match="need a key"):
        read(params, image, gates="drawn")
    with pytest.raises(ValueError, match="price must not be negative"):
        task(price=-1.0)
