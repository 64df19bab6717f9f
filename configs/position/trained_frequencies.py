"""Training hardly moves rotary frequencies; the base that they begin with counts more.

Claim:  from bases of 100 to a million, trained frequencies move by less than a tenth on
        average and change the loss by less than 0.5 %. Over windows of 128 bytes 100
        and 1000 are better than 10,000 by at least 1 %. The diagonals that the
        derivation of sinusoids assumes are not those of training: the covariance of the
        vectors of tokens is no more diagonal than that of vectors drawn at random
        (within 15 %), and derivatives by pairs of places are less than twice as large
        on the diagonal as beside it.
Limits: two layers, a short training, windows in which the slow half of the frequencies
        of base 10,000 turns by less than a quarter. Frequencies learn at the rate of
        all that is no matrix. Written after seed 10.
Source: https://kexue.fm/archives/8231, and https://kexue.fm/archives/8265 on training.
Run:    python -m experiments.run --config=configs/position/trained_frequencies.py
Cost:   8 variants, 25 s each on two CPU cores.
"""

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
    loss = {name: scores[name]["valid_128/loss"] for name in VARIANTS}
    parts = {}
    for base in BASES:
        trained = scores[f"trained_{base}"]
        change = abs(loss[f"trained_{base}"] / loss[f"fixed_{base}"] - 1.0)
        parts[f"base {base}: frequencies stay"] = trained["frequencies/moved"] < 0.1
        parts[f"base {base}: the loss stays"] = change < 0.005
    for base in (100, 1000):
        better = loss[f"fixed_{base}"] < 0.99 * loss["fixed_10000"]
        parts[f"base {base} is better than 10000"] = better
    alike, mixed = True, True
    for found in scores.values():
        share = found["embedding/dominance"] / found["embedding/dominance_at_first"]
        alike = alike & (abs(share - 1.0) < 0.15)
        mixed = mixed & (found["pairs/dominance"] < 2.0)
    return parts | {"tokens: as at random": alike, "pairs: not diagonal": mixed}
