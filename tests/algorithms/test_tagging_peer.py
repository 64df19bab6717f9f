"""Readings of tags beside seqeval: its strict mode and its default one."""

import numpy as np
import pytest

from kexue_jax.algorithms.tagging import repaired_spans, strict_spans, tag_names

pytestmark = pytest.mark.peer


def drawn(scheme, count=2000):
    draws = np.random.default_rng(0)
    names = tag_names(["a", "b"], scheme)
    return [
        [str(tag) for tag in draws.choice(names, draws.integers(1, 9))]
        for _ in range(count)
    ]


@pytest.mark.parametrize(("ours", "theirs"), [("BIO", "IOB2"), ("BIOES", "IOBES")])
def test_strict_spans_are_those_of_seqeval(ours, theirs):
    scheme = pytest.importorskip("seqeval.scheme")
    for tags in drawn(ours):
        found = scheme.Tokens(tags, scheme=getattr(scheme, theirs)).entities
        want = [(entity.start, entity.end, entity.tag) for entity in found]
        assert strict_spans(tags, ours) == want


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_repaired_spans_are_those_of_the_default_mode_of_seqeval(scheme):
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    for tags in drawn(scheme):
        found = labeling.get_entities(tags)
        want = [(start, stop + 1, kind) for kind, start, stop in found]
        assert repaired_spans(tags, scheme) == want
