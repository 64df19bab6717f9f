import jax
import numpy as np
import pytest

from kexue_jax.algorithms.random_projection import (
    Dense,
    gaussian_projection,
    sparse_projection,
)
from kexue_jax.tasks.projection_distortion import ProjectionDistortion


def cut(rng, *, input_size, output_size):
    """Leaves the first entries: no projection of random points at all."""
    del rng
    return Dense(np.eye(output_size, input_size, dtype=np.float32))


def make(**options):
    kinds = dict(gaussian=gaussian_projection, sparse=sparse_projection, cut=cut)
    settings = dict(kinds=kinds, count=6, size=40, draws=3, factors=(1.0, 4.0))
    return ProjectionDistortion(**settings | options)


def test_changes_fall_with_the_dimension_and_a_cut_loses_single_entries():
    task = make()
    _, extras = task.init(jax.random.key(0))
    scores = task.evaluate({}, extras)
    for kind in ("gaussian", "sparse"):
        few, many = (scores[f"dense/{kind}_worst_{c}"] for c in (1, 4))
        assert many < few
    assert scores["dense/gaussian_kept_1"] == 0.0
    assert scores["single/cut_worst_1"] == 1.0  # two points that both become zero
    assert 0.0 <= scores["bound/kept_1"] <= scores["bound/kept_4"] <= 1.0
    assert len(task.exhibits({}, extras)) == 3


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="count must be from 2 to 40, got 41"):
        make(count=41)
    with pytest.raises(ValueError, match=r"epsilon must lie in \(0, 1\)"):
        make(epsilon=1.0)
