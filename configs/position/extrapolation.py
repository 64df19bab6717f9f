"""Beyond the training length rotary positions fail and capped ones go on.

Claim:  trained on windows of 64 bytes and read at 256 and 1024, rotary positions lose
        more when they are interpolated without further training than when nothing is
        done, less with NTK frequencies, and less again when distances are capped at 32
        (ReRoPE). Capping costs at most 0.5 % at 64; at 256 the loss is below that at
        64, as there is more to read, and at 1024 at most 2 % above it. At 1024 capped
        positions gain from scores scaled by log n at the test alone, and more from
        scores so scaled in training as well, from which NTK frequencies gain, too. The
        loss with ALiBi is nowhere above that at 64.
Limits: a small model of bytes. The post's models are read at two to eight times their
        training length, and its loss of capped positions falls throughout. What log n
        in training adds is less than what seeds change here. A trained bias of buckets
        (T5) fails less than rotary positions and more than ALiBi; YaRN, whose ramp is
        from 1 to 4 turns as 64 bytes are ten at most, fails as NTK does.
Source: https://kexue.fm/archives/9708
Run:    python -m experiments.run --config=configs/position/extrapolation.py:log_rotary
Cost:   5 variants, 1 to 2 minutes each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("log_rotary", "rotary", "alibi", "t5", "none")
LENGTH, HEAD_SIZE, FLOOR = 64, 32, 16
BEYOND = {"valid_256": 256, "valid_1024": 1024}
SMOKE = {"steps": 2, "task.data.batch": 2, "task.data.held_out_tokens": 1025}


def _readers(length, in_training, rotary):
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
    if in_training:  # with log n; it stays in the test
        log["floor"] = FLOOR
        return dict(
            ntk=dict(position=turned["ntk"], attention=log),
            rectified=dict(attention=dict(log, attention=capped)),
        )
    found = {name: dict(position=position) for name, position in turned.items()}
    found["rectified"] = dict(attention=capped)
    found["leaky"] = dict(attention=leaky)
    found["log_rectified"] = dict(attention=dict(log, attention=capped))
    return found


def get_config(variant="log_rotary"):
    room, steps = "kexue_jax", 500
    rotary = dict(bind=f"{room}.position.rotary:rotary")
    log = dict(
        bind=f"{room}.attention.entropy_invariant:entropy_invariant_attention",
        base=LENGTH,
        floor=FLOOR,
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
        capped = readers["valid_256"]["rectified"]
        readers["valid_64"] = dict(rectified=capped)
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
    def loss(variant, *words):
        return scores[variant]["/".join((*words, "loss"))]

    usual, capped = loss("rotary", "valid_64"), loss("rotary", "valid_64", "rectified")
    parts = {"capping costs at most 0.5 % at 64": capped <= 1.005 * usual}
    for name, n in BEYOND.items():
        plain, ntk = loss("rotary", name), loss("rotary", name, "ntk")
        slow = loss("rotary", name, "interpolated")
        far = loss("rotary", name, "rectified")
        parts[f"interpolated worse than plain at {n}"] = slow > plain
        parts[f"NTK better than plain at {n}"] = ntk < plain
        parts[f"capped better than NTK at {n}"] = far < ntk
        parts[f"NTK gains from log n in training at {n}"] = (
            loss("log_rotary", name, "ntk") < ntk
        )
        alibi = loss("alibi", name) <= loss("alibi", "valid_64")
        parts[f"ALiBi loses nothing at {n}"] = alibi
    late = loss("rotary", "valid_1024", "log_rectified")
    early = loss("log_rotary", "valid_1024", "rectified")
    return parts | {
        "capped falls at 256": loss("rotary", "valid_256", "rectified") < capped,
        "capped within 2 % at 1024": far <= 1.02 * capped,
        "log n at the test helps capped at 1024": late < far,
        "log n in training helps it more": early < late,
    }
