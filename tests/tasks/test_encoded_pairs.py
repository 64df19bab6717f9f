from functools import partial

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from kexue_jax.data.sentence_pairs import scored_pairs
from kexue_jax.data.wordpiece import WordPiece, padded_batches
from kexue_jax.pretrained.loading import drawn
from kexue_jax.tasks.encoded_pairs import EncodedTexts, encoded_pairs
from kexue_jax.tasks.encoder_layers import EncoderLayers

ENCODER, PAIRS = drawn(), scored_pairs("drawn")[:40]
PADDED = partial(padded_batches, lengths=(48,))


@pytest.fixture(scope="module")
def texts():
    return EncodedTexts(
        PAIRS,
        encoder=ENCODER,
        tokenizer=WordPiece,
        padded=PADDED,
        batch=25,
    )


@pytest.fixture(scope="module")
def one_by_one():
    """States ``[layers + 1, T, D]`` of each side of each pair, without padding."""
    apply, params, _ = ENCODER.restored("pooler")
    layers = jax.jit(partial(apply, method="layers"))
    read = WordPiece(ENCODER.vocabulary)

    def states(text):
        tokens = read.encode(text).tokens
        room = np.zeros((1, 48), np.int32)
        room[0, : len(tokens)] = tokens
        kept = np.arange(48)[None] < len(tokens)
        found, _ = layers(params, {}, room, kept=kept)
        return np.stack([np.asarray(x)[0, : len(tokens)] for x in found])

    return [(states(pair.first), states(pair.second)) for pair in PAIRS]


def test_rows_are_the_states_of_each_sentence_alone(texts, one_by_one):
    whole = encoded_pairs(texts=texts, layers=(1, -1))
    bare = encoded_pairs(texts=texts, with_added=False)
    for at, (first, second) in enumerate(one_by_one):
        for pairs, want in (
            (whole, [0.5 * (side[1] + side[-1]) for side in (first, second)]),
            (bare, [side[-1][1:-1] for side in (first, second)]),
        ):
            for rows, weight, states in (
                (pairs.first, pairs.first_weight, want[0]),
                (pairs.second, pairs.second_weight, want[1]),
            ):
                there = weight[at] > 0
                assert there.sum() == len(states)
                np.testing.assert_allclose(
                    rows[at, there], states, rtol=1e-4, atol=1e-5
                )
                assert not rows[at, ~there].any()
    assert whole.fingerprint() != bare.fingerprint()
    assert whole.fingerprint()["pairs"] == len(PAIRS)
    with pytest.raises(ValueError, match=r"layers must be some of 0 to 2, got \(3,\)"):
        encoded_pairs(texts=texts, layers=(3,))


def test_poolings_are_those_of_sentences_one_by_one(texts, one_by_one):
    task = EncoderLayers(texts=texts, kept=(4,))
    scores = task.evaluate(*task.init(jax.random.key(0)))
    gold = [pair.score for pair in PAIRS]

    def cosine(x, y):
        return (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)

    def rank(pool):
        x, y = (np.stack([pool(p[side]) for p in one_by_one]) for side in (0, 1))
        return 100 * spearmanr(cosine(x, y), gold)[0]

    for name, pool in (
        ("mean_0", lambda s: s[0].mean(0)),
        ("mean_2", lambda s: s[2].mean(0)),
        ("first_last", lambda s: 0.5 * (s[1] + s[2]).mean(0)),
        ("first_token", lambda s: s[2][0]),
    ):
        assert scores[f"raw/{name}"] == pytest.approx(rank(pool), abs=0.1)
    assert scores["whitened/pooler"] != scores["raw/pooler"]
    assert scores["apart/mean_0"] < 100
    assert [len(task.exhibits({}, {"rng": jax.random.key(0)}))] == [3]
    assert task.fingerprint()["pairs"] == len(PAIRS)
    with pytest.raises(ValueError, match="kept must be from 1 to 12"):
        EncoderLayers(texts=texts, kept=(13,))
