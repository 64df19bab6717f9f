"""Going down four metrics leads one normal distribution to another on different ways.

Claim:  from 8 starts in the plane, means 4 apart, the flows of KL(p || q), KL(q || p),
        the Bhattacharyya distance and W2 squared all bring p to q: all four metrics end
        below 1e-4, and their derivatives are central differences up to 1e-6. KL(q || p)
        covers: the variance of p along the line of the means rises above twice that of
        both ends, and the way is more than a fifth longer than the shortest in W2. The
        Bhattacharyya distance swells, too, to more than 1.5 times. KL(p || q) does not
        (up to 5 %): its flow is the law of an Ornstein-Uhlenbeck process, up to 1e-4.
        That of W2 is the shortest way (up to 0.1 %) and never wider than the wider end.
Limits: p is a mean and a square matrix A, its covariance A times its transpose, for
        which the flow is that of the 2-Wasserstein geometry; with a Cholesky factor or
        a symmetric root ways differ.
Source: https://kexue.fm/archives/8512; the flow of KL(p || q) as a diffusion:
        Jordan, Kinderlehrer and Otto (1998).
Run:    python -m experiments.run --config=configs/metrics/gaussian_flows.py
Cost:   1 variant, 20 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("plane",)
FLOWS = ("kl", "swapped_kl", "bhattacharyya", "wasserstein")
SMOKE = {"task.starts": 1, "task.attempts": 30}


def get_config(variant="plane"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.gaussian_flows:GaussianFlows",
        starts=8,
        apart=4.0,
        condition=10.0,
        attempts=800,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["plane"]
    arrives = derived = True
    for flow in FLOWS:
        arrives = arrives & (found[f"{flow}/left"] < 1e-4)
        derived = derived & (found[f"{flow}/gradient_error"] < 1e-6)
    covering = found["swapped_kl/swelling_least"] > 2.0
    return {
        "all reach the target": arrives,
        "derivatives are differences": derived,
        "KL(q || p) covers": covering,
        "KL(q || p) takes a longer way": found["swapped_kl/length_least"] > 1.2,
        "Bhattacharyya swells": found["bhattacharyya/swelling_least"] > 1.5,
        "KL(p || q) does not": found["kl/swelling_most"] < 1.05,
        "KL(p || q) diffuses": found["kl/diffusion_error"] < 1e-4,
        "W2 goes the shortest way": abs(found["wasserstein/length_most"] - 1.0) < 1e-3,
        "W2 never swells": found["wasserstein/swelling_most"] < 1.001,
    }
