"""T5's buckets beside those of transformers, which has key minus query."""

import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.t5 import t5_bucket, t5_bucket_causal

pytestmark = pytest.mark.peer


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (16, 64)])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_every_distance_has_the_bucket_of_transformers(
    buckets, distance, bidirectional
):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    relative = np.arange(-1000, 1001)
    want = t5.T5Attention._relative_position_bucket(
        torch.tensor(-relative),
        bidirectional=bidirectional,
        num_buckets=buckets,
        max_distance=distance,
    )
    bucket = t5_bucket if bidirectional else t5_bucket_causal
    got = bucket(jnp.asarray(relative), buckets=buckets, max_distance=distance)
    np.testing.assert_array_equal(got, want.numpy())
