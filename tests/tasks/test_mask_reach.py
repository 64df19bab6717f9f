from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.attention.masks import sparse_mask
from kexue_jax.tasks.mask_reach import MaskReach, _layers, _pairs_of_union


def test_layers_are_counted_by_powers_of_the_mask():
    chain = np.eye(5, dtype=bool) | np.eye(5, k=1, dtype=bool)
    ring = chain | np.eye(5, k=-4, dtype=bool)
    assert _layers(ring) == 4
    assert _layers(chain) == 0
    assert _layers(np.ones((3, 3), bool)) == 1


def test_pairs_counted_by_distance_are_those_of_the_mask():
    for length, rate in ((1, 1), (7, 3), (20, 4)):
        mask = jax.jit(partial(sparse_mask, length, length, rate=rate))()
        want = int(np.asarray(mask).sum())
        assert _pairs_of_union(length, rate) == want


@pytest.mark.slow
def test_closed_forms_and_gradients_at_a_small_size(keys):
    task = MaskReach(length=12, rate=3, lengths=(64, 256))
    found = task.evaluate(*task.init(next(keys)))
    assert found["local/pairs"] == 12 * 7 - 3 * 4
    assert found["atrous/pairs"] == 12 * 12 / 3
    assert found["local/layers"] == 4
    assert found["gradient/wrong"] == 0
    [pictures, *_] = task.exhibits(*task.init(jax.random.key(0)))
    assert len(pictures.labels) == len(pictures.pictures)
