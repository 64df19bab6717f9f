"""Entities that lie within others are found by scored spans and lost by tags.

Claim:  on medical texts whose entities nest (CMeEE), trained from scratch, a CRF cannot
        even be taught some of the gold entities, and GlobalPointer is ahead of it by 1
        point or more in F1, and by 2 in recall.
Limits: 3,200 texts to learn from, and 2 layers of 128 features that read characters; a
        pretrained base encoder is published with 64 to 66 on the whole set, 1.5 ahead
        of its CRF. The variants of FULL are of that size; see `resume_entities`.
Source: https://kexue.fm/archives/8373
Run:    python -m experiments.run --config=configs/extraction/nested_entities.py:pointer
Cost:   3 variants, 4 minutes each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("pointer", "efficient", "chain")
FULL = tuple(f"{kind}_full" for kind in VARIANTS)
SCORES = ("test/f1", "test/precision", "test/recall")
SMOKE = {
    "steps": 2,
    "task.corpus.make": "kexue_jax.data.drawn_annotations:drawn",
    "task.corpus.name": "weather",
    "task.encoder.features": 16,
    "task.encoder.hidden": 16,
}


def get_config(variant="pointer"):
    room, (variant, _, full) = "kexue_jax", variant.partition("_")
    steps, highest = (4000, 2e-5) if full else (1500, 1e-3)
    schemes, pointers = f"{room}.tasks.entity_schemes", f"{room}.nn.global_pointer"
    names = dict(pointer="GlobalPointer", efficient="EfficientGlobalPointer")
    if variant == "chain":
        scheme = dict(bind=f"{schemes}:TagEntities", scheme="BIOES")
    else:
        pointer = dict(bind=f"{pointers}:{names[variant]}")
        scheme = dict(bind=f"{schemes}:SpanEntities", pointer=pointer)
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
        corpus=dict(make=f"{room}.data.entities:entities", name="ner_cmeee_v2"),
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
    recall = {name: 100 * scores[name]["test/recall"] for name in VARIANTS}
    return {
        "F1: a point ahead of the CRF": f1["pointer"] > f1["chain"] + 1,
        "recall: 2 points ahead": recall["pointer"] > recall["chain"] + 2,
        "lean: ahead of the CRF": f1["efficient"] > f1["chain"],
    }
