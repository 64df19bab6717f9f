"""The linear chain beside pytorch-crf, whose masks hide the ends of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.linear_chain import log_likelihood, viterbi

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("free", [False, True], ids=["without ends", "with ends"])
def test_pytorch_crf_gives_the_same_likelihoods_gradients_and_paths(free):
    torch = pytest.importorskip("torch")
    torchcrf = pytest.importorskip("torchcrf")
    draws = np.random.default_rng(0)
    emissions = draws.normal(size=(6, 9, 5)).astype(np.float32)
    transitions = draws.normal(size=(5, 5)).astype(np.float32)
    first, last = draws.normal(size=(2, 5)).astype(np.float32) * free
    tags = draws.integers(0, 5, (6, 9))
    kept = np.arange(9)[None] < np.array([9, 1, 4, 8, 2, 9])[:, None]
    crf = torchcrf.CRF(5, batch_first=True)
    with torch.no_grad():
        crf.transitions.copy_(torch.tensor(transitions))
        crf.start_transitions.copy_(torch.tensor(first))
        crf.end_transitions.copy_(torch.tensor(last))
    scores, mask = torch.tensor(emissions, requires_grad=True), torch.tensor(kept)
    want = crf(scores, torch.tensor(tags), mask=mask, reduction="none")
    want.sum().backward()

    def total(emissions, transitions, first, last):
        found = log_likelihood(
            emissions, transitions, jnp.array(tags), jnp.array(kept),
            first=first, last=last,
        )  # fmt: skip
        return found.sum(), found

    arrays = [jnp.array(a) for a in (emissions, transitions, first, last)]
    grads, got = jax.grad(total, (0, 1, 2, 3), has_aux=True)(*arrays)
    np.testing.assert_allclose(got, want.detach(), rtol=1e-5, atol=1e-5)
    theirs = (scores, crf.transitions, crf.start_transitions, crf.end_transitions)
    for grad, their in zip(grads, theirs, strict=True):
        np.testing.assert_allclose(grad, their.grad, rtol=1e-4, atol=1e-5)
    best = viterbi(*arrays[:2], jnp.array(kept), first=arrays[2], last=arrays[3])
    paths = crf.decode(scores.detach(), mask=mask)
    for row, keep, path in zip(best.tags, kept, paths, strict=True):
        assert row[keep].tolist() == path
