"""A small encoder tells hidden tokens of documentation, hidden alone or as words.

Claim:  pretrained for five minutes on the documentation that comes with CPython, it
        tells more of the hidden tokens of topics held out whole than counts of their
        neighbours do, and in fewer bits, whether pieces are hidden alone or whole words
        are; each way of hiding is told best, in bits, by who was trained on it; and
        without positions 5 points fewer are told.
Limits: a small model, a small text and a small budget. At the test all that is to be
        told is hidden. The counts read what the model reads, so that a hidden neighbour
        says nothing; how much they trust pairs is chosen on the training text.
Source: https://kexue.fm/archives/8265 (RoFormer); whole words as in WoBERT and
        RoFormer-Sim, https://kexue.fm/archives/7758, https://kexue.fm/archives/8454
Run:    python -m experiments.run --config=configs/text/masked_model.py:words
Cost:   3 variants, 5 minutes each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("words", "pieces", "unturned")
SMOKE = {
    "steps": 2,
    "task.encoder.layers": 1,
    "task.encoder.features": 16,
    "task.encoder.heads": 2,
    "task.encoder.hidden": 16,
    "task.packed.batch": 4,
    "task.corpus": {
        "bind": "kexue_jax.data.unlabelled:unlabelled",
        "names": ("drawn",),
        "held_out": 0.2,
    },
}


def get_config(variant="words"):
    room, steps = "kexue_jax", 2000
    masking = f"{room}.algorithms.masking"

    def masked(name, **more):
        return dict(bind=f"{masking}:{name}", **more)

    sizes = dict(features=128, layers=2, heads=2, hidden=512)
    encoder = dict(bind=f"{room}.nn.families:roformer", **sizes)
    if variant == "unturned":
        encoder = dict(bind=f"{room}.nn.families:bert", length=None, **sizes)
    whole = dict(bind=f"{room}.data.packed:whole_pieces")
    told = dict(shares=(1.0, 0.0))
    task = dict(
        make=f"{room}.tasks.masked_language_model:MaskedLanguageModel",
        corpus=dict(
            bind=f"{room}.data.unlabelled:python_documents", seed=2, held_out=0.1
        ),
        tokenizer=dict(
            bind=f"{room}.data.learned_pieces:learned_pieces",
            vocabulary=2048,
            length=None,
        ),
        learns=True,
        packed=dict(bind=f"{room}.data.packed:Packed", batch=32, starts=whole),
        encoder=encoder,
        length=64,
        masking=masked("masked_words" if variant == "words" else "masked_tokens"),
        held_out=dict(
            words=masked("masked_words", **told),
            pieces=masked("masked_tokens", **told),
        ),
        joint=" ",
    )

    def rate(peak):
        return dict(
            make="optax:warmup_cosine_decay_schedule",
            init_value=0.0,
            peak_value=peak,
            warmup_steps=50,
            decay_steps=steps,
        )

    parts = dict(
        matrix=dict(
            make="optax.contrib:muon",
            learning_rate=rate(0.02),
            weight_decay=0.1,
            ns_steps=3,
        ),
        other=dict(
            make="optax:adamw", learning_rate=rate(0.004), b2=0.95, weight_decay=0.0
        ),
    )
    labels = dict(
        bind=f"{room}.optim.labels:by_name",
        rules=(("kernel", "matrix"),),
        otherwise="other",
    )
    optimizer = dict(
        make=f"{room}.optim.chain:chain",
        order=("clip", "rule"),
        clip=dict(make="optax:clip_by_global_norm", max_norm=1.0),
        rule=dict(make="optax:partition", transforms=parts, param_labels=labels),
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            eval_every=500,
            save_every=500,
            task=task,
            optimizer=optimizer,
        )
    )


def claim(scores):
    words, pieces, none = (scores[name] for name in VARIANTS)

    def ahead(own, name):
        told = own[f"{name}/accuracy"] > own[f"{name}/neighbours_accuracy"]
        return told & (own[f"{name}/bits"] < own[f"{name}/neighbours_bits"])

    return {
        "words: ahead of counts": ahead(words, "words"),
        "pieces: ahead of counts": ahead(pieces, "pieces"),
        "words: best told by words": words["words/bits"] < pieces["words/bits"],
        "pieces: best told by pieces": pieces["pieces/bits"] < words["pieces/bits"],
        "without positions: 5 points fewer": none["pieces/accuracy"]
        < pieces["pieces/accuracy"] - 0.05,
    }
