import json

import pytest

from kexue_jax.data.annotated import MarkedPair, Relations, Span, Triple
from kexue_jax.data.relations import (
    Stated,
    located,
    marked_pairs,
    places,
    read_duie,
    read_finre,
    read_semeval,
    read_triples,
    relations,
)


def test_places_are_all_of_them_and_whole_words_first():
    assert places("aaa", "aa") == [0, 1]
    assert places("a.c abc", "a.c") == [0]
    assert places("an Austrian in Austria", "Austria", words=True) == [15]
    assert places("an Austrian", "Austria", words=True) == [3]
    assert places("x", "") == places("", "x") == []


def test_the_first_places_make_one_triple_and_all_places_every_pair():
    text, stated = "海宴写琅琊榜，海宴", Stated("琅琊榜", "作者", "海宴", "书", "人")
    work = Span(3, 6, "书")
    first = Triple(work, "作者", Span(0, 2, "人"))
    assert located(text, stated) == [first]
    every = located(text, stated, occurrence="all")
    assert every == [first, first._replace(object=Span(7, 9, "人"))]
    assert located(text, stated._replace(object="我")) == []
    with pytest.raises(ValueError, match="occurrence must be 'first' or 'all'"):
        located(text, stated, occurrence="last")


def duie(text, *triples):
    keys = "subject", "predicate", "object", "subject_type", "object_type"
    rows = [dict(zip(keys, triple, strict=True)) for triple in triples]
    return json.dumps({"text": text, "spo_list": rows}, ensure_ascii=False)


def test_objects_of_duie_are_flattened_to_predicates_with_keys():
    complex_one = (
        "周星驰",
        "饰演",
        {"@value": "至尊宝", "inWork": "大话西游"},
        "人",
        {"@value": "角色", "inWork": "作品"},
    )
    lost = ("周星驰", "配音", {"@value": "石班瑜"}, "人", {"@value": "人"})
    text = "周星驰在大话西游里演至尊宝"
    read = read_duie([duie(text, complex_one, complex_one, lost), "\n"])
    person = Span(0, 3, "人")
    want = (
        Triple(person, "饰演@value", Span(10, 13, "角色")),
        Triple(person, "饰演@inWork", Span(4, 8, "作品")),
    )
    assert read.examples == [Relations(text, want)]
    assert read.notes == {"unmatched": 1, "repeated_triples": 2}


def test_triples_of_words_are_found_as_whole_words():
    rows = [{"text": "Iranian in Iran", "triple_list": [["Iran", "has", "Iranian"]]}]
    [example] = read_triples([json.dumps(rows)]).examples
    assert example.triples == (
        Triple(Span(11, 15, "entity"), "has", Span(0, 7, "entity")),
    )


def test_marks_of_semeval_are_taken_out():
    lines = [
        '12\t"A <e1>red cell</e1> is in <e2>blood</e2>."\r\n',
        "Part(e1,e2)\r\n",
        "Comment: an <e1> here\r\n",
        "\r\n",
    ]
    want = MarkedPair(
        "A red cell is in blood.",
        Span(2, 10, "head"),
        Span(17, 22, "tail"),
        "Part(e1,e2)",
    )
    assert read_semeval(lines).examples == [want]
    with pytest.raises(ValueError, match="line 1 must mark e1 and then e2"):
        read_semeval(['1\t"<e2>A</e2> and <e1>b</e1>"\n'])


def test_places_of_finre_do_not_overlap_if_they_can():
    lines = ["京东\t京东方\t竞争\t京东方与京东\n", "\n", "甲\t甲乙\t自己\t甲乙\n"]
    first, second = read_finre(lines).examples
    assert (first.head, first.tail) == (Span(4, 6, "head"), Span(0, 3, "tail"))
    assert (second.head, second.tail) == (Span(0, 1, "head"), Span(0, 2, "tail"))
    assert read_finre(lines).notes == {"overlapping": 1}
    for line in ("甲\t乙\t丙\n", "甲\t乙\t丙\t甲\n"):
        with pytest.raises(ValueError, match="line 1 must be a head, a tail"):
            read_finre([line])


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="name must be one of re_duie"):
        relations("duie")
    with pytest.raises(ValueError, match="name must be one of re_semeval"):
        marked_pairs("re_duie")


def sizes(whole):
    return [len(part) for part in whole[:3]]


def test_duie_is_found_whole(real_set):
    whole = relations("re_duie", path=real_set("re_duie"))
    assert sizes(whole) == [7559, 839, 1000]
    assert whole.notes["unmatched"] == whole.notes["shared"] == 0
    triples = [triple for part in whole[:3] for e in part for triple in e.triples]
    assert len(triples) == 17649 - 29
    assert whole.notes["repeated_triples"] == 29
    predicates = {t.predicate.partition("@")[0] for t in triples}
    assert len(predicates) == 47


@pytest.mark.parametrize(
    ("name", "source", "want", "notes"),
    [
        ("re_nyt", "re_nyt", [3998, 502, 500], [42, 504]),
        ("re_nyt_star", "re_nyt", [4000, 497, 502], [0, 0]),
        ("re_webnlg", "re_webnlg", [5019, 500, 703], [0, 2]),
        ("re_webnlg_star", "re_webnlg", [5019, 500, 703], [0, 104]),
    ],
)
def test_nyt_and_webnlg_have_the_counts_of_their_files(
    real_set, name, source, want, notes
):
    whole = relations(name, path=real_set(source))
    assert sizes(whole) == want
    assert [whole.notes[n] for n in ("unmatched", "repeated_triples")] == notes
    parts = [{example.text for example in part} for part in whole[:3]]
    shared = sum(map(len, parts)) - len(set.union(*parts))
    assert shared == whole.notes["shared"] == (name == "re_webnlg_star")


def test_marked_pairs_have_the_counts_of_their_files(real_set):
    whole = marked_pairs("re_finre", path=real_set("re_finre"))
    assert sizes(whole) == [13486, 1489, 3727]
    assert len({e.relation for part in whole[:3] for e in part}) == 44
    assert whole.notes == {"repeated": 10208, "shared": 32, "overlapping": 0}
    whole = marked_pairs("re_semeval2010_task8", path=real_set("re_semeval2010_task8"))
    assert sizes(whole) == [6398, 802, 800]
    assert len({e.relation for part in whole[:3] for e in part}) == 19
    assert whole.notes == {"repeated": 25, "shared": 0}
