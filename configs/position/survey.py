"""Encodings of positions side by side, as models of the next and of hidden bytes.

Claim:  every encoding is better than none, in both directions and as a model of the
        next byte, where the causal mask alone tells places apart and doing without
        costs less. Shaw's vectors of distance beat vectors of places added to the
        embeddings (sinusoidal, or learned and read as two digits beyond their end). At
        eight times the training length encodings with a greatest distance or a penalty
        on it (Shaw, T5, ALiBi) lose at most 2 %, those added to the embeddings more
        than 5 %.
Limits: two layers, windows of 64 bytes, a short training: how soon an encoding is made
        use of counts as much as what it can express. The order of the relative
        encodings among themselves changes with the seed and is not claimed.
Source: https://kexue.fm/archives/8130
Run:    python -m experiments.run --config=configs/position/survey.py:shaw_masked
Cost:   18 variants, 20 s each on two CPU cores.
"""

from ml_collections import ConfigDict

ADDED = ("learned", "sinusoidal")
RELATIVE = ("shaw", "xl", "t5", "deberta", "rotary", "alibi")
WAYS = ("causal", "masked")
VARIANTS = tuple(
    f"{kind}_{way}" for kind in ("shaw", "none", *ADDED, *RELATIVE[1:]) for way in WAYS
)
LENGTH, FEATURES, REACH = 64, 64, 32
SMOKE = {
    "steps": 2,
    "task.data.batch": 2,
    "task.data.lengths": (64, 128),
    "task.data.held_out_tokens": 256,
}


def get_config(variant="shaw_masked"):
    room, steps = "kexue_jax", 300
    kind, way = variant.split("_")
    relative, modules = f"{room}.nn.relative", f"{room}.nn.positions"
    added = {
        "learned": dict(bind=f"{modules}:HierarchicalPositions", length=LENGTH),
        "sinusoidal": dict(
            bind=f"{room}.position.sinusoidal:sinusoidal", size=FEATURES
        ),
    }
    buckets = dict(
        bind=f"{modules}:BucketBias", max_distance=REACH, is_causal=way == "causal"
    )
    mixed = {
        "shaw": dict(attention=dict(bind=f"{relative}:ShawAttention", clip=REACH)),
        "xl": dict(attention=dict(bind=f"{relative}:TransformerXLAttention")),
        "deberta": dict(
            attention=dict(bind=f"{relative}:DebertaAttention", reach=REACH)
        ),
        "t5": dict(bias=buckets),
        "alibi": dict(bias=dict(bind=f"{modules}:AlibiBias")),
        "rotary": dict(position=dict(bind=f"{room}.position.rotary:rotary")),
    }
    mixer = dict(
        bind=f"{room}.nn.attention:SelfAttention",
        heads=4,
        head_size=16,
        **mixed.get(kind, {}),
    )
    model = dict(
        bind=f"{room}.nn.transformer:Transformer",
        features=FEATURES,
        layers=2,
        hidden=256,
        mixer=mixer,
        is_causal=way == "causal",
    )
    if kind in added:
        model["position"] = added[kind]
    data = dict(
        make=f"{room}.data.prediction:{way}_text",
        text=dict(make=f"{room}.data.prose:python_prose", seed=2),
        tokenizer=dict(bind=f"{room}.data.tokenization:byte_tokens"),
        length=LENGTH,
        lengths=(LENGTH, 2 * LENGTH, 8 * LENGTH),
        batch=32,
        held_out_tokens=16384,
    )
    task = dict(
        make=f"{room}.tasks.token_prediction:TokenPrediction", data=data, model=model
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
    near = {name: scores[name]["valid_64/loss"] for name in VARIANTS}
    far = {name: scores[name]["valid_512/loss"] for name in VARIANTS}
    every, parts = (*ADDED, *RELATIVE), {}
    for way in WAYS:
        for kind in every:
            better = near[f"{kind}_{way}"] < near[f"none_{way}"]
            parts[f"{kind} better than none, {way}"] = better
        for kind in ADDED:
            better = near[f"shaw_{way}"] < near[f"{kind}_{way}"]
            parts[f"shaw better than {kind}, {way}"] = better
        for kind in ("shaw", "t5", "alibi"):
            kept = far[f"{kind}_{way}"] <= 1.02 * near[f"{kind}_{way}"]
            parts[f"{kind} goes on, {way}"] = kept
        for kind in ADDED:
            lost = far[f"{kind}_{way}"] > 1.05 * near[f"{kind}_{way}"]
            parts[f"{kind} does not go on, {way}"] = lost
    for kind in every:
        causal = near["none_causal"] / near[f"{kind}_causal"]
        masked = near["none_masked"] / near[f"{kind}_masked"]
        parts[f"{kind} is worth more in both directions"] = masked > causal
    return parts
