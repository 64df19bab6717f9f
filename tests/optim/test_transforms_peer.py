"""Transforms beside torch and pytorch_optimizer, from the same gradients."""

import jax
import numpy as np
import optax
import pytest

from kexue_jax.losses import sharpness_aware
from kexue_jax.optim import (
    lookahead,
    scale_by_sign_momentum,
    smooth_clip_by_norm,
    tiger,
)

pytestmark = pytest.mark.peer
STEPS = 12


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("pytorch_optimizer")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


START, GRADS = drawn(4, 3), drawn(STEPS, 4, 3, seed=1)


def ours(tx):
    """Weights after every step."""

    @jax.jit
    def run(start, grads):
        def step(carry, g):
            x, state = carry
            updates, state = tx.update({"kernel": g}, state, {"kernel": x})
            x = optax.apply_updates({"kernel": x}, updates)["kernel"]
            return (x, state), x

        return jax.lax.scan(step, (start, tx.init({"kernel": start})), grads)[1]

    return np.asarray(run(START, GRADS))


def theirs(torch, make):
    """Weights after every step of a torch optimizer of one parameter."""
    weight = torch.nn.Parameter(torch.tensor(START))
    optimizer, seen = make([weight]), []
    for g in GRADS:
        weight.grad = torch.tensor(g)
        optimizer.step()
        seen.append(weight.detach().numpy().copy())
    return np.stack(seen)


def test_sign_momentum_with_decay_is_their_tiger(torch, peer):
    tx = optax.chain(
        scale_by_sign_momentum(0.965),
        optax.add_decayed_weights(0.01),
        optax.scale_by_learning_rate(1e-2),
    )
    want = theirs(torch, lambda p: peer.Tiger(p, lr=1e-2, weight_decay=0.01))
    np.testing.assert_allclose(ours(tx), want, rtol=1e-6, atol=1e-6)


def test_their_tiger_has_one_rate_for_all_and_ours_has_the_size_of_each(torch, peer):
    """The post multiplies a matrix's rate by its root mean square; theirs does not."""
    flat = theirs(torch, lambda p: peer.Tiger(p, lr=1e-2, weight_decay=0.0))
    sized = ours(tiger(1e-2, weight_decay=0.0))
    size = np.sqrt(np.mean(np.square(START)))
    np.testing.assert_allclose(
        sized[0] - START, size * (flat[0] - START), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("inner", ["sgd", "adam"])
def test_lookahead_is_theirs(torch, peer, inner):
    fast = optax.sgd(0.1) if inner == "sgd" else optax.adam(0.1)

    def make(parameters):
        kind = torch.optim.SGD if inner == "sgd" else torch.optim.Adam
        return peer.Lookahead(kind(parameters, lr=0.1), k=5, alpha=0.5)

    tx = lookahead(fast, sync_period=5, slow_step_size=0.5)
    np.testing.assert_allclose(ours(tx), theirs(torch, make), rtol=2e-5, atol=2e-6)


def test_smooth_clipping_lies_below_the_hard_one_of_torch(torch):
    g = torch.tensor(GRADS[0])
    weight = torch.nn.Parameter(torch.zeros_like(g))
    weight.grad = g.clone()
    torch.nn.utils.clip_grad_norm_([weight], 1.0)
    hard = np.linalg.norm(weight.grad.numpy())
    soft, _ = smooth_clip_by_norm(1.0).update(GRADS[0], optax.EmptyState())
    norm = np.linalg.norm(GRADS[0])
    assert hard == pytest.approx(min(norm, 1.0), rel=1e-5)
    assert np.linalg.norm(soft) == pytest.approx(norm / (1 + norm), rel=1e-5)
    assert 0.5 * hard <= np.linalg.norm(soft) <= hard


def test_sharpness_aware_gradients_are_theirs(torch, peer):
    inputs, targets = drawn(6, 4, seed=2), drawn(6, 3, seed=3)

    def loss(params, extras, batch, rng):
        error = jax.numpy.dot(inputs, params) - targets
        return jax.numpy.mean(error**2) + jax.numpy.sum(params**4), (extras, {})

    wrapped = sharpness_aware(loss, radius=0.3)
    slope = jax.jit(jax.grad(lambda p: wrapped(p, {}, {}, None)[0]))(START)
    weight = torch.nn.Parameter(torch.tensor(START))
    optimizer = peer.SAM([weight], torch.optim.SGD, rho=0.3, lr=1.0)

    def value():
        error = torch.tensor(inputs) @ weight - torch.tensor(targets)
        return (error**2).mean() + (weight**4).sum()

    value().backward()
    optimizer.first_step(zero_grad=True)
    value().backward()
    optimizer.second_step(zero_grad=True)
    want = START - weight.detach().numpy()  # one step of rate 1
    np.testing.assert_allclose(slope, want, rtol=1e-4, atol=1e-5)
