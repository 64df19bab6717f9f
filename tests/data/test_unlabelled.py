from functools import partial

import numpy as np
import pytest

from kexue_jax.data import unlabelled as module
from kexue_jax.data.annotated import text_of
from kexue_jax.data.entities import entities
from kexue_jax.data.events import events
from kexue_jax.data.questions import questions
from kexue_jax.data.relations import marked_pairs, relations
from kexue_jax.data.unlabelled import (
    CHINESE,
    ENGLISH,
    SETS,
    Parts,
    python_documents,
    standing_in,
    unlabelled,
)


def _as_given(name, path, *, found):
    return found


def given(monkeypatch, **parts):
    for name, (train, apart) in parts.items():
        found = Parts(train, apart)
        monkeypatch.setitem(module.SETS, name, partial(_as_given, found=found))


def slowly_standing_in(texts, others):
    def same(text, other):
        a, b = ("".join(x.split()) for x in (text, other))
        return a == b or (len(b) >= 10 and b in a) or (len(a) >= 10 and a in b)

    return {n for n, text in enumerate(texts) if any(same(text, o) for o in others)}


def test_texts_that_have_each_other_in_them_are_found_as_a_slow_reader_finds_them():
    draws = np.random.default_rng(0)

    def text(most):
        return "".join(draws.choice([*"ab "], draws.integers(1, most)))

    texts, others = [text(40) for _ in range(60)], [text(16) for _ in range(40)]
    want = slowly_standing_in(texts, others)
    assert 0 < len(want) < 60
    assert standing_in(texts, others) == want
    assert standing_in(others, texts) == slowly_standing_in(others, texts)


def test_what_any_of_the_sets_holds_out_is_not_learned_from(monkeypatch):
    given(
        monkeypatch,
        a=(["held out by b, whole", "one", "two", "two ", "three"], ["one"]),
        b=(["four", "t h r e e", ""], ["held out by b", "two and something more"]),
    )
    found = unlabelled(["a", "b"], held_out=0.4)
    assert sorted(found.train + found.valid) == ["four", "three", "two"]
    assert found.notes["repeated"] == 3
    assert found.notes["held_out_elsewhere"] == 2


def test_texts_are_held_out_by_the_seed_and_known_by_their_fingerprint(monkeypatch):
    given(monkeypatch, a=([f"text {n}" for n in range(20)], []))
    first, again, other = (
        unlabelled(["a"], held_out=0.25, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.valid != other.valid
    assert len(first.valid) == 5
    assert not {*first.train} & {*first.valid}
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


def test_other_names_and_shares_that_leave_nothing_are_refused(monkeypatch):
    given(monkeypatch, a=(["x", "y"], []))
    with pytest.raises(
        ValueError, match=r"names must be of .*ner_msra_train.*'nothing'"
    ):
        unlabelled(["a", "nothing"])
    with pytest.raises(ValueError, match="got none"):
        unlabelled([])
    for share in (0.01, 1.0):
        with pytest.raises(ValueError, match=f"got {share} of 2 texts"):
            unlabelled(["a"], held_out=share)


def test_documentation_is_read_in_passages_of_which_whole_topics_are_held_out():
    found = python_documents(seed=2)
    assert len(found.train) > 5000
    assert len(found.valid) > 100
    assert not {*found.train} & {*found.valid}
    assert not any("\n\n" in text for text in found.train)


def test_every_set_that_is_named_is_known_and_none_is_there_twice():
    names = (*CHINESE, *ENGLISH)
    assert {*names} <= SETS.keys()
    assert len({*names}) == len(names)


EXTRACTION = {
    **dict.fromkeys(
        ("ner_weibo", "ner_cluener", "ner_resume", "ner_cmeee_v2", "ner_msra_train"),
        entities,
    ),
    "re_duie": relations,
    "re_finre": marked_pairs,
    "ee_fewfc": events,
    "mrc_cmrc2018": questions,
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "ner_weibo"))
        for name in EXTRACTION
    ],
)
def test_no_text_of_a_part_to_choose_by_or_to_report_on_is_learned_from(name, real_set):
    real_set(name)
    whole = EXTRACTION[name](name)
    found = unlabelled([name])
    learned = {"".join(text.split()) for text in found.train + found.valid}
    apart = ["".join(text_of(e).split()) for e in (*whole.valid, *whole.test)]
    assert not learned & {*apart}
    every = "\n".join(learned)
    assert not [text for text in apart if len(text) >= 10 and text in every]
    # Whoever reads all of the set would learn from them.
    assert len({*apart}) > 0.1 * len(learned) / 10


@pytest.mark.slow
def test_what_one_set_holds_out_is_not_learned_from_in_another(real_set):
    for name in ("ner_msra_train", "ner_peoples_daily"):
        real_set(name)
    alone = unlabelled(["ner_msra_train"])
    both = unlabelled(["ner_msra_train", "ner_peoples_daily"])
    daily = entities("ner_peoples_daily")
    apart = {"".join(text_of(e).split()) for e in (*daily.valid, *daily.test)}

    def learned(found):
        return {"".join(text.split()) for text in found.train + found.valid}

    assert len(learned(alone) & apart) > 100  # the sets share their source
    assert not learned(both) & apart
