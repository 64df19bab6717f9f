import json

import pytest

from kexue_jax.data import fetch
from kexue_jax.data.annotated import Entities, Span, spans_of
from kexue_jax.data.entities import (
    SETS,
    WEIBO_NAMED,
    WEIBO_NOMINAL,
    entities,
    read_cluener,
    read_cmeee,
    read_tagged,
)


def test_inclusive_ends_become_half_open_once():
    row = {"text": "浙商银行的叶老桂与叶老桂", "label": {}}
    row["label"] = {
        "name": {"叶老桂": [[9, 11], [5, 7]]},
        "company": {"浙商银行": [[0, 3]]},
    }
    got = read_cluener([json.dumps(row) + "\n", "\n"]).examples
    spans = Span(0, 4, "company"), Span(5, 8, "name"), Span(9, 12, "name")
    assert got == [Entities(row["text"], spans)]
    row["label"]["name"]["叶老桂"] = [[9, 10]]
    with pytest.raises(ValueError, match="must be '叶老桂', got '叶老'"):
        read_cluener([json.dumps(row)])


def test_nested_entities_stay_and_repeated_ones_are_one():
    marked = [(0, 3, "sym", "腰部疼痛"), (0, 1, "bod", "腰部"), (0, 1, "bod", "腰部")]
    keys = "start_idx", "end_idx", "type", "entity"
    rows = [
        {
            "text": "腰部疼痛",
            "entities": [dict(zip(keys, m, strict=True)) for m in marked],
        }
    ]
    got = read_cmeee(json.dumps(rows, indent=1).splitlines(keepends=True)).examples
    assert got == [Entities("腰部疼痛", (Span(0, 2, "bod"), Span(0, 4, "sym")))]


def test_tagged_files_of_every_form_are_read():
    lines = "江 B-LOC\n苏 I-LOC\n人 O\n\n\n王 I-PER\n".splitlines(keepends=True)
    got = read_tagged(lines)
    want = [
        Entities("江苏人", (Span(0, 2, "LOC"),)),
        Entities("王", (Span(0, 1, "PER"),)),  # it lacks its B
    ]
    assert got == (want, {"repaired": 1})
    lines = ["江 B-LOC\n", "苏 E-LOC\n", "人 S-PER"]
    got = read_tagged(lines, scheme="BMES").examples[0]
    assert got.spans == (Span(0, 2, "LOC"), Span(2, 3, "PER"))
    lines = ["科0\tB-PER.NOM\n", "e12\tI-PER.NOM\n"]
    got = read_tagged(lines, separator="\t", first_only=True).examples
    assert got == [Entities("科e", (Span(0, 2, "PER.NOM"),))]


def test_lines_of_another_form_are_refused():
    for line in ("江", "江 ", " O"):
        with pytest.raises(ValueError, match="line 2 must be a character"):
            read_tagged(["江 O\n", line])
    with pytest.raises(ValueError, match="a line must have one character"):
        read_tagged(["江苏 O"])
    with pytest.raises(ValueError, match="a tag of BIO must be"):
        read_tagged(["江 M-LOC"])
    with pytest.raises(ValueError, match="name must be one of ner_cluener"):
        entities("cluener")


def test_files_that_are_not_there_are_said_to_be_missing(tmp_path):
    with pytest.raises(fetch.DataNotFoundError, match="train"):
        entities("ner_resume", path=tmp_path)


def counts(whole):
    return [sum(len(example.spans) for example in part) for part in whole[:3]]


def sizes(whole):
    return [len(part) for part in whole[:3]]


def test_cluener_has_the_counts_of_its_table(real_set):
    whole = entities("ner_cluener", path=real_set("ner_cluener"))
    assert len(whole.train) + len(whole.valid) == 10748
    assert len(whole.test) == 1343
    *learned, held_out = counts(whole)
    assert (sum(learned), held_out) == (23972, 3072)
    both = whole.train + whole.valid
    assert max(b - a for e in both for a, b, _ in e.spans) == 44
    nested = [e for e in both if any(a[1] > b[0] for a, b in pairs(e.spans))]
    assert len(nested) == 1  # the title of a book that names two banks
    assert len({span.type for e in both for span in spans_of(e)}) == 10
    mean = sum(len(e.text) for e in both) / len(both)
    assert mean == pytest.approx(37.38, abs=0.005)
    assert whole.notes == {"repeated": 0, "shared": 0}


def pairs(spans):
    return [(a, b) for i, a in enumerate(spans) for b in spans[i + 1 :]]


def test_resumes_have_the_counts_of_their_files(real_set):
    whole = entities("ner_resume", path=real_set("ner_resume"))
    assert sizes(whole) == [3821, 463, 477]
    assert counts(whole) == [13440, 1497, 1630]  # strict reading has 13,436
    assert whole.notes["repaired"] == 4
    assert len({span.type for e in whole.train for span in e.spans}) == 8
    assert sum(len(e.text) for e in whole.train) == 124099


def test_weibo_comes_named_and_nominal(real_set):
    path = real_set("ner_weibo")
    whole = entities("ner_weibo", path=path)
    assert sizes(whole) == [1350, 270, 270]
    assert counts(whole) == [1895, 389, 418]
    assert whole.notes == {"repeated": 116, "shared": 88, "repaired": 14}
    named = entities("ner_weibo", types=WEIBO_NAMED, path=path)
    nominal = entities("ner_weibo", types=WEIBO_NOMINAL, path=path)
    assert sizes(named) == sizes(whole)
    for a, b, both in zip(counts(named), counts(nominal), counts(whole), strict=True):
        assert 0 < a < both
        assert a + b == both


def test_the_peoples_daily_and_cmeee_have_the_counts_of_their_files(real_set):
    whole = entities("ner_peoples_daily", path=real_set("ner_peoples_daily"))
    assert sizes(whole) == [4173, 463, 2318]
    assert counts(whole) == [6948, 759, 3819]
    whole = entities("ner_cmeee_v2", path=real_set("ner_cmeee_v2"))
    assert sizes(whole) == [3200, 400, 400]
    assert sum(counts(whole)) == 21037
    nested = sum(a[1] > b[0] for e in whole.train for a, b in pairs(e.spans))
    assert nested > 2000


@pytest.mark.slow
def test_msra_has_the_counts_of_its_file(real_set):
    whole = entities("ner_msra_train", path=real_set("ner_msra_train"))
    assert sum(sizes(whole)) == 50658
    assert sum(counts(whole)) == 74709
    assert whole.notes == {"repeated": 42, "shared": 0, "repaired": 6}
    parts = [{example.text for example in part} for part in whole[:3]]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_every_set_names_files_of_the_registry():
    for form in SETS.values():
        known = {file.name for file in fetch.registry.load(form.source).files}
        assert {*form.train, *form.valid, *form.test} <= known
