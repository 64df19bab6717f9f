"""Every attention function on eight devices: `pmap`, and arrays that are sharded."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import kexue_jax.attention as room
from kexue_jax.position.rotary import rotary

ROWS = np.sin(np.arange(40, dtype=np.float32)).reshape(5, 2, 4)
PROJECTION = np.cos(np.arange(24, dtype=np.float32)).reshape(6, 4)
BIASES = dict(content_bias=ROWS[0], position_bias=ROWS[1])
ATTENTIONS = {
    "softmax_attention": room.softmax_attention,
    "blocked_attention": partial(room.blocked_attention, query_block=2, key_block=2),
    "local_attention": partial(room.local_attention, radius=1, block=2),
    "atrous_attention": partial(room.atrous_attention, rate=2),
    "block_sparse_attention": partial(
        room.block_sparse_attention, layout=np.tri(2, dtype=bool), block=2
    ),
    "entropy_invariant_attention": room.entropy_invariant_attention,
    "taylor_attention": room.taylor_attention,
    "linear_attention": partial(room.linear_attention, chunk_size=2),
    "linear_attention_parallel": room.linear_attention_parallel,
    "performer_attention": partial(room.performer_attention, projection=PROJECTION),
    "efficient_attention": room.efficient_attention,
    "nystrom_attention": partial(room.nystrom_attention, landmarks=2),
    "shaw_attention": partial(room.shaw_attention, key_table=ROWS[:, 0]),
    "transformer_xl_attention": partial(
        room.transformer_xl_attention,
        **BIASES,
        relative_key=np.concatenate([ROWS, ROWS[:2]]),
    ),
    "deberta_attention": partial(
        room.deberta_attention, relative_key=ROWS[:4], relative_query=ROWS[1:]
    ),
    "rectified_rotary_attention": partial(
        room.rectified_rotary_attention, window=2, rotate=rotary
    ),
    "grouped_attention": partial(
        room.grouped_attention, attention=room.taylor_attention
    ),
}
QUICK = ("blocked_attention", "linear_attention")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in ATTENTIONS],
)
def test_eight_devices_give_what_one_gives_in_value_and_gradient(name, keys):
    arrays = [jax.random.normal(next(keys), (8, 4, 2, 4)) for _ in range(3)]
    without = ("nystrom_attention", "linear_attention_parallel")
    options = {} if name in without else {"is_causal": True}
    attend = partial(ATTENTIONS[name], **options)

    def run(*arrays):
        out, pull = jax.vjp(attend, *arrays)
        return out, *pull(jnp.cos(out))

    want = jax.jit(run)(*arrays)
    split = jax.pmap(run)(*(x[:, None] for x in arrays))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec("data")))
    sharded = jax.jit(run)(*spread)
    for one, apart, whole in zip(want, split, sharded, strict=True):
        np.testing.assert_allclose(apart[:, 0], one, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(whole, one, rtol=1e-4, atol=1e-5)


def test_no_attention_function_is_left_out():
    functions = {
        name
        for name in room.__all__
        if name.endswith("attention") or name == "linear_attention_parallel"
    }
    others = {"landmark_attention", "leaky_rectified_rotary_attention"}
    assert functions - others - {"scored_attention"} == ATTENTIONS.keys()
