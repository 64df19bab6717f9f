"""The nearest tweets by transport are hardly better than those by shared words.

Claim:  of 880 tweets, the class (negative, neutral, positive) that seven neighbours
        among 2,000 others vote for is wrong about as often by WMD, WRD and by shares of
        words, plain or weighted by rarity: within 4 points of each other, and less
        often than without looking by 5 points at most. With the mean vector taken off,
        WRD is not worse than with it by more than 1 point. Bounds spare most of the
        work: transport is solved for less than 6 % of pairs by WMD and 15 % by WRD, and
        the neighbours are those of all distances.
Limits: vectors of 25 dimensions cover 82 % of the tokens; a point is nine tweets. In
        the paper of WMD it was better than shares of words by far, which others could
        not find again with shares of sum 1 (https://arxiv.org/abs/2105.14403).
Source: https://kexue.fm/archives/7388; Kusner et al., From word embeddings to document
        distances (2015).
Run:    python -m experiments.run --config=configs/metrics/tweet_neighbours.py:centred
Cost:   2 variants, 60 s each on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("centred", "raw")
SMOKE = {"task.texts.name": "drawn", "task.queries": 20}


def get_config(variant="centred"):
    task = dict(
        make="kexue_jax.tasks.text_neighbours:TextNeighbours",
        texts=dict(
            make="kexue_jax.data.labelled_texts:embedded_texts",
            name="wmd_twitter",
            vectors="vec_glove_twitter25d",
        ),
        queries=880,
        k=7,
        centred=variant == "centred",
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    parts = {}
    for variant in VARIANTS:
        found = scores[variant]
        error = {
            name: 100 * found[f"{name}/error"]
            for name in ("wmd", "wrd", "bow", "tfidf")
        }
        guess = 100 * found["most_frequent/error"]
        alike = useful = True
        for one in error.values():
            useful = useful & (one > guess - 5) & (one < guess + 1)
            for other in error.values():
                alike = alike & (abs(one - other) < 4)
        parts[f"{variant}: all alike"] = alike
        parts[f"{variant}: little better than a guess"] = useful
        few = (found["wmd/solved"] < 0.06) & (found["wrd/solved"] < 0.15)
        parts[f"{variant}: few are solved"] = few
    gain = scores["raw"]["wrd/error"] - scores["centred"]["wrd/error"]
    return parts | {"WRD does not lose by the mean": gain > -0.01}
