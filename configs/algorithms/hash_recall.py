"""Signs of a random projection find neighbours, and may be more than the dimensions.

Claim:  among 20,000 digits (196 dimensions) and 11,000 word vectors (25), with the
        cosines of the 30 vectors that share most signs taken, recall of the ten nearest
        rises with the number n of signs, also beyond the m dimensions: with 4 m and
        more by at least 0.1 over n = m. The n numbers of the projection find more than
        their n signs, but fewer than the 32 n signs that take the same memory. Among
        100 candidates by 128 signs are at least 85 % of the neighbours. Signs of a pair
        are equal with probability 1 - angle / pi and steps along lines with theirs
        (within 4 standard errors), so the cosine of codes is not that of the vectors,
        by 0.15 and more, but gives it back up to 0.1. Tables of buckets find what these
        probabilities say, up to 0.05 from 8 tables on; cross-polytopes examine less for
        a recall of 0.6 than signs do.
Limits: the mean is taken off first; without it, all angles are small. Recall, not time:
        on a CPU all cosines of sets of this size are fast enough.
Source: https://kexue.fm/archives/8706; steps: Datar et al. (2004); cross-polytopes:
        https://arxiv.org/abs/1509.02897
Run:    python -m experiments.run --config=configs/algorithms/hash_recall.py:words
Cost:   2 variants, 80 s each on two CPU cores; nothing is trained.
"""

from itertools import pairwise

from ml_collections import ConfigDict

VARIANTS = ("words", "digits")
SIZES = {"words": 25, "digits": 196}
BITS = {
    "words": (8, 16, 25, 64, 128, 256, 512),
    "digits": (32, 64, 128, 196, 392, 1024),
}
TABLES = (1, 2, 4, 8, 16, 32)
SMOKE = {
    "task.vectors.name": "digits",
    "task.vectors.corpus": 300,
    "task.vectors.queries": 10,
    "task.k": 5,
    "task.bits": (16,),
    "task.code": 16,
    "task.shortlists": (10,),
    "task.tables": (1, 2),
    "task.pairs": 4,
    "task.hashes": 64,
}


def get_config(variant="words"):
    vectors = {
        "words": dict(name="vec_glove_twitter25d", corpus=11000, queries=300),
        "digits": dict(name="mnist", corpus=20000, queries=300),
    }[variant]
    task = dict(
        make="kexue_jax.tasks.hash_recall:HashRecall",
        vectors=dict(make="kexue_jax.data.vector_sets:vector_set", **vectors),
        k=10,
        bits=BITS[variant],
        candidates=30,
        code=128,
        shortlists=(10, 30, 100, 300, 1000),
        tables=TABLES,
        sign_count=12,
        polytope_count=2,
        step_count=6,
        width=2.0,
        pairs=16,
        hashes=4096,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    parts = {}
    for name in VARIANTS:
        found, size = scores[name], SIZES[name]
        rises = numbers = memory = beyond = told = True
        for few, many in pairwise(BITS[name]):
            rises = rises & (
                found[f"signs/recall_{few}"] < found[f"signs/recall_{many}"]
            )
        for n in BITS[name]:
            signs, own = (
                found[f"{kind}/recall_{n}"] for kind in ("signs", "projected")
            )
            if n <= size:
                numbers = numbers & (signs < own)
            if 32 * n in BITS[name]:
                memory = memory & (own < found[f"signs/recall_{32 * n}"])
            if n >= 4 * size:
                beyond = beyond & (signs > found[f"signs/recall_{size}"] + 0.1)
        for family in ("sign_buckets", "step_buckets"):
            for tables in TABLES[3:]:
                got, said = (
                    found[f"{family}/{what}_{tables}"]
                    for what in ("recall", "expected")
                )
                told = told & (abs(got - said) < 0.05)
        polytopes, signs = (
            found[f"{kind}_buckets/share_at_60"] for kind in ("polytope", "sign")
        )
        cosine = found["theory/cosine_bias"] > 0.15
        parts |= {
            f"{name}: more signs find more": rises,
            f"{name}: beyond the dimensions, too": beyond,
            f"{name}: numbers beat their signs": numbers,
            f"{name}: signs of the same memory win": memory,
            f"{name}: 100 candidates": found["shortlist/recall_100"] > 0.85,
            f"{name}: signs are equal as the angle says": found["theory/signs_error"]
            < 4,
            f"{name}: steps as the distance says": found["theory/steps_error"] < 4,
            f"{name}: a wrong formula would show": found["theory/wrong_error"] > 10,
            f"{name}: codes need a conversion": cosine
            & (found["theory/cosine_error"] < 0.1),
            f"{name}: buckets find what is said": told,
            f"{name}: polytopes examine less": polytopes < signs,
        }
    return parts
