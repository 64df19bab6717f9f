from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.nn.bag import BagClassifier
from kexue_jax.nn.functional import functional


def test_scores_are_those_of_the_mean_vector_and_filling_does_not_count(keys):
    init, apply = functional(partial(BagClassifier, 3, vocabulary=6, features=4))
    params, extras = jax.jit(init)(next(keys))
    tokens = np.array([[1, 5, 5, 0], [2, 0, 0, 0], [0, 0, 0, 0]], np.int32)
    got, _ = jax.jit(apply)(params, extras, tokens)
    table, head = np.asarray(params["embedding"]), params["head"]
    means = [table[[1, 5, 5]].mean(axis=0), table[2], np.zeros(4)]
    want = np.array(means) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_table_of_nothing_is_refused(keys):
    for classes, vocabulary in ((0, 3), (2, 0)):
        make = partial(BagClassifier, classes, vocabulary=vocabulary, features=2)
        with pytest.raises(ValueError, match="must be at least 1, got"):
            functional(make)
