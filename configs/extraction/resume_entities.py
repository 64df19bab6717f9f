"""Entities of resumes."""

from ml_collections import ConfigDict

VARIANTS = ("pointer", "efficient", "unturned", "chain", "alone")


def get_config(variant="pointer"):
    room = "kexue_jax"
    steps = 1500
    pointer = f"{room}.nn.global_pointer:GlobalPointer"
    spans = f"{room}.tasks.entity_schemes:SpanEntities"
    tags = f"{room}.tasks.entity_schemes:TagEntities"
    tagger = f"{room}.nn.extractor:Tagger"
    scheme = {
        "pointer": dict(bind=spans, pointer=dict(bind=pointer), is_flat=True),
        "efficient": dict(
            bind=spans,
            pointer=dict(bind=f"{room}.nn.global_pointer:EfficientGlobalPointer"),
            is_flat=True,
        ),
        "unturned": dict(
            bind=spans, pointer=dict(bind=pointer, position=None), is_flat=True
        ),
        "chain": dict(bind=tags, scheme="BIOES"),
        "alone": dict(bind=tags, scheme="BIOES", tagger=dict(bind=tagger, chain=None)),
    }[variant]
    task = dict(
        make=f"{room}.tasks.extraction:Extraction",
        corpus=dict(make=f"{room}.data.entities:entities", name="ner_resume"),
        tokenizer=dict(bind=f"{room}.data.characters:Characters", length=256),
        learns=True,
        encoder=dict(
            bind=f"{room}.nn.families:roformer",
            features=128,
            layers=2,
            heads=2,
            hidden=512,
            dropout_rate=0.1,
        ),
        scheme=scheme,
        model=dict(bind=f"{room}.nn.extractor:Extractor", dropout_rate=0.3),
        bucketed=dict(bind=f"{room}.data.buckets:Bucketed", batch=16),
    )
    rate = dict(
        make="optax:warmup_cosine_decay_schedule",
        init_value=0.0,
        peak_value=1e-3,
        warmup_steps=100,
        decay_steps=steps,
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            eval_every=250,
            log_every=50,
            save_every=steps,
            task=task,
            optimizer=dict(make="optax:adamw", learning_rate=rate, weight_decay=0.01),
        )
    )


def claim(scores):
    return {"x": True}
