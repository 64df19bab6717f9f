"""BLEU as a reward chooses one of two orders where cross-entropy mixes them.

Claim:  x
Limits: x
Source: https://kexue.fm/archives/7737
Run:    python -m experiments.run --config=configs/losses/direct_bleu.py:policy
Cost:   x
"""

from ml_collections import ConfigDict

VARIANTS = (
    "policy",
    "likelihood",
    "policy_greedy",
    "policy_none",
    "zeroth",
    "evolution",
)
SMOKE = {"steps": 3, "task.likelihood_steps": 1, "task.data.held_out": 16}


def get_config(variant="policy"):
    config = ConfigDict(dict(seed=0, steps=800, log_every=20, eval_every=100))
    room = "kexue_jax.tasks.score_training"
    length = 10
    task = dict(
        make=f"{room}:ScoreTraining",
        data=dict(
            make="kexue_jax.data.two_orders:two_orders",
            tokens=20,
            length=length,
            least=6,
            batch=32,
            held_out=512,
            seed=config.get_ref("seed"),
        ),
        model=dict(
            bind="kexue_jax.nn.transformer:Transformer",
            features=48,
            layers=2,
            hidden=96,
            mixer=dict(
                bind="kexue_jax.nn.attention:SelfAttention", heads=4, head_size=12
            ),
            position=dict(
                bind="kexue_jax.nn.positions:LearnedPositions", length=length, scale=1.0
            ),
            is_causal=False,
            tied=False,
        ),
        score=dict(bind=f"{room}:row_bleu"),
        reported=dict(
            bleu=dict(bind=f"{room}:corpus_bleu"),
            row_bleu=dict(bind=f"{room}:row_bleu"),
        ),
        objective="score",
        likelihood_steps=600,
        samples=8,
        baseline="leave_one_out",
    )
    if variant == "likelihood":
        task |= dict(objective=variant)
    elif variant == "zeroth":
        zeroth = dict(
            bind="kexue_jax.losses.zeroth_order:zeroth_order",
            deviation=0.03,
            directions=32,
            chunk=8,
        )
        task |= dict(estimator=zeroth)
    else:
        _, _, baseline = variant.partition("_")
        task |= dict(objective="policy", baseline=baseline or "leave_one_out")
    config.task = task
    points = ((0, 0.0), (50, 3e-3), (600, 3e-3), (601, 1e-3), (800, 1e-3))
    rate = dict(make="kexue_jax.optim.schedules:piecewise_linear", points=points)
    config.optimizer = dict(make="optax:adam", learning_rate=rate)
    return config


def claim(scores):
    return True
