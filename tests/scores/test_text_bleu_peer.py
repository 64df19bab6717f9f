"""BLEU of texts beside NLTK and sacrebleu."""

import numpy as np
import pytest

from kexue_jax.scores.text_bleu import corpus_text_bleu, mean_character_bleu

pytestmark = pytest.mark.peer


def drawn(count=100):
    draws = np.random.default_rng(0)
    return [
        [
            "".join(draws.choice([*"北京大学aB "], draws.integers(1, 12)))
            for _ in range(count)
        ]
        for _ in range(2)
    ]


def test_nltk_gives_the_same_mean():
    bleu = pytest.importorskip("nltk.translate.bleu_score")
    smooth = bleu.SmoothingFunction().method1
    for own, gold in zip(*drawn(), strict=True):
        tokens = [" ".join(text).lower().split(" ") for text in (own, gold)]
        want = bleu.sentence_bleu([tokens[1]], tokens[0], smoothing_function=smooth)
        if own.strip():
            got = mean_character_bleu([own], [gold])
            assert got == pytest.approx(want, rel=1e-12)


def test_the_mean_over_texts_is_not_the_score_of_the_corpus():
    pytest.importorskip("sacrebleu")
    own, gold = ["北京大学的", "上"], ["北京大学的", "上海的人"]
    mean = mean_character_bleu(own, gold)
    assert abs(corpus_text_bleu(own, [gold], tokenize="char") - mean) > 0.05


@pytest.mark.parametrize("tokenize", ["zh", "char"])
def test_sacrebleu_takes_characters_of_chinese_for_tokens(tokenize):
    sacrebleu = pytest.importorskip("sacrebleu")
    own, gold = drawn()
    want = sacrebleu.corpus_bleu(own, [gold], tokenize=tokenize).score
    got = corpus_text_bleu(own, [gold], tokenize=tokenize)
    assert got == pytest.approx(want / 100, rel=1e-12)
    assert corpus_text_bleu(["北京大学"], [["北京大学"]], tokenize=tokenize) == (
        pytest.approx(1.0)
    )
    assert corpus_text_bleu(["北京大学"], [["北京大学"]], tokenize="none") == 0.0
