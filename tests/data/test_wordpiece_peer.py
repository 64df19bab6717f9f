"""WordPiece beside the tokeniser of transformers, on texts that are hard."""

import random
import sys
import unicodedata

import numpy as np
import pytest

from kexue_jax.data.wordpiece import MARKS, WordPiece
from kexue_jax.pretrained import PretrainedNotFoundError, load_pretrained
from tests.data.test_wordpiece import TEXTS, VOCABULARY

pytestmark = pytest.mark.peer

PAIRS = [
    ("hello world", "new york"),
    ("[CLS] inside [SEP]", "[MASK] [UNK] [PAD]"),
    ("中文" * 400, "a b c"),
    ("a b c", "hello " * 700),
    ("x " * 400, "y " * 400),
]


def drawn_texts(count):
    """Texts of any signs there are, and of some that are hard."""
    draws = random.Random(0)
    alphabet = [
        chr(c) for c in range(sys.maxunicode) if unicodedata.category(chr(c)) != "Cs"
    ]
    hard = [*"aAbBzZ019 \t\n.,#[]_-", *TEXTS[3], *TEXTS[6], *TEXTS[9], *MARKS, "##"]
    for _ in range(count):
        signs = draws.choices(hard, k=draws.randint(0, 40))
        signs += draws.choices(alphabet, k=draws.randint(0, 20))
        draws.shuffle(signs)
        yield "".join(signs)


def vocabularies():
    yield VOCABULARY, True
    yield VOCABULARY, False
    try:
        yield list(load_pretrained("all_minilm_l6_v2").vocabulary), True
    except (PretrainedNotFoundError, ModuleNotFoundError):
        return


@pytest.mark.parametrize("number", range(3))
def test_tokens_segments_and_offsets_are_those_of_transformers(number, tmp_path):
    transformers = pytest.importorskip("transformers")
    sets = list(vocabularies())
    if number >= len(sets):
        pytest.skip("the package of MiniLM is not installed")
    vocabulary, lowercase = sets[number]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n", "utf-8")
    theirs = transformers.BertTokenizerFast(
        vocab=str(path), do_lower_case=lowercase, model_max_length=512
    )
    made = WordPiece(path, lowercase=lowercase)
    texts = [*TEXTS, *drawn_texts(3000), *PAIRS]
    for text, got in zip(texts, made.encode_all(texts), strict=True):
        sides = (text,) if isinstance(text, str) else text
        want = theirs(*sides, truncation=True, return_offsets_mapping=True)
        np.testing.assert_array_equal(got.tokens, want["input_ids"], repr(text))
        np.testing.assert_array_equal(got.segments, want["token_type_ids"])
        np.testing.assert_array_equal(got.offsets, want["offset_mapping"])
