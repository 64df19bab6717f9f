"""Scores without products of tokens cannot look anything up; mixed with them they can.

Claim:  asked for the item with a given name among sixteen, whose order and contents are
        new in every row, a two-layer model finds it in at least 95 % of rows with
        products of tokens, alone or mixed with trained random or predicted scores, and
        in at most 40 % with random, low-rank random or predicted scores alone.
Limits: a task made to need comparison; what mixtures are worth where it is not needed
        is another question. With eight names of eight contents the scores predicted
        from one token find nearly all: all items fit into one average.
Source: https://kexue.fm/archives/7430
Run:    python -m experiments.run --config=configs/attention/synthesizer_lookup.py:dense
Cost:   8 variants, 30 s each on two CPU cores.
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
    names, steps = 16, 400
    kinds = tuple(dict(bind=f"{room}.nn.synthesizer:{kind}") for kind in KINDS[variant])
    mixer = dict(
        bind=f"{room}.nn.synthesizer:Synthesizer",
        heads=4,
        head_size=16,
        length=names + 1,
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
        data=dict(
            make=f"{room}.data.lookup:lookup",
            names=names,
            contents=32,
            batch=64,
            held_out=1024,
        ),
        model=model,
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            eval_every=100,
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
        **{f"{name} alone does not": found[name] <= 0.40 for name in ALONE},
    }
