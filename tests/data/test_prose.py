import pytest

from kexue_jax.data.prose import (
    SEPARATOR,
    is_drawn,
    paragraphs,
    passages,
    python_topics,
    same,
    split,
)


def test_no_held_out_paragraph_is_in_the_training_text():
    text = python_topics(seed=3)
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
