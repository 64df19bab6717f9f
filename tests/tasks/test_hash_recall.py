from types import SimpleNamespace

import jax
import numpy as np
import pytest

from kexue_jax.tasks.hash_recall import Buckets, HashRecall


def vectors(count=60, queries=6, size=8):
    drawn = np.random.default_rng(0).normal(size=(count + queries, size))
    rows = drawn.astype(np.float32)
    return SimpleNamespace(
        corpus=rows[:count], queries=rows[count:], fingerprint=lambda: {"rows": 1}
    )


def make(**options):
    settings = dict(
        vectors=vectors(),
        k=3,
        bits=(16,),
        candidates=60,
        code=16,
        shortlists=(3,),
        tables=(1, 40),
        sign_count=1,
        polytope_count=1,
        step_count=1,
        pairs=4,
        hashes=512,
    )
    return HashRecall(**settings | options)


@pytest.mark.slow
def test_all_candidates_find_all_and_forty_tables_of_one_hash_nearly_all():
    task = make()
    params, extras = task.init(jax.random.key(0))
    scores = task.evaluate(params, extras)
    assert scores["signs/recall_16"] == scores["projected/recall_16"] == 1.0
    assert scores["shortlist/recall_3"] < 1.0
    for family in ("sign_buckets", "polytope_buckets", "step_buckets"):
        assert scores[f"{family}/recall_40"] > 0.9
        assert scores[f"{family}/recall_1"] < scores[f"{family}/recall_40"]
        assert 0.0 < scores[f"{family}/share_1"] < scores[f"{family}/share_40"] <= 1.0
    assert abs(scores["sign_buckets/expected_40"] - 1.0) < 0.02
    for name in ("signs_error", "steps_error"):
        assert scores[f"theory/{name}"] < 4.5
    assert len(task.exhibits(params, extras)) == 4


def test_the_share_at_a_recall_lies_on_the_curve_that_ends_at_everything():
    found = Buckets(np.array([0.2, 0.4]), np.array([0.1, 0.2]), None)
    assert found.share_at(0.4) == 0.2
    np.testing.assert_allclose(found.share_at(0.3), 0.15)
    np.testing.assert_allclose(found.share_at(0.7), 0.6)


def test_settings_are_the_fingerprint_and_those_that_do_not_fit_are_refused():
    assert make().fingerprint().items() >= {"rows": 1, "hashes": 512}.items()
    with pytest.raises(ValueError, match="at least k and k at most 60, got 2"):
        make(candidates=2)
    with pytest.raises(ValueError, match="at most the 6 queries, got 7"):
        make(pairs=7)
    with pytest.raises(ValueError, match="must be positive"):
        make(bits=(0,))
