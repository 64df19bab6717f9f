import numpy as np
import pytest

from kexue_jax.data.standard_characters import (
    StandardCharacters,
    simplified_characters,
)
from kexue_jax.data.wordpiece import MARKS


def test_the_characters_are_those_of_the_standard():
    found = simplified_characters()
    assert len(found) == len({*found})
    chinese = [sign for sign in found if "\u4e00" <= sign <= "\u9fff"]
    assert len(chinese) == 6763  # GB 2312-1980
    assert {*"abz019 ~,.啊齄。，“”《》…—·"} <= {*found}
    assert not {*"A國這Ω"} & {*found}
    assert all(sign.encode("gb2312") for sign in {*found} - {"—", "·"})
    # 7,445 signs, without the capitals of wide Latin, Greek and Cyrillic letters and 12
    # Roman numbers; and what of ASCII can be seen, without its capitals.
    capitals = 26 + 24 + 33 + 12
    assert len(found) == 7445 - capitals + 95 - 26


def test_texts_are_read_by_a_list_and_other_signs_are_unknown():
    read = StandardCharacters(["花", "a", "b"])
    assert read.vocabulary == 8
    found = read.encode("花A雪b")
    assert read.pieces(found.tokens) == ["[CLS]", "花", "a", "[UNK]", "b", "[SEP]"]
    np.testing.assert_array_equal(found.offsets[1:-1, 0], range(4))
    assert (read.padding, read.unknown, read.hidden) == (0, 1, 4)
    whole = StandardCharacters(length=8)
    assert whole.pieces(range(5)) == [*MARKS]
    assert len(whole.encode("一二三四五六七八九").tokens) == 8
    assert whole.fingerprint() != read.fingerprint()
    assert whole.fingerprint() == StandardCharacters(length=8).fingerprint()


@pytest.mark.parametrize("wrong", [["ab"], ["A"], ["a", "a"]])
def test_a_list_of_another_form_is_refused(wrong):
    with pytest.raises(ValueError, match="single, in lower case and there once"):
        StandardCharacters(wrong)
