"""ROUGE beside rouge-score, and the posts' beside the package `rouge` 1.0.0."""

from importlib import metadata

import numpy as np
import pytest

from kexue_jax.scores.rouge import mean_character_rouge, rouge_l, rouge_n

pytestmark = pytest.mark.peer


def drawn(count, alphabet="北京大学ab "):
    draws = np.random.default_rng(0)
    return [
        [
            "".join(draws.choice([*alphabet], draws.integers(1, 15)))
            for _ in range(count)
        ]
        for _ in range(2)
    ]


def test_rouge_score_with_tokens_of_characters_gives_the_same():
    scorer = pytest.importorskip("rouge_score.rouge_scorer")

    class Characters:
        def tokenize(self, text):
            return list(text)

    peer = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Characters())
    for own, gold in zip(*drawn(200), strict=True):
        want = peer.score(gold, own)
        got = [rouge_n(own, gold, order=1), rouge_n(own, gold, order=2)]
        got.append(rouge_l(own, gold))
        for ours, theirs in zip(got, want.values(), strict=True):
            theirs = theirs.precision, theirs.recall, theirs.fmeasure
            assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("alphabet", ["北京大学", "abC北 ", "ab北. "])
def test_the_package_of_the_posts_gives_the_same(alphabet):
    rouge = pytest.importorskip("rouge")
    if metadata.version("rouge") != "1.0.0":
        pytest.skip("needs rouge 1.0.0, as later ones count otherwise")
    own, gold = drawn(300, alphabet)
    pairs = [
        (a, b)
        for a, b in zip(own, gold, strict=True)
        if a.strip(".") and b.strip(".") and a.strip()
    ]
    for a, b in pairs:
        spaced = (" ".join(text).lower() for text in (a, b))
        want = rouge.Rouge().get_scores(*spaced)[0]
        want = [want[f"rouge-{which}"]["f"] for which in ("1", "2", "l")]
        assert mean_character_rouge([a], [b]) == pytest.approx(want, abs=1e-7)
    assert len(pairs) > 200
