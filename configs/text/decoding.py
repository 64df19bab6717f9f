"""WIP"""

from ml_collections import ConfigDict

VARIANTS = ("ways",)
SMOKE = {
    "steps": 2,
    "task.data.batch": 2,
    "task.data.length": 48,
    "task.data.held_out_tokens": 256,
    "task.samples": 2,
    "task.model.features": 16,
    "task.model.layers": 1,
    "task.model.hidden": 16,
}


def get_config(variant="ways"):
    del variant  # there is one
    room, steps = "kexue_jax", 500
    mixer = dict(
        bind=f"{room}.nn.attention:SelfAttention",
        heads=4,
        head_size=32,
        position=dict(bind=f"{room}.position.rotary:rotary"),
    )
    model = dict(
        bind=f"{room}.nn.transformer:Transformer",
        features=128,
        layers=2,
        hidden=512,
        mixer=mixer,
    )
    data = dict(
        bind=f"{room}.data.prediction:causal_text",
        tokenizer=dict(bind=f"{room}.data.tokenization:byte_tokens"),
        length=128,
        batch=16,
        held_out_tokens=34816,
    )
    task = dict(
        make=f"{room}.tasks.decoding:Decoding",
        text=dict(make=f"{room}.data.prose:python_prose", seed=2),
        data=data,
        model=model,
        shares=(0.98, 0.9, 0.8),
        samples=256,
        prompt=32,
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
    found = scores["ways"]
    return {"x": found["plain/words"] > 0}
