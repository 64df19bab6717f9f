"""Scores without products of tokens cannot look anything up; mixed with them they can.

Claim:  asked for the item with a given key among eight, whose order and values are new
        in every row, a two-layer model finds it in at least 95 % of rows with products
        of tokens, alone or mixed with trained random or predicted scores, and in at
        most 60 % with random, low-rank random or predicted scores alone.
Limits: a task made to need comparison; what mixtures are worth where it is not needed
        is another question. 600 steps: more would not help the scores that see one
        token or none.
Source: https://kexue.fm/archives/7430
Run:    python -m experiments.run --config=configs/attention/synthesizer_lookup.py:dense
Cost:   8 variants, 15 s each on two CPU cores.
"""

from ml_collections import ConfigDict

KINDS = {
    "products": ("ProductScores",),
    "random": ("RandomScores",),
    "fixed_random": ("FixedRandomScores",),
    "low_rank_random": ("FactorizedRandomScores",),
    "dense": ("DenseScores",),
    "low_rank_dense": ("FactorizedDenseScores",),
    "random_products": ("RandomScores", "ProductScores"),
    "dense_products": ("DenseScores", "ProductScores"),
}
VARIANTS = tuple(KINDS)
SMOKE = {"steps": 2, "task.data.batch": 2, "task.data.held_out": 4}
ALONE = tuple(name for name in VARIANTS if "products" not in name)


def get_config(variant="dense"):
    room = "kexue_jax"
    keys, steps = 8, 600
    kinds = tuple(dict(bind=f"{room}.nn.synthesizer:{kind}") for kind in KINDS[variant])
    mixer = dict(
        bind=f"{room}.nn.synthesizer:Synthesizer",
        heads=4,
        head_size=16,
        length=keys + 1,
        scores=kinds,
    )
    model = dict(
        bind=f"{room}.nn.transformer:Transformer",
        features=64,
        layers=2,
        hidden=128,
        mixer=mixer,
        is_causal=False,
    )
    rate = dict(
        make="optax:warmup_cosine_decay_schedule",
        init_value=0.0,
        peak_value=3e-3,
        warmup_steps=50,
        decay_steps=steps,
    )
    task = dict(
        make=f"{room}.tasks.token_prediction:TokenPrediction",
        data=dict(make=f"{room}.data.lookup:lookup", keys=keys, values=8, batch=128),
        model=model,
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            eval_every=200,
            task=task,
            optimizer=dict(make="optax:adam", learning_rate=rate),
        )
    )


def claim(scores):
    found = {name: scores[name]["valid/accuracy"] for name in VARIANTS}
    return {
        "products find it": found["products"] >= 0.95,
        "mixed with random scores they do": found["random_products"] >= 0.95,
        "mixed with predicted scores they do": found["dense_products"] >= 0.95,
        **{f"{name} alone does not": found[name] <= 0.60 for name in ALONE},
    }
