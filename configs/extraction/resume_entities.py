"""Entities of resumes: scored spans do as well as a chain of tags, and need positions.

Claim:  with a small encoder that knows positions, trained from scratch, GlobalPointer
        and its lean form are within 1 point of a CRF in F1 on resumes, whose entities
        never meet; without positions in its scores GlobalPointer is behind by 2 points
        or more; and a CRF is ahead of tags that are decided each alone. Where all
        scores are held at once the multi-label loss, which takes only where the gold
        spans are, trains to the same F1 as in blocks, within 0.7 points. By the
        difference of two sums, as the published program has it, it is worse by 0.3
        points or more: of a span that scores well the loss rises with its score. A
        maximum entropy Markov model is ahead of tags alone, one of both directions is
        ahead of that, and the CRF no worse than either.
Limits: 2 layers of 128 features that read characters, nothing pretrained; a pretrained
        base encoder is published with 96 here. The variants of FULL, such as
        pointer_full, have the size of a base encoder and read as BERT does: begin them
        with ``--config.init_from`` its folder, on a GPU. They are not what the claim
        says. All rates are one, but that of the chain's moves.
Source: https://kexue.fm/archives/8373, https://kexue.fm/archives/8877,
        https://kexue.fm/archives/7196, https://kexue.fm/archives/7359,
        https://kexue.fm/archives/7213
Run:    python -m experiments.run --config=configs/extraction/resume_entities.py:pointer
Cost:   9 variants, 3 minutes each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = (
    *("pointer", "efficient", "unturned", "whole", "difference"),
    *("chain", "alone", "markov", "markov_both"),
)
SCORES = ("test/f1", "test/precision", "test/recall")
SMOKE = {
    "steps": 2,
    "task.corpus.make": "kexue_jax.data.drawn_annotations:drawn",
    "task.corpus.name": "weather",
    "task.encoder.features": 16,
    "task.encoder.hidden": 16,
}
SMALL = ("whole", "difference", "markov", "markov_both")
FULL = tuple(f"{kind}_full" for kind in VARIANTS if kind not in SMALL)


def get_config(variant="pointer"):
    room, full = "kexue_jax", variant.endswith("_full")
    variant = variant.removesuffix("_full")
    steps, highest = (2400, 2e-5) if full else (1500, 1e-3)
    schemes, pointers = f"{room}.tasks.entity_schemes", f"{room}.nn.global_pointer"
    markov = f"{room}.nn.memm:MaximumEntropyMarkov"

    def spans(name="GlobalPointer", loss=None, **more):
        return dict(
            bind=f"{schemes}:SpanEntities",
            pointer=dict(bind=f"{pointers}:{name}", **more),
            is_flat=True,
            objective=loss and dict(bind=f"{room}.losses.multilabel:{loss}"),
        )

    def tags(**more):
        tagger = dict(bind=f"{room}.nn.extractor:Tagger", **more)
        return dict(bind=f"{schemes}:TagEntities", scheme="BIOES", tagger=tagger)

    scheme = {
        "pointer": spans(),
        "efficient": spans("EfficientGlobalPointer"),
        "unturned": spans(position=None),
        "whole": spans(loss="sparse_multilabel_cross_entropy"),
        "difference": spans(loss="difference_multilabel_cross_entropy"),
        "chain": tags(),
        "alone": tags(chain=None),
        "markov": tags(chain=dict(bind=markov)),
        "markov_both": tags(chain=dict(bind=markov, bidirectional=True)),
    }[variant]
    sizes, family = dict(features=128, layers=2, heads=2, hidden=512), "roformer"
    tokenizer = dict(bind=f"{room}.data.characters:Characters", length=256)
    if full:
        sizes, family, words = {}, "bert", f"{room}.data.vocabularies:vocabulary"
        tokenizer = dict(
            make=f"{room}.data.wordpiece:WordPiece",
            vocabulary=dict(make=words, name="bert_base_chinese"),
            length=256,
        )
    task = dict(
        make=f"{room}.tasks.extraction:Extraction",
        corpus=dict(make=f"{room}.data.entities:entities", name="ner_resume"),
        tokenizer=tokenizer,
        learns=not full,
        encoder=dict(bind=f"{room}.nn.families:{family}", dropout_rate=0.1, **sizes),
        scheme=scheme,
        model=dict(bind=f"{room}.nn.extractor:Extractor", dropout_rate=0.3),
        bucketed=dict(bind=f"{room}.data.buckets:Bucketed", batch=16),
    )

    rate = dict(
        make="optax:warmup_cosine_decay_schedule",
        init_value=0.0,
        peak_value=highest,
        warmup_steps=100,
        decay_steps=steps,
    )
    chain_rate = (("transitions", 1e-2 / highest),)
    optimizer = dict(
        make=f"{room}.optim.chain:chain",
        order=("adamw", "rates"),
        adamw=dict(make="optax:adamw", learning_rate=rate, weight_decay=0.01),
        rates=dict(make=f"{room}.optim.layerwise:scale_by_name", rules=chain_rate),
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            eval_every=250,
            save_every=250,
            best="valid/f1",
            best_mode="max",
            task=task,
            optimizer=optimizer,
        )
    )


def claim(scores):
    f1 = {name: 100 * scores[name]["test/f1"] for name in VARIANTS}
    return {
        "GlobalPointer: within a point of the CRF": f1["pointer"] > f1["chain"] - 1,
        "lean: within a point of the CRF": f1["efficient"] > f1["chain"] - 1,
        "without positions: 2 points behind": f1["unturned"] < f1["pointer"] - 2,
        "CRF: ahead of tags alone": f1["chain"] > f1["alone"],
        "Markov model: ahead of tags alone": f1["markov"] > f1["alone"],
        "both directions: ahead of one": f1["markov_both"] > f1["markov"],
        "CRF: no worse than either": (f1["chain"] >= f1["markov"])
        & (f1["chain"] >= f1["markov_both"]),
        "loss in blocks: as of all at once": abs(f1["pointer"] - f1["whole"]) < 0.7,
        "loss by a difference: 0.3 behind": f1["difference"] < f1["pointer"] - 0.3,
    }
