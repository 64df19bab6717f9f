"""Along the training of a recurrent net the loss is less smooth where it is steep.

Claim:  a small LSTM reads digits row by row and is trained by plain gradient descent,
        at the rate 0.5 as it is, at 2 and 5 with gradients clipped to 0.25. Along each
        way the logarithms of the gradient's norm and of the local smoothness of the
        loss correlate by more than 0.6.
Limits: small pictures, 600 to learn from, over which both are measured. Correlation by
        steps of training says nothing about what causes what.
Source: https://kexue.fm/archives/7469; Zhang et al., arXiv 1905.11881
Run:    python -m experiments.run --config=configs/optim/gradient_smoothness.py
Cost:   3 variants, 20 s each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("plain_0.5", "clipped_2", "clipped_5")
SMOKE = {"steps": 4, "task.measured.examples": 50, "task.measured.batch": 50}


def get_config(variant="plain_0.5"):
    kind, rate = variant.split("_")
    config = ConfigDict(dict(seed=0))
    seed = config.get_ref("seed")
    config.steps, config.eval_every, config.log_every = 400, 100, 10
    digits = dict(make="kexue_jax.data.drawn:few_digits", examples=600, seed=seed)
    config.task = dict(
        make="kexue_jax.tasks.gradient_smoothness:GradientSmoothness",
        data=dict(digits, batch=50),
        measured=dict(digits, batch=600),
        model=dict(bind="kexue_jax.nn.recurrent:RecurrentClassifier", size=32),
        rows=8,
        steps=400,
    )
    parts = dict(descent=dict(make="optax:sgd", learning_rate=float(rate)))
    order = ("descent",)
    if kind == "clipped":
        parts["clip"] = dict(make="optax:clip_by_global_norm", max_norm=0.25)
        order = ("clip", "descent")
    config.optimizer = dict(make="kexue_jax.optim.chain:chain", order=order, **parts)
    return config


def claim(scores):
    return {
        variant: found["way/correlation"] > 0.6 for variant, found in scores.items()
    }
