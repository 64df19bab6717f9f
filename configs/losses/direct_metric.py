"""F1 itself as a loss finds the rare class that cross-entropy leaves alone.

Claim:  x
Limits: x
Source: https://kexue.fm/archives/7737
Run:    python -m experiments.run --config=configs/losses/direct_metric.py:policy
Cost:   x
"""

from ml_collections import ConfigDict

VARIANTS = ("zeroth", "likelihood", "policy", "threshold", "evolution", "scratch")
SMOKE = {"steps": 3, "task.likelihood_steps": 1}


def get_config(variant="zeroth"):
    config = ConfigDict(dict(seed=0, steps=500, log_every=10, eval_every=100))
    room = "kexue_jax.tasks.score_training"
    task = dict(
        make=f"{room}:ScoreTraining",
        data=dict(
            make="kexue_jax.data.small_tables:few_positives",
            columns=("mean texture", "mean smoothness"),
            positives=30,
            negatives=180,
            batch=210,
            seed=config.get_ref("seed"),
        ),
        model=dict(bind="kexue_jax.nn.rows:InputClassifier", columns=2, hidden=()),
        score=dict(bind=f"{room}:f1"),
        reported=dict(
            f1=dict(bind=f"{room}:f1"), accuracy=dict(bind=f"{room}:accuracy")
        ),
        objective="score",
        likelihood_steps=200,
        samples=64,
        baseline="leave_one_out",
    )
    zeroth = dict(
        bind="kexue_jax.losses.zeroth_order:zeroth_order",
        deviation=0.3,
        directions=32,
        chunk=32,
    )
    if variant in ("likelihood", "policy"):
        task |= dict(objective=variant)
    elif variant == "scratch":  # the line that trains any task so
        task |= dict(likelihood_steps=0)
        config.wrap = dict(order=("zeroth",), zeroth=zeroth)
    else:
        more = {
            "zeroth": {},
            "threshold": dict(leaves=("layers/layers/0/bias",)),
            "evolution": dict(shaping="ranks"),
        }
        task |= dict(estimator=dict(zeroth, **more[variant]))
    config.task = task
    points = ((0, 0.1), (200, 0.1), (201, 0.03), (350, 0.03), (500, 0.0))
    rate = dict(make="kexue_jax.optim.schedules:piecewise_linear", points=points)
    config.optimizer = dict(make="optax:adam", learning_rate=rate)
    return config


def claim(scores):
    return True
