"""Positions that only change weights of attention cannot number equal tokens.

Claim:  given sixteen equal tokens, a model in both directions names the place of at
        least 90 % of them with positions added to the embeddings (learned or
        sinusoidal) or with vectors of distance added to the values (Shaw); with none,
        with Shaw's vectors on keys alone, with Transformer-XL, T5, DeBERTa, ALiBi and
        rotary positions its loss stays at that of a guess, log 16.
Limits: a task made of this defect; in text the tokens differ, and there is often one
        at the beginning that is the same in all rows, which mends it.
Source: https://kexue.fm/archives/9105
Run:    python -m experiments.run --config=configs/position/places.py:shaw
Cost:   10 variants, 10 s each on two CPU cores.
"""

import math

from ml_collections import ConfigDict

LENGTH, FEATURES = 16, 32
ADDED = ("learned", "sinusoidal")
IN_VALUES = ("shaw",)
IN_WEIGHTS = ("none", "shaw_keys", "xl", "t5", "deberta", "rotary", "alibi")
VARIANTS = (*ADDED, *IN_VALUES, *IN_WEIGHTS)
SMOKE = {"steps": 2}


def get_config(variant="shaw"):
    room, steps = "kexue_jax", 600
    relative, modules = f"{room}.nn.relative", f"{room}.nn.positions"
    added = {
        "learned": dict(bind=f"{modules}:LearnedPositions", length=LENGTH),
        "sinusoidal": dict(
            bind=f"{room}.position.sinusoidal:sinusoidal", size=FEATURES
        ),
    }
    mixed = {
        "shaw": dict(attention=dict(bind=f"{relative}:ShawAttention", clip=4)),
        "shaw_keys": dict(
            attention=dict(bind=f"{relative}:ShawAttention", clip=4, values=False)
        ),
        "xl": dict(attention=dict(bind=f"{relative}:TransformerXLAttention")),
        "deberta": dict(
            attention=dict(bind=f"{relative}:DebertaAttention", reach=LENGTH)
        ),
        "t5": dict(bias=dict(bind=f"{modules}:BucketBias")),
        "alibi": dict(bias=dict(bind=f"{modules}:AlibiBias")),
        "rotary": dict(position=dict(bind=f"{room}.position.rotary:rotary")),
    }
    mixer = dict(
        bind=f"{room}.nn.attention:SelfAttention",
        heads=4,
        head_size=8,
        **mixed.get(variant, {}),
    )
    model = dict(
        bind=f"{room}.nn.transformer:Transformer",
        features=FEATURES,
        layers=2,
        hidden=64,
        mixer=mixer,
        is_causal=False,
    )
    if variant in added:
        model["position"] = added[variant]
    task = dict(
        make=f"{room}.tasks.token_prediction:TokenPrediction",
        data=dict(make=f"{room}.data.places:places", length=LENGTH, batch=4),
        model=model,
    )
    rate = dict(
        make="optax:warmup_cosine_decay_schedule",
        init_value=0.0,
        peak_value=1e-2,
        warmup_steps=20,
        decay_steps=steps,
    )
    optimizer = dict(make="optax:adam", learning_rate=rate)
    return ConfigDict(
        dict(seed=0, steps=steps, eval_every=100, task=task, optimizer=optimizer)
    )


def claim(scores):
    right = {name: scores[name]["valid/accuracy"] for name in VARIANTS}
    loss = {name: scores[name]["valid/loss"] for name in VARIANTS}
    can = {f"{name} can": right[name] >= 0.9 for name in (*ADDED, *IN_VALUES)}
    guess = math.log(LENGTH) - 1e-4  # rounding
    return can | {f"{name} cannot": loss[name] >= guess for name in IN_WEIGHTS}
