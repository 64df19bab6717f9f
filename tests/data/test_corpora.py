import gzip
import hashlib

import pytest

from kexue_jax.data import fetch, registry
from kexue_jax.data.annotated import Entities, Span
from kexue_jax.data.corpora import Form, apart, corpus, cut_apart, read_corpus
from kexue_jax.data.entities import read_tagged


def texts(*names):
    return [Entities(name, ()) for name in names]


MANY = texts(*(f"text {n % 40}" for n in range(100)))  # each two or three times


def test_parts_are_a_tenth_of_the_distinct_texts_and_share_none():
    whole = corpus(MANY)
    sets = [{example.text for example in part} for part in whole[:3]]
    assert [len(s) for s in sets] == [32, 4, 4]
    assert len(set.union(*sets)) == 40
    assert sum(map(len, whole[:3])) == 100
    assert whole.notes == {"repeated": 60, "shared": 0}
    order = [MANY.index(example) for example in whole.train]
    first = [n for n, at in enumerate(order) if at not in order[:n]]
    assert sorted(order[n] for n in first) == [order[n] for n in first]


def test_the_cut_follows_the_seed_and_nothing_else():
    assert corpus(MANY) == corpus(MANY, seed=0) != corpus(MANY, seed=1)


def test_parts_that_are_given_stay_whole_and_what_they_share_is_counted():
    given = texts("a", "text 1", "text 2", "text 2")
    whole = corpus(MANY, (), given)
    assert whole.test == given
    assert len({example.text for example in whole.valid}) == 4
    shared = sum(e.text in ("text 1", "text 2") for e in whole.train + whole.valid)
    assert whole.notes["shared"] == shared > 0
    only = apart(whole)
    held = {example.text for example in given}
    assert not {example.text for example in only.train + only.valid} & held
    assert len(only.train) + len(only.valid) == 100 - shared
    assert only.notes["shared"] == 0
    assert corpus(MANY, given, given).train == MANY


def test_valid_that_is_in_test_is_taken_out():
    whole = corpus(texts("a", "b", "c"), texts("b", "d"), texts("d", "a"))
    assert whole.notes["shared"] == 3
    assert apart(whole)[:3] == (texts("c"), texts("b"), texts("d", "a"))


def test_few_texts_give_one_to_each_part():
    whole = corpus(texts("a", "b", "c", "d"))
    assert [len(part) for part in whole[:3]] == [2, 1, 1]
    assert cut_apart([], 2, seed=0) == ([], [[], []])
    with pytest.raises(ValueError, match="parts must be from 0 to 9, got 10"):
        cut_apart(MANY, 10, seed=0)


def made(folder, **texts):
    """A set of packed files in a folder, by their names."""
    files = []
    for name, text in texts.items():
        content = text.encode()
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        digest = hashlib.sha256(content).hexdigest()
        row = {"name": f"{name}.gz", "packing": "gzip", "path": name}
        files.append(row | {"size": len(content), "sha256": digest})
    words = dict.fromkeys(("title", "task", "licence", "citation", "trimmed"), "words")
    about = {"name": "made", "language": "zh", "commits": {"a/b": "0" * 40}}
    return registry.parse({**words, **about, "files": files})


def test_files_are_read_into_their_parts_and_notes_are_summed(tmp_path):
    source = made(
        tmp_path,
        one="江 B-LOC\n苏 I-LOC\n\n好 O\n",
        two="上 I-LOC\n海 I-LOC\n",
        held="江 B-LOC\n苏 I-LOC\n\n江 I-LOC\n",
    )
    form = Form(source, read_tagged, ("one.gz", "two.gz"), test=("held.gz",))
    whole = read_corpus(form, path=tmp_path)
    place = Entities("江苏", (Span(0, 2, "LOC"),))
    assert whole.test == [place, Entities("江", (Span(0, 1, "LOC"),))]
    assert len(whole.train) == 2
    assert len(whole.valid) == 1
    assert {e.text for e in whole.train + whole.valid} == {"江苏", "好", "上海"}
    assert whole.notes == {"repeated": 0, "shared": 1, "repaired": 2}
    (tmp_path / "two.gz").unlink()
    with pytest.raises(fetch.DataNotFoundError, match=r"two\.gz"):
        read_corpus(form, path=tmp_path)
