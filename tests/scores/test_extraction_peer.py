"""F1 of entities beside seqeval, from tags of both sides."""

import numpy as np
import pytest

from kexue_jax.algorithms.tagging import repaired_spans, strict_spans, tag_names
from kexue_jax.scores.extraction import scores_by_type, set_scores

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("strict", [True, False])
def test_seqeval_gives_the_same_micro_and_class_scores(strict):
    scheme = pytest.importorskip("seqeval.scheme")
    from seqeval.metrics import sequence_labeling, v1

    draws, names = np.random.default_rng(0), tag_names(["a", "b", "c"])
    lengths = draws.integers(1, 12, 200)
    gold, predicted = (
        [[str(tag) for tag in draws.choice(names, n)] for n in lengths] for _ in "gp"
    )
    read = strict_spans if strict else repaired_spans
    spans = [[read(tags) for tags in side] for side in (gold, predicted)]

    def theirs(average):
        module = v1 if strict else sequence_labeling
        options = dict(scheme=scheme.IOB2) if strict else {}
        scores = module.precision_recall_fscore_support
        return scores(gold, predicted, average=average, **options)[:3]

    assert set_scores(*spans)[:3] == pytest.approx(theirs("micro"), rel=1e-12)
    found = scores_by_type(*spans)
    got = np.array([found[kind][:3] for kind in "abc"]).T
    np.testing.assert_allclose(got, np.array(theirs(None)), rtol=1e-12)
