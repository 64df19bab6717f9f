import jax
import jax.numpy as jnp
import numpy as np
import pytest


def network(params, extras, batch, rng):
    """A small network with dropout, a mean over examples, that counts its calls."""
    hidden = jnp.tanh(batch["inputs"] @ params["first"] + params["bias"][None])
    if rng is not None:
        hidden = hidden * jax.random.bernoulli(rng, 0.8, hidden.shape)
    scores = jax.nn.log_softmax(hidden @ params["second"])
    own = jnp.take_along_axis(scores, batch["label"][:, None], axis=-1)[:, 0]
    loss = -jnp.mean(own)
    return loss, ({"calls": extras["calls"] + 1}, {"loss": loss})


@pytest.fixture(scope="module")
def problem():
    """``params, extras, batch, rng`` of the network, in float32."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    params = {"first": draw(4, 6), "bias": draw(6), "second": draw(6, 3)}
    batch = {"inputs": draw(5, 4), "label": np.array([0, 1, 2, 0, 1])}
    return params, {"calls": np.int32(0)}, batch, np.array([0, 7], np.uint32)


@pytest.fixture(scope="module")
def loss():
    return network
