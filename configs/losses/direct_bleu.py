"""BLEU as a reward chooses one of two orders where cross-entropy mixes them.

Claim:  a small Transformer writes a translation, all places at once; half of those it
        learns from run backwards, and nothing tells which. After 800 steps of
        cross-entropy BLEU of held-out rows, against both, is below 0.65. 200 steps on
        BLEU itself after 600 of cross-entropy, by score-function gradients with the
        mean of other draws, the score of the likeliest or no baseline, or by zeroth
        order on all 41,520 parameters, from values or their ranks, bring it above 0.9,
        up by 0.3 or more.
Limits: a made-up language of 20 words. Both orders are as good, so there is nothing to
        explore: every place only has to agree with the others. Cross-entropy mixes them
        when it has learned both; stopped early it may write the easier one alone.
        Thresholds were set on other seeds than those reported.
Source: https://kexue.fm/archives/7737
Run:    python -m experiments.run --config=configs/losses/direct_bleu.py:policy
Cost:   6 variants, 20 s each on two CPU cores, a minute by zeroth order.
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
BASELINES = {
    "policy": "leave_one_out",
    "policy_greedy": "greedy",
    "policy_none": "none",
}
SMOKE = {
    "steps": 3,
    "task.likelihood_steps": 1,
    "task.data.held_out": 8,
    "task.data.batch": 4,
    "task.model.layers": 1,
}


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
    elif variant in ("zeroth", "evolution"):
        zeroth = dict(
            bind="kexue_jax.losses.zeroth_order:zeroth_order",
            deviation=0.03,
            directions=32,
            chunk=8,
            shaping={"zeroth": "none", "evolution": "ranks"}[variant],
        )
        task |= dict(estimator=zeroth)
    else:
        task |= dict(objective="policy", baseline=BASELINES[variant])
    config.task = task
    points = ((0, 0.0), (50, 3e-3), (600, 3e-3), (601, 1e-3), (800, 1e-3))
    rate = dict(make="kexue_jax.optim.schedules:piecewise_linear", points=points)
    config.optimizer = dict(make="optax:adam", learning_rate=rate)
    return config


def claim(scores):
    start = scores["likelihood"]["valid/bleu"]
    parts = {"cross-entropy mixes the orders": start < 0.65}
    for variant in VARIANTS:
        if variant != "likelihood":
            found = scores[variant]["valid/bleu"]
            parts[f"{variant}: BLEU is above 0.9"] = found > 0.9
            parts[f"{variant}: BLEU goes up by 0.3"] = found - start > 0.3
    return parts
