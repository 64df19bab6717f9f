"""DeBERTa's attention beside that of transformers, with the same random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.deberta import (
    deberta_attention,
    deberta_attention_as_released,
    deberta_log_buckets,
)

pytestmark = pytest.mark.peer


@pytest.mark.parametrize(("length", "half"), [(7, 16), (7, 4)])
def test_the_released_form_is_that_of_transformers_and_the_papers_is_not(
    keys, length, half
):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    room = pytest.importorskip("transformers.models.deberta.modeling_deberta")
    config = transformers.DebertaConfig(
        hidden_size=8,
        num_attention_heads=2,
        relative_attention=True,
        max_relative_positions=half,
        pos_att_type=["c2p", "p2c"],
    )
    module = room.DisentangledSelfAttention(config).eval()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(
                torch.tensor(np.asarray(jax.random.normal(next(keys), tuple(p.shape))))
            )
    inputs = jax.random.normal(next(keys), (2, length, 8))
    rows = jax.random.normal(next(keys), (2 * half, 8))
    mask = jnp.ones((2, 1, length, length), bool).at[1, :, :, 5:].set(False)
    ours = [torch.tensor(np.asarray(x)) for x in (inputs, mask, rows)]
    with torch.no_grad():
        want, _ = module(
            ours[0],
            ours[1],
            relative_pos=room.build_relative_position(ours[0], ours[0]),
            rel_embeddings=ours[2],
        )
    w = {name: jnp.asarray(p.detach().numpy()) for name, p in module.named_parameters()}
    joint = (inputs @ w["in_proj.weight"].T).reshape(2, length, 2, 12)
    query, key, value = jnp.split(joint, 3, axis=-1)
    options = dict(
        relative_key=(rows @ w["pos_proj.weight"].T).reshape(-1, 2, 4),
        relative_query=(
            rows @ w["pos_q_proj.weight"].T + w["pos_q_proj.bias"][None]
        ).reshape(-1, 2, 4),
    )
    query += w["q_bias"].reshape(1, 1, 2, 4)
    value += w["v_bias"].reshape(1, 1, 2, 4)
    got = deberta_attention_as_released(query, key, value, mask, **options)
    want = want.numpy().reshape(got.shape)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    paper = deberta_attention(query, key, value, mask, **options)
    assert np.abs(paper - want).max() > 1e-2


@pytest.mark.parametrize(("buckets", "distance"), [(256, 512), (32, 128)])
def test_log_buckets_are_those_of_the_second_version(buckets, distance):
    torch = pytest.importorskip("torch")
    room = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    distances = np.arange(1 - distance, distance)
    want = room.make_log_bucket_position(torch.tensor(distances), buckets, distance)
    got = deberta_log_buckets(distances, buckets=buckets, max_distance=distance)
    np.testing.assert_array_equal(got, want.numpy())
