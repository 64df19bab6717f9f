"""Which ROUGE and which BLEU decides what is better: one that loops or one that stops.

Claim:  200 sentences said in part and then over and over score 15 points more in
        ROUGE-1 by distinct n-grams, as the newer versions of the posts' package count,
        than by counts, and thereby pass those that stop half way, which are ahead by
        counts. ROUGE-L of the posts, of distinct tokens, is 15 points above ROUGE-L
        for them, and within 3 points of it for sentences with characters replaced. On
        all outputs together the posts' BLEU, a mean over sentences, is 3 points or more
        from BLEU of the corpus, and within 3 points of another mean over sentences.
Limits: sentences of encyclopaedic texts spoiled on purpose, no model's outputs. Written
        before any score was seen.
Source: https://kexue.fm/archives/7259, whose tables name no version.
Run:    python -m experiments.run --config=configs/text/score_conventions.py
Cost:   1 variant, 10 s on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("characters",)
SMOKE = {
    "task.texts.corpus.make": "kexue_jax.data.drawn_annotations:drawn",
    "task.texts.corpus.name": "weather",
    "task.texts.count": 4,
}


def get_config(variant="characters"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.score_conventions:ScoreConventions",
        texts=dict(
            make="kexue_jax.data.first_sentences:first_sentences",
            corpus=dict(make="kexue_jax.data.questions:questions", name="mrc_cmrc2018"),
            count=200,
        ),
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = {name: 100 * value for name, value in scores["characters"].items()}

    def above(way, kind, high, low):
        return found[f"{way}/{kind}_{high}"] - found[f"{way}/{kind}_{low}"]

    def ahead(convention):
        loops, cut = (found[f"{w}/rouge_1_{convention}"] for w in ("loops", "cut"))
        return loops - cut

    return {
        "loops: ROUGE-1 by distinct 15 above": above(
            "loops", "rouge_1", "distinct", "counts"
        )
        > 15,
        "by distinct n-grams loops are ahead": ahead("distinct") > 0,
        "by counts they are behind": ahead("counts") < 0,
        "loops: ROUGE-L of the posts 15 above": above(
            "loops", "rouge_l", "posts", "counts"
        )
        > 15,
        "replaced: ROUGE-L within 3": abs(
            above("replaced", "rouge_l", "posts", "counts")
        )
        < 3,
        "all: BLEU of the corpus 3 away": abs(above("all", "bleu", "corpus", "posts"))
        > 3,
        "all: means of sentences within 3": abs(
            above("all", "bleu", "sentences", "posts")
        )
        < 3,
    }
