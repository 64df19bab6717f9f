"""Whitening hurts vectors of an encoder that was trained on pairs of sentences.

Claim:  with means of the tokens of MiniLM, on the test and the development part of the
        STS benchmark and on SICK: whitening costs at least 1 point of rank correlation
        of cosines, and each quarter of its exponent some of it; taking off the mean
        alone moves less than half a point. 32 whitened components of 384 are at least
        2 points below the vectors as they are. Without whitening, the first 256
        principal components are as good as all, within half a point, and 128 within 1.
Limits: one encoder, trained by a contrastive loss of cosines, which makes its vectors
        even already. The post shows gains for encoders that were only pretrained and
        losses for those trained on similarity. Statistics are those of the sentences
        that are compared, both sides, without scores.
Source: https://kexue.fm/archives/8321 and https://kexue.fm/archives/9079 (no exponent,
        fewer components); the encoder is all-MiniLM-L6-v2 of sentence-transformers.
Run:    python -m experiments.run --config=configs/metrics/whitened_encoder.py:stsb_test
Cost:   3 variants, 1 min each on two CPU cores; nothing is trained or drawn. Needs
        kexue-jax[encoders] and the weights (`make encoders`).
"""

from itertools import pairwise

from ml_collections import ConfigDict

VARIANTS = ("stsb_test", "stsb_dev", "sick_train")
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
SMOKE = {
    "task.pairs.texts.pairs.name": "drawn",
    "task.pairs.texts.encoder.name": "drawn",
    "task.kept": (2, 12),
}


def get_config(variant="stsb_test"):
    sentences = "kexue_jax.data.sentence_pairs:scored_pairs"
    texts = dict(
        make="kexue_jax.tasks.encoded_pairs:EncodedTexts",
        pairs=dict(make=sentences, name=variant),
        encoder=dict(
            make="kexue_jax.pretrained.loading:load_pretrained",
            name="all_minilm_l6_v2",
        ),
        tokenizer=dict(bind="kexue_jax.data.wordpiece:WordPiece"),
        padded=dict(bind="kexue_jax.data.wordpiece:padded_batches"),
        batch=32,
    )
    task = dict(
        make="kexue_jax.tasks.whitened_similarity:WhitenedSimilarity",
        pairs=dict(
            make="kexue_jax.tasks.encoded_pairs:encoded_pairs",
            texts=texts,
            layers=(-1,),
            with_added=True,
        ),
        powers=POWERS,
        kept=(32, 64, 128, 256, 384),
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    parts = {}
    for name in VARIANTS:
        found = scores[name]
        raw = found["plain/raw"]
        parts[f"{name}: whitening costs"] = found["power/1"] < raw - 1.0
        still = abs(found["plain/centred"] - raw) < 0.5
        parts[f"{name}: the mean matters little"] = still
        falls = True
        for less, more in pairwise(POWERS):
            falls = falls & (found[f"power/{less:g}"] > found[f"power/{more:g}"])
        parts[f"{name}: each quarter costs"] = falls
        parts[f"{name}: 32 whitened are few"] = found["kept/32"] < raw - 2.0
        for k, loss in ((256, 0.5), (128, 1.0)):
            parts[f"{name}: {k} are enough"] = found[f"turned/{k}"] > raw - loss
    return parts
