import numpy as np
import pytest

from kexue_jax.data.lookup import lookup


def test_the_target_of_a_lookup_is_the_item_of_that_name():
    data = lookup(names=5, contents=7, batch=50, held_out=20)
    for batch in (data.source(3), *data.held_out["valid"]):
        asked = batch["tokens"][:, -1] - 5 * 7
        assert (np.sort(batch["tokens"][:, :-1] // 7, axis=1) == np.arange(5)).all()
        target = batch["targets"][:, -1]
        np.testing.assert_array_equal(target // 7, asked)
        assert (batch["tokens"] == target[:, None]).sum(axis=1).tolist() == [1] * len(
            asked
        )
    assert (data.source(3)["tokens"] == data.source(3)["tokens"]).all()
    assert (data.source(3)["tokens"] != data.source(4)["tokens"]).any()
    with pytest.raises(ValueError, match="names >= 1"):
        lookup(names=0)
