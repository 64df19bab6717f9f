"""The last layer of a sentence encoder is far above the others, which whitening lifts.

Claim:  of MiniLM, six layers trained so that means of the last have high cosines, on
        the test and the development part of the STS benchmark and on SICK: the mean of
        the last layer's tokens agrees with people better than that of any other layer,
        the embeddings included, by at least 5 points of rank correlation, and than its
        [CLS] by at least 3. The mean of first and last layer is not half a point above
        it. Cosines of sentences that have nothing to do with each other are lower there
        than in every layer before. Of the embeddings and the first four layers,
        whitened and cut to 64 components, all gain; on the STS benchmark whitening
        alone gives them at least 5 points, and takes at least 1 from the last layer,
        while on SICK it takes some from the embeddings too.
Limits: one encoder, whose lower layers were trained for the last one. Of one that was
        only pretrained the post finds the mean of first and last layer the best without
        whitening.
Source: https://kexue.fm/archives/8321; the encoder is all-MiniLM-L6-v2 of
        sentence-transformers.
Run:    python -m experiments.run --config=configs/metrics/encoder_layers.py:stsb_test
Cost:   3 variants, 1 min each on two CPU cores; nothing is trained or drawn. Needs
        kexue-jax[encoders] and the weights (`make encoders`).
"""

from ml_collections import ConfigDict

VARIANTS = ("stsb_test", "stsb_dev", "sick_train")
SMOKE = {
    "task.texts.pairs.name": "drawn",
    "task.texts.encoder.name": "drawn",
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
        make="kexue_jax.tasks.encoder_layers:EncoderLayers",
        texts=texts,
        kept=(64, 256),
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    parts = {}
    for name in VARIANTS:
        found = scores[name]
        last = found["raw/mean_6"]
        below = gains = whitened = near = True
        for layer in range(6):
            mean = f"mean_{layer}"
            below = below & (found[f"raw/{mean}"] < last - 5.0)
            near = near & (found["apart/mean_6"] < found[f"apart/{mean}"])
            if layer < 5:
                gains = gains & (found[f"kept_64/{mean}"] > found[f"raw/{mean}"])
                whitened = whitened & (
                    found[f"whitened/{mean}"] > found[f"raw/{mean}"] + 5.0
                )
        parts[f"{name}: the last layer is the best"] = below
        parts[f"{name}: above its [CLS]"] = found["raw/first_token"] < last - 3.0
        parts[f"{name}: first and last no better"] = (
            found["raw/first_last"] < last + 0.5
        )
        parts[f"{name}: strangers are least near in the last"] = near
        parts[f"{name}: 64 whitened components gain below"] = gains
        if name != "sick_train":
            parts[f"{name}: whitening gains below"] = whitened
            costs = found["whitened/mean_6"] < last - 1.0
            parts[f"{name}: and costs in the last"] = costs
    sick = scores["sick_train"]
    parts["SICK: whitening costs"] = sick["whitened/mean_0"] < sick["raw/mean_0"]
    return parts
