import numpy as np
import pytest

from kexue_jax.data.labelled import digit_pixels, labelled, table


def test_columns_are_scaled_on_the_rows_to_learn_from_alone():
    data = table("breast_cancer", batch=10_000)
    rows = data.source(0)["inputs"]
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=0.05)
    assert abs(np.concatenate([b["inputs"] for b in data.held_out]).mean()) < 0.5
    pixels = digit_pixels(batch=10)
    assert pixels.source(0)["inputs"].shape == (10, 64)
    assert (
        0 <= pixels.source(0)["inputs"].min() <= pixels.source(0)["inputs"].max() < 17
    )
    with pytest.raises(ValueError, match="name must be one of"):
        table("iris")
    with pytest.raises(ValueError, match="held_out must be at least 2"):
        labelled(np.zeros((3, 1)), np.zeros(3), batch=1, held_out=1, seed=0)
