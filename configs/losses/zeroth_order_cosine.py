"""The zeroth-order gradient of accuracy points where the policy gradient does.

Claim:  iris, a linear softmax at eight random places. The gradient of accuracy, which
        has none, from 40,000 central differences of deviation 0.3 or 1, and that of the
        mean probability of the right class have a mean cosine above 0.9. At deviation
        0.03 it is lower than at 0.3: few predictions change. The temperature of the
        policy and the deviation go together: where they are equal, from 0.1 to 3, the
        mean cosine is above 0.9, and lower where one is ten times the other.
        Variances of one direction are those of theory, within 5 %: D + 1 squared
        gradients for central and forward differences along normal directions, D - 1
        for signs and the sphere, and D (f / deviation)^2 more for one point. Of six
        rewards under a thousand softmax policies no baseline varies less than the
        optimal one; the mean is better than none on average, and worse for some.
Limits: "parallel" holds as far as smoothing over parameters is a softmax of some
        temperature: the worst of the eight places has less. Thresholds were set on
        other seeds than those reported.
Source: https://kexue.fm/archives/7737
Run:    python -m experiments.run --config=configs/losses/zeroth_order_cosine.py
Cost:   1 variant, 30 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

DEVIATIONS = (0.03, 0.1, 0.3, 1.0, 3.0)
KINDS = (
    "central_normal",
    "forward_normal",
    "one_point_normal",
    "central_rademacher",
    "central_sphere",
)
VARIANTS = ("iris",)
SMOKE = {
    "task.places": 2,
    "task.directions": 8,
    "task.chunk": 8,
    "task.estimates": 16,
    "task.policies": 4,
}


def get_config(variant="iris"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.zeroth_order_cosine:ZerothOrderCosine",
        data=dict(make="kexue_jax.data.small_tables:iris"),
        deviations=DEVIATIONS,
        temperatures=(0.1, 0.3, 1.0, 3.0),
        places=8,
        directions=40_000,
        estimates=20_000,
        policies=1000,
        chunk=1000,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["iris"]
    equal = {
        f"parallel where both are {tau}": found[f"by_temperature/{tau}_{tau}"] > 0.9
        for tau in ("0.1", "0.3", "1", "3")
    }
    apart = {
        f"less so at temperature {tau} and deviation {deviation}": found[
            f"by_temperature/{tau}_{deviation}"
        ]
        < found[f"by_temperature/{tau}_{tau}"]
        for tau, deviation in (("0.1", "1"), ("0.3", "3"), ("1", "0.1"), ("3", "0.3"))
    }
    variances = {
        f"{kind} varies as in theory": sum(
            abs(found[f"variance/{kind}_{deviation:g}"] - 1.0) >= 0.05
            for deviation in DEVIATIONS
        )
        == 0
        for kind in KINDS
    }
    return {
        "parallel at 0.3": found["cosine/0.3"] > 0.9,
        "parallel at 1": found["cosine/1"] > 0.9,
        "less so at 0.03": found["cosine/0.03"] < found["cosine/0.3"],
        **equal,
        **apart,
        **variances,
        "the optimal baseline is least": found["baseline/optimal_is_least"] == 1.0,
        "the mean is better than none on average": found["baseline/mean"] < 1.0,
        "the mean is worse for some": found["baseline/mean_is_worse_than_none"] > 0.0,
    }
