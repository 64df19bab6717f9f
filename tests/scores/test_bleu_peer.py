import numpy as np
import pytest

from kexue_jax.scores.bleu import corpus_bleu, sentence_bleu
from tests.scores.test_bleu import drawn, padded

pytestmark = pytest.mark.peer


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("none", "none"), ("floor", "floor"), ("add_k", "add-k"), ("exponential", "exp")],
)
def test_sacrebleu_gives_the_same(ours, theirs):
    from sacrebleu.metrics.bleu import BLEU

    def text(tokens):
        return " ".join(f"w{t}" for t in tokens)

    cases = drawn(count=40, seed=1)
    arrays = padded(cases)
    peer = BLEU(tokenize="none", smooth_method=theirs, effective_order=True, force=True)
    want = [
        peer.sentence_score(text(c), [text(r) for r in rs]).score for c, rs in cases
    ]
    got = 100.0 * np.asarray(sentence_bleu(*arrays, smoothing=ours))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)
    peer = BLEU(tokenize="none", smooth_method=theirs, force=True)
    for count in (len(cases), 3):
        streams = [[text(rs[k]) for _, rs in cases[:count]] for k in range(3)]
        want = peer.corpus_score([text(c) for c, _ in cases[:count]], streams).score
        got = 100.0 * corpus_bleu(*(a[:count] for a in arrays), smoothing=ours)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)
