"""To prescribe the entropy of every token is worse than to leave out unlikely ones.

Claim:  a byte model draws documentation, in ways that leave its distributions the same
        mean entropy as nucleus sampling with p = 0.9 or 0.8. Raised to the power of
        that entropy in every place, they give fewer words that exist, by 3 points or
        more; and with p = 0.8 fewer different passages, by 2 points or more, than
        nucleus sampling gives at the same share of words. Lowering greater entropies
        alone is within 2 points of it there. Without either, words are fewer still.
Limits: a small model at 1.5 nats a byte, which is sure of most bytes within words:
        there a prescribed entropy makes doubts that it does not have. Words are those
        of the training text, passages 12 bytes. Written after seed 10.
Source: https://kexue.fm/archives/8829, which names decoding as a use and tries none.
Run:    python -m experiments.run --config=configs/text/decoding.py
Cost:   1 variant, 3 minutes on two CPU cores.
"""

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
        shares=(0.9, 0.8),
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

    def of(way, kind):
        return found[f"{way}/{kind}"]

    def nucleus_at(words):
        """Different passages of nucleus sampling, on the line of its two shares."""
        first, second = (of(f"top_p_{share}", "words") for share in (0.9, 0.8))
        high, low = (of(f"top_p_{share}", "distinct") for share in (0.9, 0.8))
        return high + (low - high) * (words - first) / (second - first)

    parts = {}
    for share in (0.9, 0.8):
        fixed, cut = f"at_entropy_{share}", f"top_p_{share}"
        less = of(fixed, "words") < of(cut, "words") - 0.03
        parts[f"p = {share}: fewer words"] = less
        more = of(fixed, "words") > of("plain", "words")
        parts[f"p = {share}: more than plain"] = more
        capped = f"at_most_entropy_{share}"
        apart = of(capped, "distinct") - nucleus_at(of(capped, "words"))
        parts[f"p = {share}: lowered alone, as good"] = abs(apart) < 0.02
    words = of("at_entropy_0.8", "words")
    fewer = of("at_entropy_0.8", "distinct") < nucleus_at(words) - 0.02
    return parts | {"p = 0.8: fewer passages": fewer}
