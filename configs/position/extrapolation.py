"""Past the training length: rotary positions fail, rectified ones go on.

Claim:  todo
Limits: todo
Source: https://kexue.fm/archives/9708
Run:    python -m experiments.run --config=configs/position/extrapolation.py:rotary
Cost:   5 variants, 40 s each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("rotary", "log_rotary", "alibi", "t5", "none")
LENGTH, HEAD_SIZE = 64, 32
BEYOND = {"valid_256": 256, "valid_1024": 1024}
SMOKE = {"steps": 2, "task.data.batch": 2, "task.data.held_out_tokens": 1025}


def _readers(length, usual, rotary):
    """What a model with rotary positions can be read with at a greater length."""
    room, factor = "kexue_jax", length / LENGTH
    frequencies = f"{room}.position.frequencies"
    rectified = f"{room}.attention.rectified_rotary"
    sizes = dict(size=HEAD_SIZE, factor=factor)
    slow = dict(make=f"{frequencies}:interpolated_frequencies", **sizes)
    ntk = dict(make=f"{frequencies}:ntk_frequencies", **sizes)
    yarn = dict(
        make=f"{frequencies}:yarn_frequencies", length=LENGTH, fast=4.0, **sizes
    )
    sharper = dict(make=f"{frequencies}:yarn_attention_factor", factor=factor)
    window = LENGTH // 2
    capped = dict(
        bind=f"{rectified}:rectified_rotary_attention", window=window, rotate=rotary
    )
    leaky = dict(
        bind=f"{rectified}:leaky_rectified_rotary_attention",
        window=window,
        factor=(length - window) / (LENGTH - window),
        rotate=rotary,
    )
    log = dict(
        bind=f"{room}.attention.entropy_invariant:entropy_invariant_attention",
        base=LENGTH,
        floor=LENGTH,
    )
    turned = dict(
        interpolated=dict(rotary, frequencies=slow),
        ntk=dict(rotary, frequencies=ntk),
        yarn=dict(rotary, frequencies=yarn, amplitude=sharper),
    )
    if usual:  # trained with log n: everything is read with it
        log["floor"] = 16
        found = {
            name: dict(position=position, attention=log)
            for name, position in turned.items()
        }
        found["rectified"] = dict(attention=dict(log, attention=capped))
        found["leaky"] = dict(attention=dict(log, attention=leaky))
        return found
    found = {name: dict(position=position) for name, position in turned.items()}
    found["rectified"] = dict(attention=capped)
    found["leaky"] = dict(attention=leaky)
    found["log"] = dict(position=rotary, attention=log)
    found["log_ntk"] = dict(position=turned["ntk"], attention=log)
    found["log_rectified"] = dict(attention=dict(log, attention=capped))
    return found


def get_config(variant="rotary"):
    room, steps = "kexue_jax", 500
    rotary = dict(bind=f"{room}.position.rotary:rotary")
    log = dict(
        bind=f"{room}.attention.entropy_invariant:entropy_invariant_attention",
        base=LENGTH,
        floor=16,
    )
    positions = f"{room}.nn.positions"
    technique = {
        "rotary": dict(position=rotary),
        "log_rotary": dict(position=rotary, attention=log),
        "alibi": dict(bias=dict(bind=f"{positions}:AlibiBias")),
        "t5": dict(
            bias=dict(
                bind=f"{positions}:BucketBias", max_distance=LENGTH // 2, is_causal=True
            )
        ),
        "none": {},
    }[variant]

    def model(**technique):
        mixer = dict(
            bind=f"{room}.nn.attention:SelfAttention",
            heads=4,
            head_size=HEAD_SIZE,
            **technique,
        )
        return dict(
            bind=f"{room}.nn.transformer:Transformer",
            features=128,
            layers=2,
            hidden=256,
            mixer=mixer,
        )

    readers = {}
    if "rotary" in variant:
        for name, length in BEYOND.items():
            found = _readers(length, variant == "log_rotary", rotary)
            readers[name] = {reader: model(**found[reader]) for reader in found}
        readers["valid_64"] = {
            k: v for k, v in readers["valid_256"].items() if "rectified" in k
        }
    data = dict(
        make=f"{room}.data.prediction:causal_text",
        text=dict(make=f"{room}.data.prose:python_prose", seed=2),
        tokenizer=dict(bind=f"{room}.data.tokenization:byte_tokens"),
        length=LENGTH,
        lengths=(LENGTH, *BEYOND.values()),
        batch=32,
        held_out_tokens=16384,
    )
    task = dict(
        make=f"{room}.tasks.extrapolation:Extrapolation",
        data=data,
        model=model(**technique),
        readers=readers,
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
    return {"todo": scores["rotary"]["valid_64/loss"] < 3.0}
