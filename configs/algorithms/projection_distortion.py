"""The lemma of Johnson and Lindenstrauss asks for more than twice what is needed.

Claim:  100 points of 2,000 dimensions keep all squared distances up to 30 % in every
        one of 20 draws with 24 log N / epsilon^2 dimensions, as the lemma promises, and
        with 16; with 8 in most draws, and with 4 in none. Gaussian numbers, signs,
        sparse signs (a third is not 0) and very sparse ones (one in 45) are alike on
        dense points, within 15 %. Signs with a fast Hadamard transform, whose rows are
        drawn without replacement, change distances a fifth less or better still. Very
        sparse signs change distances of points with a single entry more than three
        times as much as Gaussian numbers.
Limits: one size of set and one epsilon. Random points are an easy case: what is close
        or sparse is harder.
Source: https://kexue.fm/archives/8679
Run:    python -m experiments.run --config=configs/algorithms/projection_distortion.py
Cost:   1 variant, 40 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("kinds",)
KINDS = ("gaussian", "rademacher", "sparse", "very_sparse", "structured")
SMOKE = {
    "task.count": 5,
    "task.size": 16,
    "task.draws": 2,
    "task.factors": (1.0, 2.0),
}


def get_config(variant="kinds"):
    del variant  # there is one
    room = "kexue_jax.algorithms.random_projection"
    task = dict(
        make="kexue_jax.tasks.projection_distortion:ProjectionDistortion",
        kinds=dict(
            gaussian=dict(bind=f"{room}:gaussian_projection"),
            rademacher=dict(bind=f"{room}:rademacher_projection"),
            sparse=dict(bind=f"{room}:sparse_projection", sparsity=3.0),
            very_sparse=dict(bind=f"{room}:sparse_projection", sparsity=45.0),
            structured=dict(bind=f"{room}:structured_projection"),
        ),
        count=100,
        size=2000,
        epsilon=0.3,
        factors=(2.0, 4.0, 8.0, 16.0, 24.0),
        draws=20,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["kinds"]

    def of(points, kind, what, factor):
        return found[f"{points}/{kind}_{what}_{factor}"]

    alike = better = True
    for factor in (8, 16, 24):
        gaussian = of("dense", "gaussian", "worst", factor)
        for kind in ("rademacher", "sparse", "very_sparse"):
            ratio = of("dense", kind, "worst", factor) / gaussian
            alike = alike & (abs(ratio - 1) < 0.15)
        if factor > 8:
            structured = of("dense", "structured", "worst", factor)
            better = better & (structured < 0.8 * gaussian)
    kept = {
        factor: of("dense", "gaussian", "kept", factor) for factor in (4, 8, 16, 24)
    }
    sparse = of("single", "very_sparse", "worst", 16)
    promised = found["bound/kept_24"]
    return {
        "24: all are kept, as promised": (kept[24] == 1) & (promised > 0.9),
        "16: all are kept": kept[16] == 1,
        "8: most": kept[8] > 0.5,
        "4: none": kept[4] == 0,
        "dense points: alike": alike,
        "dense points: structured is better": better,
        "single entries: very sparse signs fail": sparse
        > 3 * of("single", "gaussian", "worst", 16),
    }
