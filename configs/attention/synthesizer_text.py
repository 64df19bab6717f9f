"""DRAFT

Claim:  x
Limits: x
Source: https://kexue.fm/archives/7430
Run:    python -m experiments.run --config=configs/attention/synthesizer_text.py:random
Cost:   x
"""

from ml_collections import ConfigDict

KINDS = {
    "products": ("ProductScores",),
    "random": ("RandomScores",),
    "fixed_random": ("FixedRandomScores",),
    "dense": ("DenseScores",),
    "random_products": ("RandomScores", "ProductScores"),
}
VARIANTS = ("random", "products", "fixed_random", "dense", "random_products")
SMOKE = {
    "steps": 2,
    "task.data.batch": 2,
    "task.data.length": 16,
    "task.data.held_out_tokens": 64,
    "task.model.features": 8,
    "task.model.layers": 1,
    "task.model.hidden": 8,
}


def get_config(variant="random"):
    room = "kexue_jax"
    length, steps = 64, 500
    kinds = tuple(dict(bind=f"{room}.nn.synthesizer:{kind}") for kind in KINDS[variant])
    model = dict(
        bind=f"{room}.nn.transformer:Transformer",
        features=64,
        layers=2,
        hidden=256,
        position=dict(
            bind=f"{room}.nn.positions:LearnedPositions", length=length, scale=0.02
        ),
        mixer=dict(
            bind=f"{room}.nn.synthesizer:Synthesizer",
            heads=4,
            head_size=16,
            length=length,
            scores=kinds,
        ),
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
            make=f"{room}.data.prediction:causal_text",
            text=dict(make=f"{room}.data.prose:python_topics", seed=2),
            tokenizer=dict(bind=f"{room}.data.tokenization:byte_tokens"),
            length=length,
            batch=32,
            held_out_tokens=16384,
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
    return {"draft": scores["products"]["valid_64/loss"] < 9}
