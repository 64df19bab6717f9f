"""With scores scaled by log n a model of hidden tokens reads longer texts better.

Claim:  trained on windows of 64 bytes, a model with rotary positions is as good at 64
        with scores scaled by log n (within 2 points of accuracy), and finds more of the
        hidden bytes in windows of 256, 512 and 1024 than the model with the usual
        scale. So does that one, where the factor max(1, log n / log 64) comes in at the
        test alone.
Limits: a small model of bytes. All windows of training have one length, so the two are
        trained with scales that differ by a constant. The factor at the test alone
        moves accuracy by at most one point, and trained models of one kind differ by
        more than that from seed to seed: three seeds decide nothing in favour of log n.
Source: https://kexue.fm/archives/8823, with the base 512.
Run:    python -m experiments.run --config=configs/attention/log_scale_text.py:log
Cost:   2 variants, 90 s each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("log", "usual")
LENGTH, BEYOND = 64, (128, 256, 512, 1024)
SMOKE = {"steps": 2, "task.data.batch": 2, "task.data.held_out_tokens": 1025}


def get_config(variant="log"):
    room, steps = "kexue_jax", 600
    scaled = dict(
        bind=f"{room}.attention.entropy_invariant:entropy_invariant_attention"
    )

    def model(**technique):
        mixer = dict(
            bind=f"{room}.nn.attention:SelfAttention",
            heads=4,
            head_size=32,
            position=dict(bind=f"{room}.position.rotary:rotary"),
            **technique,
        )
        return dict(
            bind=f"{room}.nn.transformer:Transformer",
            features=128,
            layers=2,
            hidden=256,
            mixer=mixer,
            is_causal=False,
        )

    data = dict(
        make=f"{room}.data.prediction:masked_text",
        text=dict(make=f"{room}.data.prose:python_prose", seed=2),
        tokenizer=dict(bind=f"{room}.data.tokenization:byte_tokens"),
        length=LENGTH,
        lengths=(LENGTH, *BEYOND),
        batch=32,
        held_out_tokens=16384,
    )
    task = dict(make=f"{room}.tasks.extrapolation:Extrapolation", data=data)
    if variant == "log":
        task |= dict(model=model(attention=dict(scaled, base=512.0)), readers={})
    else:
        late = model(attention=dict(scaled, base=LENGTH, floor=LENGTH))
        readers = {f"valid_{length}": dict(late=late) for length in BEYOND}
        task |= dict(model=model(), readers=readers)

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
    log, usual = scores["log"], scores["usual"]
    parts = {
        "as good at 64": (log["valid_64/accuracy"] > usual["valid_64/accuracy"] - 0.02)
    }
    for n in (256, 512, 1024):
        found = usual[f"valid_{n}/accuracy"]
        parts[f"better at {n}"] = log[f"valid_{n}/accuracy"] > found
        parts[f"better at {n}, at the test alone"] = (
            usual[f"valid_{n}/late/accuracy"] > found
        )
    return parts
