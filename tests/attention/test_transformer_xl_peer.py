"""Transformer-XL's scores beside those of transformers' XLNet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.transformer_xl import transformer_xl_attention
from kexue_jax.position.sinusoidal import sinusoidal_halves

pytestmark = pytest.mark.peer


@pytest.mark.parametrize(("t", "s"), [(5, 5), (3, 7)])
def test_scores_are_those_of_xlnet_also_with_a_memory(keys, t, s):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    room = pytest.importorskip("transformers.models.xlnet.modeling_xlnet")
    config = transformers.XLNetConfig(d_model=8, n_head=2, d_inner=8, n_layer=1)
    module = room.XLNetRelativeAttention(config).eval()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(
                torch.tensor(np.asarray(jax.random.normal(next(keys), tuple(p.shape))))
            )
    query, key, value = (jax.random.normal(next(keys), (2, n, 2, 4)) for n in (t, s, s))
    # Theirs has one row more at the front, of distance S, which the shift drops.
    rows = sinusoidal_halves(np.arange(s, -t, -1), size=8)
    w = {name: jnp.asarray(p.detach().numpy()) for name, p in module.named_parameters()}
    place = jnp.einsum("ld,dnh->lnh", rows, w["r"])

    def theirs(x):
        return torch.tensor(np.asarray(x)).transpose(0, 1)

    with torch.no_grad():
        want = module.rel_attn_core(
            *map(theirs, (query, key, value)),
            torch.tensor(np.asarray(place))[:, None].expand(-1, 2, -1, -1),
        )
    got = transformer_xl_attention(
        query,
        key,
        value,
        content_bias=w["r_w_bias"],
        position_bias=w["r_r_bias"],
        relative_key=place[1:],
    )
    np.testing.assert_allclose(got, want.transpose(0, 1).numpy(), rtol=1e-4, atol=1e-5)
