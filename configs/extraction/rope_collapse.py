"""Without positions GlobalPointer cannot pair the ends of entities that look alike.

Claim:  where n entities of a text look alike to a local encoder, one score must serve
        all n (n + 1) / 2 pairs of a start and an end at or behind it, n of them right.
        Its best value is log(n / m) / 2 with m = n (n - 1) / 2: for 2 it is positive,
        so that all pairs are taken and F1 is 0.8; from 4 on it is negative, so that
        none is and F1 is 0. Positions that turn queries and keys give 0.99 at least.
        Where each city of a line is another, and two layers see five tokens each, what
        is lost without positions is 1 point at least.
Limits: made-up lines such as the post thinks of, and encoders that know no positions;
        with 3 alike the best score is 0 and F1 anything from 0 to 0.75, so it is shown
        and not judged. An encoder with positions of its own can tell entities apart,
        and did not do so well in the post either.
Source: https://kexue.fm/archives/8373
Run:    python -m experiments.run --config=configs/extraction/rope_collapse.py:turned_2
Cost:   10 variants, 25 s each on two CPU cores.
"""

from ml_collections import ConfigDict

COUNTS = ("2", "3", "4", "6", "mixed")
VARIANTS = tuple(f"{kind}_{n}" for kind in ("turned", "unturned") for n in COUNTS)
SCORES = ("test/f1", "test/precision", "test/recall")
SMOKE = {
    "steps": 2,
    "task.corpus.train": 8,
    "task.corpus.held_out": 4,
    "task.encoder.features": 8,
}


def get_config(variant="turned_mixed"):
    room, (kind, count) = "kexue_jax", variant.split("_")
    steps, mixed = 600, count == "mixed"
    pairs = (2, 6) if mixed else (int(count), int(count))
    position = dict(bind=f"{room}.position.rotary:rotary") if kind == "turned" else None
    task = dict(
        make=f"{room}.tasks.extraction:Extraction",
        corpus=dict(
            make=f"{room}.data.drawn_annotations:drawn",
            name="weather",
            train=2000,
            held_out=300,
            pairs=pairs,
            is_repeated=not mixed,
        ),
        tokenizer=dict(bind=f"{room}.data.characters:Characters"),
        learns=True,
        encoder=dict(
            bind=f"{room}.nn.convolution_encoder:ConvolutionEncoder",
            features=64,
            layers=2 if mixed else 1,
            width=5 if mixed else 3,
        ),
        scheme=dict(
            bind=f"{room}.tasks.entity_schemes:SpanEntities",
            pointer=dict(
                bind=f"{room}.nn.global_pointer:GlobalPointer",
                head_size=32,
                position=position,
            ),
        ),
        model=dict(bind=f"{room}.nn.extractor:Extractor", reads_segments=False),
        bucketed=dict(bind=f"{room}.data.buckets:Bucketed", lengths=(64,)),
    )
    rate = dict(make="optax:cosine_decay_schedule", init_value=3e-3, decay_steps=steps)
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            eval_every=steps,
            save_every=steps,
            task=task,
            optimizer=dict(make="optax:adam", learning_rate=rate),
        )
    )


def claim(scores):
    f1 = {name: scores[name]["test/f1"] for name in VARIANTS}
    parts = {
        "2 alike: F1 of 0.8": abs(f1["unturned_2"] - 0.8) < 0.02,
        "4 alike: nothing is found": f1["unturned_4"] < 0.02,
        "6 alike: nothing is found": f1["unturned_6"] < 0.02,
        "different cities: a point is lost": f1["unturned_mixed"]
        < f1["turned_mixed"] - 0.01,
    }
    for count in COUNTS:
        parts[f"turned, {count}: 0.99"] = f1[f"turned_{count}"] >= 0.99
    return parts
