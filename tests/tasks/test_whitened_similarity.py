import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from kexue_jax.data.sentence_pairs import embedded_pairs
from kexue_jax.tasks.whitened_similarity import WhitenedSimilarity


def test_scores_are_those_of_whitening_in_float64():
    pairs = embedded_pairs("drawn")
    task = WhitenedSimilarity(pairs=pairs, powers=(0.5, 1.0), kept=(4, 12))
    _, extras = task.init(jax.random.key(0))
    scores = task.evaluate({}, extras)
    sides = []
    for x, w in (
        (pairs.first, pairs.first_weight),
        (pairs.second, pairs.second_weight),
    ):
        sides.append(np.einsum("bm,bmd->bd", w, x, dtype=float) / w.sum(1)[:, None])
    both = np.concatenate(sides)
    values, vectors = np.linalg.eigh(np.cov(both, rowvar=False))

    def rank(kernel, mean):
        x, y = ((side - mean) @ kernel for side in sides)
        cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        return 100 * spearmanr(cosine, pairs.score)[0]

    middle, whole = both.mean(0), vectors / values**0.5
    for name, kernel, mean in (
        ("plain/raw", np.eye(12), 0.0),
        ("plain/centred", np.eye(12), middle),
        ("power/0.5", vectors / values**0.25, middle),
        ("power/1", whole, middle),
        ("kept/4", whole[:, -4:], middle),
        ("turned/12", vectors, 0.0),
    ):
        assert scores[name] == pytest.approx(rank(kernel, mean), abs=0.05)
    assert scores["kept/12"] == scores["power/1"]
    assert len(task.exhibits({}, extras)) == 3


def test_components_must_be_there():
    with pytest.raises(ValueError, match="kept must be from 1 to 12"):
        WhitenedSimilarity(pairs=embedded_pairs("drawn"), kept=(13,))
