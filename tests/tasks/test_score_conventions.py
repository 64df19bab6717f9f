import jax
import numpy as np
import pytest

from kexue_jax.data.drawn_annotations import drawn
from kexue_jax.data.first_sentences import first_sentences
from kexue_jax.scores.rouge import rouge_l
from kexue_jax.scores.text_bleu import floored_bleu
from kexue_jax.tasks.score_conventions import SYSTEMS, ScoreConventions

TEXTS = first_sentences(drawn("weather", train=60), count=12)
TASK = ScoreConventions(texts=TEXTS)


def test_texts_have_to_be_there():
    for texts, message in (([], "got 0 with 0"), (["甲", ""], "got 2 with 1 empty")):
        with pytest.raises(ValueError, match=message):
            ScoreConventions(texts=texts)


def test_scores_are_those_of_each_pair():
    extras = TASK.init(jax.random.key(3))[1]
    found = TASK.evaluate({}, extras)
    assert found == TASK.evaluate({}, extras)
    half = [text[: len(text) // 2] for text in TEXTS]
    pairs = list(zip(half, TEXTS, strict=True))
    want = np.mean([rouge_l(own, gold).f1 for own, gold in pairs])
    assert found["cut/rouge_l_counts"] == pytest.approx(want)
    want = np.mean([floored_bleu(own, [gold]) for own, gold in pairs])
    assert found["cut/bleu_posts"] == pytest.approx(want)
    whole = np.mean([found[f"{way}/rouge_2_distinct"] for way in SYSTEMS])
    assert found["all/rouge_2_distinct"] == pytest.approx(whole)
    for way in SYSTEMS:
        posts, counts = (found[f"{way}/rouge_1_{c}"] for c in ("posts", "counts"))
        assert posts == pytest.approx(counts)
        assert 0.0 < found[f"{way}/bleu_corpus"] < 1.0


def test_each_way_spoils_a_sentence_as_it_says():
    draws = np.random.default_rng(0)
    text = "一二三四五六七八九十"
    made = {name: way(text, draws, "甲") for name, way in SYSTEMS.items()}
    assert made["cut"] == "一二三四五"
    assert made["loops"] == "一二三四五六" + "三四五六三四五六三"
    assert made["swapped"] == "六七八九十一二三四五"
    kept = [a for a, b in zip(made["replaced"], text, strict=True) if a == b]
    assert set(made["replaced"]) - set(text) <= {"甲"}
    assert len(kept) > 4
