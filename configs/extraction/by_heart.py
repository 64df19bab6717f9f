"""What extractors have learned by heart they say without fault.

Claim:  of 64 questions of CMRC 2018 all are answered exactly, 95 % or more of the
        triples of 500 sentences of DuIE come back (F1) from GPLinker, and so do 95 % or
        more of the events of 100 items of financial news (FewFC), whole, after training
        on these very texts.
Limits: it says that labels, losses and decoding belong together on real data, and
        nothing of what is learned for other texts; see `answers`, `triples` and
        `events`. Texts are at most 400, 200 and 200 characters.
Source: https://kexue.fm/archives/7321, https://kexue.fm/archives/8888,
        https://kexue.fm/archives/8926
Run:    python -m experiments.run --config=configs/extraction/by_heart.py:answers
Cost:   3 variants, 6 minutes each on one CPU core.
"""

from ml_collections import ConfigDict

VARIANTS = ("answers", "triples", "events")
SCORES = ("test/exact", "test/f1", "test/event_f1")
SMOKE = {
    "steps": 2,
    "task.corpus.corpus.make": "kexue_jax.data.drawn_annotations:drawn",
    "task.corpus.count": 8,
    "task.encoder.features": 16,
    "task.encoder.hidden": 16,
}


def get_config(variant="answers"):
    room = "kexue_jax"
    data, tasks, heads = f"{room}.data", f"{room}.tasks", f"{room}.nn.extractor"
    pointer = dict(bind=f"{room}.nn.global_pointer:EfficientGlobalPointer")
    linker = dict(bind=f"{heads}:PairLinker", pointer=pointer)
    corpus, scheme, steps, count, longest, best = dict(
        answers=(
            dict(make=f"{data}.questions:questions", name="mrc_cmrc2018"),
            dict(bind=f"{tasks}.answer_schemes:EndsOfAnswers", longest=128),
            500,
            64,
            400,
            "valid/f1",
        ),
        triples=(
            dict(make=f"{data}.relations:relations", name="re_duie"),
            dict(bind=f"{tasks}.relation_schemes:LinkedTriples", linker=linker),
            1500,
            500,
            200,
            "valid/f1",
        ),
        events=(
            dict(make=f"{data}.events:events", name="ee_fewfc"),
            dict(bind=f"{tasks}.event_schemes:LinkedEvents", linker=linker),
            1000,
            100,
            200,
            "valid/event_f1",
        ),
    )[variant]
    task = dict(
        make=f"{tasks}.extraction:Extraction",
        corpus=dict(
            make=f"{data}.by_heart:by_heart",
            corpus=corpus,
            count=count,
            longest=longest,
        ),
        tokenizer=dict(bind=f"{data}.characters:Characters", length=512),
        learns=True,
        encoder=dict(
            bind=f"{room}.nn.families:roformer",
            features=128,
            layers=2,
            heads=2,
            hidden=512,
            deviation=0.08,
        ),
        scheme=scheme,
        model=dict(bind=f"{heads}:Extractor"),
        bucketed=dict(bind=f"{data}.buckets:Bucketed", batch=16, least=64),
    )
    rate = dict(
        make="optax:warmup_cosine_decay_schedule",
        init_value=0.0,
        peak_value=2e-3,
        warmup_steps=50,
        decay_steps=steps,
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            eval_every=steps // 4,
            save_every=steps // 4,
            best=best,
            best_mode="max",
            task=task,
            optimizer=dict(make="optax:adamw", learning_rate=rate, weight_decay=0.0),
        )
    )


def claim(scores):
    return {
        "answers: all exact": scores["answers"]["test/exact"] == 1.0,
        "triples: 95 % in F1": scores["triples"]["test/f1"] >= 0.95,
        "events: 95 % whole": scores["events"]["test/event_f1"] >= 0.95,
    }
