"""WIP"""

from ml_collections import ConfigDict

BASES = (100, 1000, 10000, 1000000)
VARIANTS = tuple(f"{kind}_{base}" for kind in ("trained", "fixed") for base in BASES)
SMOKE = {
    "steps": 2,
    "task.data.batch": 2,
    "task.data.held_out_tokens": 256,
    "task.model.features": 8,
    "task.model.hidden": 8,
    "task.windows": 1,
}


def get_config(variant="trained_10000"):
    room, steps = "kexue_jax", 300
    kind, base = variant.split("_")
    position = {
        "trained": f"{room}.nn.positions:TrainedRotary",
        "fixed": f"{room}.position.rotary:rotary",
    }[kind]
    mixer = dict(
        bind=f"{room}.nn.attention:SelfAttention",
        heads=2,
        head_size=32,
        position=dict(bind=position, base=float(base)),
    )
    model = dict(
        bind=f"{room}.nn.transformer:Transformer",
        features=64,
        layers=2,
        hidden=256,
        mixer=mixer,
        tied=False,
    )
    data = dict(
        make=f"{room}.data.prediction:causal_text",
        text=dict(make=f"{room}.data.prose:python_prose", seed=2),
        tokenizer=dict(bind=f"{room}.data.tokenization:byte_tokens"),
        length=128,
        batch=16,
        held_out_tokens=16384,
    )
    task = dict(
        make=f"{room}.tasks.trained_frequencies:TrainedFrequencies",
        data=data,
        model=model,
        windows=16,
        read=32,
    )

    def rate(peak):
        return dict(
            make="optax:warmup_cosine_decay_schedule",
            init_value=0.0,
            peak_value=peak,
            warmup_steps=20,
            decay_steps=steps,
        )

    parts = dict(
        matrix=dict(make="optax.contrib:muon", learning_rate=rate(0.02), ns_steps=3),
        other=dict(make="optax:adamw", learning_rate=rate(0.004), weight_decay=0.0),
    )
    labels = dict(
        bind=f"{room}.optim.labels:by_name",
        rules=(("kernel", "matrix"),),
        otherwise="other",
    )
    optimizer = dict(make="optax:partition", transforms=parts, param_labels=labels)
    return ConfigDict(dict(seed=0, steps=steps, task=task, optimizer=optimizer))


def claim(scores):
    return {"x": scores["fixed_100"]["embedding/dominance"] > 0}
