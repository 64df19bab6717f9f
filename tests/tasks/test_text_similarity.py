from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from kexue_jax.data.sentence_pairs import embedded_pairs
from kexue_jax.tasks.text_similarity import MEASURES, TextSimilarity, distances


@pytest.mark.slow
def test_scores_are_correlations_and_bounds_hold():
    pairs = embedded_pairs("drawn")
    task = TextSimilarity(pairs=pairs, batch=25)  # the last batch is filled up
    _, extras = task.init(jax.random.key(0))
    scores = task.evaluate({}, extras)
    found = distances(
        pairs.first, pairs.second, pairs.first_weight, pairs.second_weight
    )
    for name in MEASURES:
        near = -np.asarray(found[name], np.float64)
        for kind, slow in (("pearson", pearsonr), ("spearman", spearmanr)):
            want = 100 * slow(near, pairs.score)[0]
            assert scores[f"raw/{name}_{kind}"] == pytest.approx(want, abs=1e-2)
    assert scores["raw/wmd_spearman"] > 60
    assert scores["raw/wmd_spearman"] == pytest.approx(
        scores["centred/wmd_spearman"], abs=0.5
    )
    assert scores["bounds/broken"] == 0.0
    assert scores["transport/gap"] < 1e-5
    assert len(task.exhibits({}, extras)) == 3
    assert task.fingerprint()["pairs"] == 60


def test_a_sentence_without_a_word_is_named():
    pairs = embedded_pairs("drawn")
    weight = pairs.second_weight.copy()
    weight[7] = 0.0
    with pytest.raises(ValueError, match=r"pair 7 has no word .*second_weight"):
        TextSimilarity(pairs=replace(pairs, second_weight=weight))
    with pytest.raises(ValueError, match="batch must be at least 1"):
        TextSimilarity(pairs=pairs, batch=0)
