"""The names of each family in files of transformers."""

from collections.abc import Mapping

from kexue_jax.pretrained.names import CONV1D, Names, Their

HEADS = ("vocabulary", "pooler", "classes", "next_sentence", "places", "span")
"""What may stand on a backbone: scores of tokens (masked or causal), the pooler alone,
classes of a row on it, whether one text follows another, classes of each place, and two
scores of each place for the begin and end of an answer."""

EMBEDDINGS = {
    "embeddings/tokens": "embeddings.word_embeddings",
    "embeddings/segments": "embeddings.token_type_embeddings",
    "embeddings/position": "embeddings.position_embeddings",
    "embeddings/norm": "embeddings.LayerNorm",
}
BERT_BLOCK = {
    "mixer/query": "attention.self.query",
    "mixer/key": "attention.self.key",
    "mixer/value": "attention.self.value",
    "mixer/output": "attention.output.dense",
    "mixer_norm": "attention.output.LayerNorm",
    "feed_forward/widen": "intermediate.dense",
    "feed_forward/narrow": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
_ALBERT_BLOCK = {
    "mixer/query": "attention.query",
    "mixer/key": "attention.key",
    "mixer/value": "attention.value",
    "mixer/output": "attention.dense",
    "mixer_norm": "attention.LayerNorm",
    "feed_forward/widen": "ffn",
    "feed_forward/narrow": "ffn_output",
    "feed_forward_norm": "full_layer_layer_norm",
}
_BUFFERS = (
    r"embeddings\.position_ids$",
    r"embeddings\.token_type_ids$",
    r"embed_positions\.weight$",  # sinusoids
    r"positions_encoding$",  # sinusoids of NEZHA
)
_OLD = {
    r"LayerNorm\.gamma$": "LayerNorm.weight",
    r"LayerNorm\.beta$": "LayerNorm.bias",
}


def with_front(front: str, table: Mapping[str, str]) -> dict[str, str]:
    return {ours: front + theirs for ours, theirs in table.items()}


def blocks(front: str, table: Mapping[str, str]) -> dict[str, str]:
    return {f"blocks/{{}}/{ours}": front + theirs for ours, theirs in table.items()}


# Of each family: what its names begin with, the map behind narrow embeddings, the
# pooler, and the modules of its head of tokens with the array of numbers of tokens.
_TRANSFORM = ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm")
_FAMILIES: Mapping[str, tuple[str, str, str, tuple[str, str], str]] = {
    "bert": ("bert.", "", "pooler.dense", _TRANSFORM, "cls.predictions.bias"),
    "nezha": ("nezha.", "", "pooler.dense", _TRANSFORM, "cls.predictions.bias"),
    "roformer": (
        "roformer.",
        "embeddings_project",
        "pooler.dense",
        _TRANSFORM,
        "cls.predictions.bias",
    ),
    "roberta": (
        "roberta.",
        "",
        "pooler.dense",
        ("lm_head.dense", "lm_head.layer_norm"),
        "lm_head.bias",
    ),
    "albert": (
        "albert.",
        "encoder.embedding_hidden_mapping_in",
        "pooler",
        ("predictions.dense", "predictions.LayerNorm"),
        "predictions.bias",
    ),
    "electra": (
        "electra.",
        "embeddings_project",
        "pooler.dense",
        ("generator_predictions.dense", "generator_predictions.LayerNorm"),
        "generator_lm_head.bias",
    ),
}
_OWN_POOLERS = ("roformer", "roberta", "electra")
"""Families whose classifiers of rows have a first map of their own."""


def _head(family: str, head: str | None) -> dict[str, str]:
    front, _, pooler, (dense, norm), _ = _FAMILIES[family]
    own = head == "classes" and family in _OWN_POOLERS
    pooled = "classifier.dense" if own else front + pooler
    return {
        None: {},
        "vocabulary": {"head/transform": dense, "head/norm": norm},
        "pooler": {"head/pooler": pooled},
        "classes": {
            "head/pooler": pooled,
            "head/scores": "classifier.out_proj" if own else "classifier",
        },
        "next_sentence": {
            "head/pooler": pooled,
            "head/scores": "sop_classifier.classifier"
            if family == "albert"
            else "cls.seq_relationship",
        },
        "places": {"head/scores": "classifier"},
        "span": {"head/scores": "qa_outputs"},
    }[head]


def encoder_names(family: str, head: str | None = None) -> Names:
    """Returns the names of transformers for an encoder with one of `HEADS` or none.

    Args:
      family: ``bert`` (RoBERTa-wwm and WoBERT are such files too), ``nezha``,
        ``roformer``, ``roberta``, ``albert`` or ``electra``.
      head: one of `HEADS`; None is a backbone alone.
    """
    front, widen, pooler, _, bias = _FAMILIES[family]
    if family == "albert":
        layer, block = "encoder.albert_layer_groups.{}.albert_layers.0.", _ALBERT_BLOCK
    else:
        layer, block = "encoder.layer.{}.", BERT_BLOCK
    backbone = with_front(front, {**EMBEDDINGS, "embeddings/widen": widen})
    table = f"{front}embeddings.word_embeddings.weight"
    scores = bias.removesuffix("bias") + "decoder"
    if family == "electra":
        scores = "generator_lm_head"
    return Names(
        kind=f"{family} in files of transformers",
        modules={
            **backbone,
            **blocks(front + layer, block),
            **_head(family, head),
        },
        whole={"head/bias": Their(bias)} if head == "vocabulary" else {},
        front=front,
        spare=(
            *_BUFFERS,
            rf"^{front}{pooler}\.",
            r"^(cls|lm_head|predictions|sop_classifier|generator_\w+|"
            r"discriminator_predictions|classifier|qa_outputs)\.",
        ),
        same={f"{scores}.weight": table, f"{scores}.bias": bias},
        old=_OLD,
    )


def gpt_names(family: str, head: str | None = None) -> Names:
    """Returns the names of transformers for ``gpt2`` and ``openai-gpt``.

    Kernels are ``[in, out]``, and queries, keys and values stand in one array.
    """
    first = family == "openai-gpt"
    tables = ("tokens_embed", "positions_embed") if first else ("wte", "wpe")
    tokens, places = tables
    front, layer = "transformer.", "transformer.h.{}."
    # GPT normalises sums, GPT-2 what the maps read; ln_1 is the attention's in both.
    block = {
        "mixer/query": "attn.c_attn",
        "mixer/key": "attn.c_attn",
        "mixer/value": "attn.c_attn",
        "mixer/output": "attn.c_proj",
        "mixer_norm": "ln_1",
        "feed_forward/widen": "mlp.c_fc",
        "feed_forward/narrow": "mlp.c_proj",
        "feed_forward_norm": "ln_2",
    }
    modules = {
        "embeddings/tokens": front + tokens,
        "embeddings/position": front + places,
        **blocks(layer, block),
    }
    if not first:
        modules["norm"] = front + "ln_f"
    if head == "classes":
        raise ValueError(f"head must be None or 'vocabulary' for {family}, got {head}")
    return Names(
        kind=f"{family} in files of transformers",
        modules=modules,
        leaves=CONV1D,
        packed={
            f"blocks/{{}}/mixer/{name}": (k, 3)
            for k, name in enumerate(("query", "key", "value"))
        },
        front=front,
        spare=(r"\.attn\.(masked_)?bias$", r"position_ids$"),  # masks
        same={"lm_head.weight": f"{front}{tokens}.weight"},
    )


def _t5_side(side: str, wide: str) -> dict[str, str]:
    attention = {"query": "q", "key": "k", "value": "v", "output": "o"}
    block = {f"mixer/{ours}": f"0.SelfAttention.{q}" for ours, q in attention.items()}
    block["mixer/bias"] = "0.SelfAttention.relative_attention_bias"
    block["mixer_norm"] = "0.layer_norm"
    if side == "decoder":
        for ours, q in attention.items():
            block[f"reader/{ours}"] = f"1.EncDecAttention.{q}"
        block["reader_norm"] = "1.layer_norm"
    last = 2 if side == "decoder" else 1
    block["feed_forward/widen"] = f"{last}.DenseReluDense.{wide}"
    block["feed_forward/gate"] = f"{last}.DenseReluDense.wi_1"
    block["feed_forward/narrow"] = f"{last}.DenseReluDense.wo"
    block["feed_forward_norm"] = f"{last}.layer_norm"
    named = {
        f"{side}/blocks/{{}}/{ours}": f"{side}.block.{{}}.layer.{theirs}"
        for ours, theirs in block.items()
    }
    return {**named, f"{side}/norm": f"{side}.final_layer_norm"}


def t5_names(*, is_gated: bool, tied: bool) -> Names:
    """Returns the names of transformers for T5; gates and own scores are of T5 1.1."""
    wide = "wi_0" if is_gated else "wi"
    shared = "shared.weight"
    same = {f"{side}.embed_tokens.weight": shared for side in ("encoder", "decoder")}
    if tied:
        same["lm_head.weight"] = shared
    return Names(
        kind="t5 in files of transformers",
        modules={
            **_t5_side("encoder", wide),
            **_t5_side("decoder", wide),
            "decoder/embeddings/tokens": "shared",  # the table of both sides
        },
        whole={} if tied else {"head/output": Their("lm_head.weight")},
        # Left over in old files; transformers reads nothing from it either.
        spare=(r"EncDecAttention\.relative_attention_bias\.weight$",),
        same=same,
    )
