import pytest

from kexue_jax.data.prose import (
    SEPARATOR,
    docstrings,
    is_drawn,
    paragraphs,
    passages,
    python_prose,
    python_topics,
    same,
    split,
)


@pytest.mark.parametrize("make", [python_topics, python_prose])
def test_no_held_out_paragraph_is_in_the_training_text(make):
    text = make(seed=3)
    train = {same(paragraph) for paragraph in paragraphs(text.train)}
    valid = [same(paragraph) for paragraph in paragraphs(text.valid)]
    assert valid
    assert not train.intersection(valid)
    assert len(valid) == len(set(valid))


def test_the_topics_are_prose_of_the_promised_size_and_share():
    sizes = python_topics().sizes()
    total = sizes["train_bytes"] + sizes["valid_bytes"]
    assert total > 300_000
    assert 0.05 < sizes["valid_bytes"] / total < 0.2


def test_the_split_is_a_function_of_the_seed():
    one, same_seed, other = (python_topics(seed=seed) for seed in (0, 0, 1))
    assert one == same_seed
    assert one.fingerprint() == same_seed.fingerprint()
    assert one.valid != other.valid
    assert one.fingerprint()["valid_sha256"] != other.fingerprint()["valid_sha256"]


def test_a_paragraph_that_comes_again_is_left_out_though_wrapped_otherwise():
    documents = {"b": "One\ntwo.\n\nThree.", "a": "  One two.\n \n\nFour."}
    assert passages(documents, 1000) == ["  One two.\n\nFour.", "Three."]


def test_passages_end_at_their_size_and_at_the_end_of_a_document():
    documents = {"a": "1234\n\n5678\n\n9", "b": "0"}
    assert passages(documents, 12) == ["1234\n\n5678", "9", "0"]


def test_split_loses_nothing_and_keeps_the_order():
    pieces = [str(n) * 10 for n in range(10, 40)]
    text = split(pieces, held_out=0.2, seed=0)
    parts = text.train.split(SEPARATOR), text.valid.split(SEPARATOR)
    assert sorted(parts[0] + parts[1]) == sorted(pieces)
    assert all(part == sorted(part) for part in parts)
    assert len(parts[1]) in (6, 7)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_part_is_ever_empty(share):
    text = split(["one", "two"], held_out=share, seed=0)
    assert text.train
    assert text.valid


def test_impossible_splits_are_refused():
    with pytest.raises(ValueError, match="held_out"):
        split(["a", "b"], held_out=0.0, seed=0)
    with pytest.raises(ValueError, match="2 passages"):
        split(["a"], held_out=0.5, seed=0)
    with pytest.raises(ValueError, match="size 0"):
        passages({}, 0)


def test_tables_drawn_with_characters_are_left_out_and_prose_is_kept():
    table = "   +----+\n   | a  |\n   +====+\n   | b  |\n   +----+"
    prose = 'The operators "|" and "+-"\n| are kept\nin prose.'
    assert passages({"a": f"{table}\n\n{prose}"}) == [prose]
    assert not any(map(is_drawn, paragraphs(python_topics().train)))


def test_docstrings_widen_the_training_text_and_leave_the_held_out_one():
    topics, prose = python_topics(seed=1), python_prose(seed=1)
    assert prose.valid == topics.valid
    assert prose.parts[1:] == topics.parts
    assert prose.train.endswith(topics.train)
    assert len(prose.train) > 3 * len(topics.train)


def test_docstrings_are_read_without_running_what_they_describe(tmp_path):
    text = (
        "It raises if it is run, which nobody does here, however long this line is.\n"
    )
    (tmp_path / "a.py").write_text(
        f'"""{2 * text}"""\nraise SystemExit\n\ndef f():\n    """short"""\n'
        f'class C:\n    async def g(self):\n        """{text * 3}"""\n'
    )
    (tmp_path / "b.py").write_text("def wrong(:\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "c.py").write_text(f'"""{text * 2}"""\n')
    found = docstrings(tmp_path)
    assert list(found) == ["a.py"]
    assert found["a.py"].count("It raises") == 5
    assert "short" not in found["a.py"]


def test_a_folder_without_source_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no Python source below"):
        docstrings(tmp_path)
