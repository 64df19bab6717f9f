import numpy as np
import pytest

from kexue_jax.data.places import places


def test_the_target_of_a_zero_is_its_place():
    data = places(length=5, batch=3)
    assert data.vocabulary == 5
    for batch, count in ((data.source(7), 3), (data.held_out["valid"][0], 1)):
        np.testing.assert_array_equal(batch["targets"], [range(5)] * count)
        assert batch["tokens"].shape == batch["weight"].shape == (count, 5)
        assert not batch["tokens"].any()
        assert batch["weight"].all()
    with pytest.raises(ValueError, match="length 2 on, got 1"):
        places(length=1)
