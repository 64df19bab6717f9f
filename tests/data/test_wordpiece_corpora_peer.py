"""WordPiece beside that of transformers on all texts of the data sets."""

import bz2
import gzip
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

from kexue_jax.data.wordpiece import WordPiece

pytestmark = pytest.mark.peer

ROOT = pathlib.Path(
    os.environ.get("KEXUE_DATA")
    or pathlib.Path(__file__).parents[3] / "shared" / "data"
)
OPENERS = {".gz": gzip.open, ".bz2": bz2.open}
TEXT = {".txt", ".csv", ".tsv", ".json", ".data", ".train", ".dev", ".test", ".xml"}
TEXT |= {".bmes", ".pgn", ".char", ".md"}
VOCABULARIES = [
    ("bert_base_chinese_vocab.txt", True),
    ("bert_base_uncased_vocab.txt", False),
]


def texts(longest=5000) -> Iterator[list[str]]:
    """Yields the lines of each file, long ones in pieces."""
    for path in sorted(ROOT.rglob("*")):
        ending = path.with_suffix("").suffix if path.suffix in OPENERS else path.suffix
        if not path.is_file() or ending not in TEXT:
            continue
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            content = file.read().decode("utf-8", "replace")
        yield [
            line[at : at + longest]
            for line in dict.fromkeys(content.split("\n"))
            for at in range(0, max(1, len(line)), longest)
        ]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "lowercase"), VOCABULARIES)
def test_no_token_and_no_offset_differs_on_any_text(name, lowercase):
    transformers = pytest.importorskip("transformers")
    vocabulary = ROOT / "vocab" / name
    if not vocabulary.is_file():
        pytest.skip("the data sets are not here")
    theirs = transformers.BertTokenizerFast(
        vocab=str(vocabulary), do_lower_case=lowercase, model_max_length=10**9
    )
    ours = WordPiece(vocabulary, lowercase=lowercase, length=None)
    count = 0
    for lines in texts():
        for at in range(0, len(lines), 10_000):
            part = lines[at : at + 10_000]
            want = theirs(part, return_offsets_mapping=True)
            for row, found in enumerate(ours.encode_all(part)):
                assert found.tokens.tolist() == want["input_ids"][row], part[row]
                offsets = np.array(want["offset_mapping"][row])
                assert np.array_equal(found.offsets, offsets), part[row]
            count += len(part)
    assert count > 500_000
