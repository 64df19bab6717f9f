"""The names of each family in TensorFlow checkpoints, such as those of bert4keras."""

from kexue_jax.pretrained.families import BERT_BLOCK, EMBEDDINGS, blocks, with_front
from kexue_jax.pretrained.names import TENSORFLOW, Leaves, Names, Their

_KEPT = (
    r"/(adam|lamb)_[mv]$",
    r"/adafactor_v[cr]?$",
    r"_slot_\w+$",  # of AdaFactor
    r"^(global_step|good_steps|loss_scale|beta[12]_power|_CHECKPOINTABLE)",
)
"""What an optimizer has left in files."""

_GPT2: Leaves = {
    "kernel": ("/w", False),
    "embedding": ("", False),
    "table": ("", False),
    "bias": ("/b", False),
    "norm/scale": ("/g", False),
    "norm/bias": ("/b", False),
}
_T5: Leaves = {
    "kernel": ("", False),
    "embedding": ("/embedding", False),
    "norm/scale": ("/scale", False),
}


def encoder_names(family: str, head: str | None = None) -> Names:
    """Returns the names of an encoder with one of some heads or none.

    Args:
      family: ``bert``, ``nezha``, ``roformer`` and ``roformer_v2``, whose files all
        begin with ``bert/``, ``albert`` or ``electra``.
      head: None, ``vocabulary``, ``pooler`` or ``next_sentence``.
    """
    front = "electra/" if family == "electra" else "bert/"
    tables = {ours: theirs.replace(".", "/") for ours, theirs in EMBEDDINGS.items()}
    tables["embeddings/widen"] = (
        "embeddings_project"
        if family == "electra"
        else "encoder/embedding_hidden_mapping_in"
    )
    if family == "albert":
        layer = "encoder/transformer/group_{}/inner_group_0/"
        block = {
            "mixer/query": "attention_1/self/query",
            "mixer/key": "attention_1/self/key",
            "mixer/value": "attention_1/self/value",
            "mixer/output": "attention_1/output/dense",
            "mixer_norm": "LayerNorm",
            "feed_forward/widen": "ffn_1/intermediate/dense",
            "feed_forward/narrow": "ffn_1/intermediate/output/dense",
            "feed_forward_norm": "LayerNorm_1",
        }
    else:
        layer = "encoder/layer_{}/"
        block = {ours: theirs.replace(".", "/") for ours, theirs in BERT_BLOCK.items()}
    heads: dict[str | None, dict[str, str]] = {
        None: {},
        "vocabulary": {
            "head/transform": "cls/predictions/transform/dense",
            "head/norm": "cls/predictions/transform/LayerNorm",
        },
        "pooler": {"head/pooler": "bert/pooler/dense"},
        "next_sentence": {"head/pooler": "bert/pooler/dense"},
    }
    if head not in heads:
        raise ValueError(
            f"head must be one of {tuple(heads)} in TensorFlow files, got {head!r}"
        )
    whole = {"head/bias": Their("cls/predictions/output_bias")}
    if head == "next_sentence":  # kept as [out, in], alone of all kernels
        weights = "cls/seq_relationship/output_"
        whole |= {
            "head/scores/kernel": Their(f"{weights}weights", transposed=True),
            "head/scores/bias": Their(f"{weights}bias"),
        }
    return Names(
        kind=f"{family} in files of TensorFlow",
        modules={
            **with_front(front, tables),
            **blocks(front + layer, block),
            **heads[head],
        },
        leaves=TENSORFLOW,
        whole=whole,
        front=front,
        spare=(
            r"^cls/",
            r"^bert/pooler/",
            r"^(discriminator|generator)_",
            *_KEPT,
        ),
    )


def _bert4keras_gpt(kind: str, place: str, **others: str) -> Names:
    """GPT in the names of BERT; norms are called after `place`, output or input."""
    tables = ("embeddings/tokens", "embeddings/position")
    block = {
        ours: theirs.replace(".", "/").replace("output/Layer", f"{place}/Layer")
        for ours, theirs in BERT_BLOCK.items()
    }
    return Names(
        kind=f"{kind} in files of TensorFlow",
        modules={
            **{ours: "gpt/" + EMBEDDINGS[ours].replace(".", "/") for ours in tables},
            **blocks("gpt/transformer/layer_{}/", block),
            **others,
        },
        leaves=TENSORFLOW,
        spare=_KEPT,
    )


def gpt_names() -> Names:
    """Returns the names of GPT in files of bert4keras, which are those of its BERT."""
    return _bert4keras_gpt("gpt", "output")


def bert4keras_gpt2_names() -> Names:
    """Returns the names of GPT-2 in files of bert4keras, such as those of CPM."""
    return _bert4keras_gpt("gpt2", "input", norm="gpt/output/LayerNorm")


def gpt2_names() -> Names:
    """Returns the names of GPT-2 as OpenAI has published it.

    Kernels have an axis of one in front, and queries, keys and values stand in one.
    """
    front = "model/"
    block = {
        "mixer/query": "attn/c_attn",
        "mixer/key": "attn/c_attn",
        "mixer/value": "attn/c_attn",
        "mixer/output": "attn/c_proj",
        "mixer_norm": "ln_1",
        "feed_forward/widen": "mlp/c_fc",
        "feed_forward/narrow": "mlp/c_proj",
        "feed_forward_norm": "ln_2",
    }
    return Names(
        kind="gpt2 in files of TensorFlow",
        modules={
            "embeddings/tokens": f"{front}wte",
            "embeddings/position": f"{front}wpe",
            **blocks(front + "h{}/", block),
            "norm": f"{front}ln_f",
        },
        leaves=_GPT2,
        packed={
            f"blocks/{{}}/mixer/{name}": (k, 3)
            for k, name in enumerate(("query", "key", "value"))
        },
        stacked=("kernel",),
        spare=_KEPT,
    )


def gpt2_ml_names() -> Names:
    """Returns the names of GPT2-ML as it was published."""
    front = "newslm/"
    block = {
        "mixer/query": "query_layer",
        "mixer/key": "key_layer",
        "mixer/value": "value_layer",
        "mixer/output": "context_projection_layer",
        "feed_forward/norm": "LayerNorm_mlp_ln0",
        "feed_forward/widen": "intermediate",
        "feed_forward/narrow": "output",
        "feed_forward_norm": "LayerNorm_mlp_ln1",
    }
    return Names(
        kind="gpt2_ml in files of TensorFlow",
        modules={
            "embeddings/tokens": f"{front}embeddings/word_embed",
            "embeddings/position": f"{front}embeddings/pos_embed",
            "embeddings/norm": f"{front}embeddings/LayerNorm_embed_norm",
            **blocks(front + "layer{:0>2}/", block),
        },
        leaves=TENSORFLOW,
        spare=_KEPT,
    )


def _t5_side(side: str, is_gated: bool) -> dict[str, str]:
    attention = {"query": "q", "key": "k", "value": "v", "output": "o"}
    parts = [("mixer", "SelfAttention")]
    parts += [("reader", "EncDecAttention")] if side == "decoder" else []
    block = {}
    for place, (ours, theirs) in enumerate(parts):
        layer = f"layer_{place:03d}"
        block |= {f"{ours}/{x}": f"{layer}/{theirs}/{q}" for x, q in attention.items()}
        block[f"{ours}_norm"] = f"{layer}/layer_norm"
    last = f"layer_{len(parts):03d}"
    wide = "wi_0" if is_gated else "wi"
    for ours, theirs in (("widen", wide), ("gate", "wi_1"), ("narrow", "wo")):
        block[f"feed_forward/{ours}"] = f"{last}/DenseReluDense/{theirs}/kernel"
    block["feed_forward_norm"] = f"{last}/layer_norm"
    named = {
        f"{side}/blocks/{{}}/{ours}": f"{side}/block_{{:0>3}}/{theirs}"
        for ours, theirs in block.items()
    }
    return {**named, f"{side}/norm": f"{side}/final_layer_norm"}


def t5_names(*, is_gated: bool, tied: bool) -> Names:
    """Returns the names of T5 as Google has published it, and of mT5.

    Tables of distances are kept as [heads, buckets] and turned.
    """
    whole = {
        f"{side}/blocks/{{}}/mixer/bias/table": Their(
            f"{side}/block_{{:0>3}}/layer_000/SelfAttention/relative_attention_bias",
            transposed=True,
        )
        for side in ("encoder", "decoder")
    }
    if not tied:
        whole["head/output"] = Their("decoder/logits/kernel", transposed=True)
    return Names(
        kind="t5 in files of TensorFlow",
        modules={
            **_t5_side("encoder", is_gated),
            **_t5_side("decoder", is_gated),
            "decoder/embeddings/tokens": "shared",  # the table of both sides
        },
        leaves=_T5,
        whole=whole,
        spare=_KEPT,
        old={  # those of mT5
            r"(^|/)rms_norm(?=/scale)": r"\1layer_norm",
            r"^(encoder|decoder)/layer_norm(?=/scale)": r"\1/final_layer_norm",
        },
    )
