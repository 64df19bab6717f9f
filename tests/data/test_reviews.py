import gzip
import hashlib

import numpy as np
import pytest

from kexue_jax.data import fetch, registry
from kexue_jax.data.reviews import (
    VOCABULARY,
    Review,
    byte_rows,
    drawn_reviews,
    read_reviews,
    reviews,
)

HEAD = "label\ttext_a\n"
TRAIN = HEAD + "1\t房间很好\n0\tnoisy\n0\tnoisy\n1\tquiet, and kind\n0\t\n"
DEV = HEAD + "1\tquiet, and clean\n0\t太吵\n"


def chnsenticorp(folder, **texts):
    """A set in the form of ChnSentiCorp, with its files in `folder`."""
    files = []
    for part, text in texts.items():
        content = text.encode()
        (folder / f"{part}.tsv.gz").write_bytes(gzip.compress(content))
        files.append(
            {
                "name": f"{part}.tsv.gz",
                "packing": "gzip",
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "path": f"{part}.tsv",
            }
        )
    words = dict.fromkeys(("title", "task", "licence", "citation", "trimmed"), "words")
    about = {"name": "chnsenticorp", "language": "zh", "commits": {"a/b": "0" * 40}}
    return registry.parse({**words, **about, "files": files})


def texts_of(*batches):
    found = set()
    for batch in batches:
        weight = batch.get("weight", np.ones(len(batch["label"])))
        for row in batch["inputs"][weight > 0]:
            found.add((row[row > 0] - 1).astype(np.uint8).tobytes().decode())
    return found


def test_bytes_are_tokens_from_1_on_and_padding_is_0():
    rows = byte_rows(["", "A\x00", "房间", b"\xff" * 9], length=4)
    want = [[0] * 4, [66, 1, 0, 0], [b + 1 for b in "房间".encode()[:4]], [256] * 4]
    assert rows.tolist() == want  # the second character is cut within
    assert rows.max() < VOCABULARY
    assert byte_rows([], length=4).shape == (0, 4)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        byte_rows(["A"], length=0)


def test_a_file_of_another_form_is_refused_by_its_line():
    assert read_reviews([HEAD]) == []
    assert read_reviews([HEAD, "0\t\n", "\n"]) == [Review("", 0)]
    with pytest.raises(ValueError, match="line 1 must be"):
        read_reviews(["1\ttext\n"])
    for wrong in ("2\ttext", "1 text", "text\t1"):
        with pytest.raises(ValueError, match="line 3 must be 0 or 1, a tab"):
            read_reviews([HEAD, "1\tx\n", wrong])


def test_what_is_held_out_is_not_learned_from_and_each_text_comes_once(tmp_path):
    entry = chnsenticorp(tmp_path, train=TRAIN, dev=DEV)
    data = reviews(entry, length=20, batch=4, path=tmp_path)
    assert texts_of(data.source(0)) == {"房间很好", "noisy", "quiet, and kind", ""}
    assert texts_of(*data.held_out) == {"quiet, and clean", "太吵"}
    assert data.classes == 2
    # Cut to ten bytes, "quiet, and" is of both parts.
    cut = reviews(entry, length=10, batch=3, path=tmp_path)
    assert "quiet, and" in texts_of(*cut.held_out)
    rows = cut.source(0)["inputs"]
    assert byte_rows(["quiet, and"], length=10)[0].tolist() not in rows.tolist()


def test_labels_belong_to_their_texts(tmp_path):
    entry = chnsenticorp(tmp_path, train=TRAIN, dev=DEV)
    batch = reviews(entry, length=20, batch=4, path=tmp_path).source(3)
    good = batch | {"weight": batch["label"]}
    assert texts_of(good) == {"房间很好", "quiet, and kind"}


def test_drawn_reviews_need_what_stands_before_a_word():
    found = drawn_reviews(500, seed=0)
    assert found == drawn_reviews(500, seed=0) != drawn_reviews(500, seed=1)
    plain = [r for r in found if ";" not in r.text and " not " not in r.text]
    turned = [r for r in found if ";" not in r.text and " not " in r.text]
    assert {r.label for r in plain if "clean" in r.text} == {1}
    assert {r.label for r in turned if "clean" in r.text} == {0}
    data = reviews("drawn", length=48, batch=10)
    assert data.fingerprint() == reviews("drawn", length=48, batch=10).fingerprint()
    assert not texts_of(*map(data.source, range(40))) & texts_of(*data.held_out)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"name must be .*, got 'imdb'"):
        reviews("imdb")
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        reviews("drawn", length=0)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        reviews("drawn", batch=0)


def test_files_that_are_not_there_are_said_to_be_missing(tmp_path):
    with pytest.raises(fetch.DataNotFoundError, match="train"):
        reviews(path=tmp_path)


def test_the_real_set_has_the_sizes_that_the_documentation_gives(real_set):
    data = reviews(path=real_set("chnsenticorp"), length=6000, batch=1000)
    held_out = texts_of(*data.held_out)
    assert len(held_out) == 1178
    assert len(texts_of(*map(data.source, range(8)))) == 7914
    assert not held_out & texts_of(*map(data.source, range(8)))
