import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.nn.functional import functional
from kexue_jax.nn.global_pointer import GlobalPointer

pytestmark = pytest.mark.peer

B, T, D, C, H = 2, 40, 16, 3, 8


def torch_loss(kernel, bias, states, kept, labels):
    """All scores with rotary positions, masked, and the dense loss of each map."""
    torch = pytest.importorskip("torch")
    mapped = (states @ kernel + bias).reshape(B, T, C, 2, H)
    turn = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(0, H, 2) / H)
    turn = torch.polar(torch.ones_like(turn), turn)[:, None, None]
    pairs = torch.view_as_complex(mapped.reshape(B, T, C, 2, H // 2, 2).contiguous())
    query, key = torch.view_as_real(pairs * turn).flatten(-2).unbind(3)
    scores = torch.einsum("bich,bjch->bcij", query, key) / H**0.5
    spans = kept[:, None, :, None] & kept[:, None, None, :]
    spans = spans & torch.ones(T, T, dtype=torch.bool).triu()
    parts = []
    for chosen, sign in ((labels & spans, -1.0), (~labels & spans, 1.0)):
        terms = torch.where(chosen, sign * scores, -torch.inf).reshape(B, C, -1)
        terms = torch.cat([terms, torch.zeros(B, C, 1)], dim=-1)
        parts.append(torch.logsumexp(terms, dim=-1))
    return parts[0] + parts[1]


def test_loss_and_gradients_are_those_of_a_torch_head_that_holds_all_scores():
    torch = pytest.importorskip("torch")
    draws = np.random.default_rng(0)
    states = draws.normal(size=(B, T, D)).astype(np.float32)
    kept = np.arange(T) < np.array([[T], [25]])
    positives = np.sort(draws.integers(0, 25, (B, C, 5, 2)), axis=-1).astype(np.int32)
    labels = np.zeros((B, C, T, T), bool)
    for b, c, k in np.ndindex(B, C, 5):
        labels[b, c][tuple(positives[b, c, k])] = True
    init, apply = functional(
        lambda *, rngs: GlobalPointer(D, types=C, head_size=H, rngs=rngs)
    )
    params, extras = init(jax.random.key(0))

    @jax.jit
    def ours(params, states):
        def total(params, states):
            losses, _ = apply(params, extras, states, kept, positives, method="loss")
            return jnp.sum(losses), losses

        return jax.grad(total, argnums=(0, 1), has_aux=True)(params, states)

    (grads, into_states), losses = ours(params, states)
    layer = params["projection"]
    leaves = [layer["kernel"], layer["bias"], states]
    leaves = [torch.tensor(np.asarray(x), requires_grad=True) for x in leaves]
    wanted = torch_loss(*leaves, torch.tensor(kept), torch.tensor(labels))
    wanted.sum().backward()
    np.testing.assert_allclose(losses, wanted.detach().numpy(), rtol=1e-5)
    found = [grads["projection"]["kernel"], grads["projection"]["bias"], into_states]
    for own, leaf in zip(found, leaves, strict=True):
        np.testing.assert_allclose(own, leaf.grad.numpy(), rtol=1e-4, atol=1e-5)
