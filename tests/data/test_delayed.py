import numpy as np
import pytest

from kexue_jax.data.delayed import DelayedSymbol


def test_the_label_is_the_first_symbol_and_stands_as_far_back_as_the_lag():
    data = DelayedSymbol(lags=(3, 1), symbols=4, others=2, batch=50, held_out_rows=9)
    for batch in (data.source(7), data.held_out):
        for place, lag in enumerate((3, 1)):
            row, kept = batch["tokens"][:, place], batch["kept"][:, place]
            assert (kept.sum(axis=1) == lag + 1).all()
            np.testing.assert_array_equal(row[:, -lag - 1], batch["label"][:, place])
            assert (row[:, -lag:] >= 4).all()
            assert (row[:, -lag:] < 6).all()
    assert (data.source(7)["tokens"] == data.source(7)["tokens"]).all()
    assert (data.source(7)["tokens"] != data.source(8)["tokens"]).any()
    with pytest.raises(ValueError, match="lags and others"):
        DelayedSymbol(lags=(0,))
