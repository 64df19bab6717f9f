"""Segments of real answers beside those that NLTK makes of their Latin parts."""

import gzip
import json
import pathlib

import pytest

from kexue_jax.scores.reading import cmrc_f1, mixed_segments

pytestmark = pytest.mark.peer

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"


def test_segments_of_cmrc_answers_are_those_of_nltk():
    nltk = pytest.importorskip("nltk")
    file = FOLDER / "mrc_cmrc2018" / "cmrc2018_trial.json.gz"
    if not file.is_file():
        pytest.skip("needs ../shared/data/mrc_cmrc2018 beside the checkout")
    words = nltk.tokenize.NLTKWordTokenizer().tokenize
    articles = json.loads(gzip.decompress(file.read_bytes()))["data"]
    rows = [q for d in articles for p in d["paragraphs"] for q in p["qas"]]
    answers = [answer["text"] for row in rows for answer in row["answers"]]
    differ = 0
    for text in answers:
        ours = [s.replace('"', "''") for s in mixed_segments(text)]
        theirs = [s.replace("``", "''") for s in mixed_segments(text, words=words)]
        differ += ours != theirs
        got = cmrc_f1(text[:-1], [text])
        assert got == pytest.approx(cmrc_f1(text[:-1], [text], words=words), abs=0.1)
    assert differ <= 3
