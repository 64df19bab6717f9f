import numpy as np
import pytest

from kexue_jax.data import fetch
from kexue_jax.data.matching import SETS, Form, matching, read_matched, together
from kexue_jax.data.sentence_pairs import ScoredPair


def everything(data):
    """All rows of the three parts as tuples: texts that are there and labels."""
    size = sum(int(b["weight"].sum()) for b in data.valid + data.test)
    batch = len(data.valid[0]["label"])
    learned = round(size / 0.3 * 0.7)
    parts = [[data.source(step) for step in range(learned // batch + 1)]]
    parts += [data.valid, data.test]
    return [
        {
            (tuple(a[a > 0]), tuple(b[b > 0]), int(label))
            for rows in part
            for a, b, label, kept in zip(
                rows["first"],
                rows["second"],
                rows["label"],
                rows.get("weight", np.ones(batch)),
                strict=True,
            )
            if kept
        }
        for part in parts
    ]


def test_all_forms_are_read_and_wrong_rows_said():
    assert read_matched(["a\tb\t1"], SETS["lcqmc"]) == [ScoredPair("a", "b", 1.0)]
    rows = ["text,text,label\n", '"a, ""b""",c,0\n']
    assert read_matched(rows, SETS["bq"]) == [ScoredPair('a, "b"', "c", 0.0)]
    rows = ["id\tx\ty\tlabel", '4\t"a\tb\t0', "5\tNS\tb\t1"]
    assert read_matched(rows, SETS["pawsx"]) == [ScoredPair('"a', "b", 0.0)]
    for row in ("a\tb", "a\tb\t2", "a\tb\tc\t1"):
        with pytest.raises(ValueError, match="row 1 must have 3 columns"):
            read_matched([row], Form("", "\t", 0, 0))


def test_pairs_that_share_a_text_through_others_are_together():
    pairs = [("a", "b"), ("c", "d"), ("e", "f"), ("f", "c"), ("a", "g")]
    found = together([ScoredPair(*pair, 0.0) for pair in pairs])
    assert found.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("apart", ["pairs", "texts"])
def test_parts_have_nothing_in_common(apart):
    parts = everything(matching("drawn", apart=apart, batch=20))
    assert [len(part) > 20 for part in parts] == [True] * 3
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not parts[i] & parts[j]
        if apart == "texts":
            ours, theirs = (
                {text for pair in parts[n] for text in pair[:2]} for n in (i, j)
            )
            assert not ours & theirs


def test_means_of_texts_to_learn_from_have_mean_0_and_deviation_1():
    data = matching("drawn", batch=140)
    rows = data.source(0)
    texts = np.concatenate([rows["first"], rows["second"]])
    count = (texts > 0).sum(1, keepdims=True)
    means = data.vectors[texts].sum(1) / count
    np.testing.assert_allclose(means.mean(0), 0.0, atol=1e-5)
    assert means.std() == pytest.approx(1.0, abs=1e-5)
    assert not data.vectors[0].any()


def test_texts_are_cut_and_the_order_follows_the_seed():
    data = matching("drawn", length=3, batch=8)
    assert data.source(0)["first"].shape == (8, 3)
    other = matching("drawn", length=3, batch=8, seed=1)
    assert data.fingerprint()["test_sha256"] == other.fingerprint()["test_sha256"]
    assert data.fingerprint()["train_sha256"] != other.fingerprint()["train_sha256"]


def test_wrong_arguments_are_refused(tmp_path):
    for options, message in (
        (dict(name="none"), "name must be one of lcqmc, .* or drawn, got 'none'"),
        (dict(name="drawn", apart="x"), "apart must be 'pairs' or 'texts', got 'x'"),
        (dict(name="drawn", batch=0), "at least 1, got 64, 0"),
        (dict(name="drawn", length=0), "at least 1, got 0, 64"),
    ):
        with pytest.raises(ValueError, match=message):
            matching(**options)
    with pytest.raises(fetch.DataNotFoundError, match="lcqmc_dev"):
        matching("lcqmc", path=tmp_path)


def test_the_real_sets_are_divided_in_shares_without_shared_texts(real_set):
    real_set("text_match_zh")
    real_set("vec_tencent_char")
    data = matching("pawsx", apart="texts", batch=100)
    assert sum(int(b["weight"].sum()) for b in data.valid + data.test) == 595
    assert data.vectors.shape == (4730, 200)
