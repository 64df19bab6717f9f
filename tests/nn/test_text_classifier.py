import jax
import numpy as np
import pytest

from kexue_jax.nn.functional import functional
from kexue_jax.nn.text_classifier import ConvolutionClassifier


@pytest.fixture(scope="module")
def model():
    init, apply = functional(
        lambda *, rngs: ConvolutionClassifier(
            3, vocabulary=9, features=4, filters=5, dropout=0.5, rngs=rngs
        )
    )
    params, extras = init(jax.random.key(0))

    @jax.jit
    def run(tokens):
        both = [
            apply(params, extras, tokens, train=train, rng=jax.random.key(1))[0]
            for train in (False, True)
        ]
        return both

    return params, run


def test_it_is_embeddings_a_convolution_and_maxima(model):
    params, run = model
    tokens = np.array([[3, 4, 5, 0, 0], [8, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    found, dropped = run(tokens)
    table = np.float64(params["embed"]["embedding"])
    kernel, bias = (np.float64(params["convolution"][n]) for n in ("kernel", "bias"))
    for row, got in zip(tokens, found, strict=True):
        length = int((row > 0).sum())
        vectors = np.zeros((length + 2, 4))
        vectors[1 : length + 1] = table[row[:length]]
        maxima = np.zeros(5)
        for place in range(length):
            window = vectors[place : place + 3]
            maxima = np.maximum(maxima, np.einsum("wf,wfo->o", window, kernel) + bias)
        head = params["head"]
        want = maxima @ np.float64(head["kernel"]) + np.float64(head["bias"])
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert not np.allclose(dropped, found)


def test_what_stands_behind_the_end_changes_nothing(model):
    _, run = model
    short, long = np.array([[3, 4, 0]]), np.array([[3, 4, 0, 0, 0, 0]])
    np.testing.assert_allclose(run(short)[0], run(long)[0], rtol=1e-6)
