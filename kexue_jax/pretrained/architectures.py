"""What kind of model a file of settings describes, in arguments of ours."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from kexue_jax.pretrained.files import WeightsError

ACTIVATIONS = {
    "gelu": "gelu",  # with the error function
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""What transformers calls an activation, and what `models` knows it as."""


class Architecture(NamedTuple):
    """A model in plain data.

    Attributes:
      family: ``bert``, ``roberta``, ``albert``, ``nezha``, ``roformer``,
        ``roformer_v2``, ``electra``, ``gpt``, ``gpt2``, ``gpt2_ml``, ``t5``.
      sizes: arguments of its function in `kexue_jax.nn.families`, of `gpt2_ml` or of
        `TextToText`, with the activation by its name.
    """

    family: str
    sizes: dict[str, Any]


def _count(settings: Mapping[str, Any], name: str, usual: int | None = None) -> int:
    number = settings.get(name, usual)
    if type(number) is not int or not 1 <= number <= 2**24:
        raise WeightsError(f"{name} must be a count, got {number!r:.80}")
    return number


def _share(settings: Mapping[str, Any], name: str, usual: float) -> float:
    number = settings.get(name, usual)
    if type(number) not in (int, float) or not 0.0 <= number < 1.0:
        raise WeightsError(f"{name} must be in [0, 1), got {number!r:.80}")
    return float(number)


def _one_of(settings: Mapping[str, Any], name: str, usual: Any, known: Collection):
    value = settings.get(name, usual)
    if not any(value is other or value == other for other in known):
        raise WeightsError(f"{name} must be in {list(known)}, got {value!r:.80}")
    return value


def _divides(sizes: Mapping[str, Any], name: str) -> None:
    if sizes["features"] % sizes["heads"]:
        raise WeightsError(
            f"{name} must divide the hidden size, got {sizes['heads']} and "
            f"{sizes['features']}"
        )


def _encoder_sizes(settings: Mapping[str, Any], **usual: Any) -> dict[str, Any]:
    """What all encoders have in common with BERT."""
    _one_of(settings, "position_embedding_type", "absolute", ["absolute"])
    _one_of(settings, "add_cross_attention", False, [False])
    acts = usual.get("activation", "gelu")
    activation = _one_of(settings, "hidden_act", acts, ACTIVATIONS)
    sizes = dict(
        vocabulary=_count(settings, "vocab_size"),
        features=_count(settings, "hidden_size"),
        layers=_count(settings, "num_hidden_layers"),
        heads=_count(settings, "num_attention_heads"),
        hidden=_count(settings, "intermediate_size"),
        segments=_count(settings, "type_vocab_size", 2),
        activation=ACTIVATIONS[activation],
        epsilon=_share(settings, "layer_norm_eps", 1e-12),
        dropout_rate=_share(settings, "hidden_dropout_prob", usual.get("dropout", 0.1)),
    )
    _divides(sizes, "num_attention_heads")
    if _one_of(settings, "is_decoder", False, [False, True]):
        sizes["is_causal"] = True
    return sizes


def _narrow(settings: Mapping[str, Any], sizes: dict[str, Any], usual: int) -> dict:
    size = _count(settings, "embedding_size", usual)
    return sizes | ({} if size == sizes["features"] else {"embedding_size": size})


def _bert(settings):
    sizes = _encoder_sizes(settings)
    length = _count(settings, "max_position_embeddings", 512)
    # The files of bert4keras say so in the settings of any of its models.
    if "embedding_size" in settings:
        sizes = _narrow(settings, sizes, sizes["features"])
    return Architecture("bert", sizes | {"length": length})


def _roberta(settings):
    sizes = _encoder_sizes(settings) | {
        "length": _count(settings, "max_position_embeddings", 512),
        "first_place": _count(settings, "pad_token_id", 1) + 1,
    }
    return Architecture("roberta", sizes)


def _albert(settings):
    _one_of(settings, "inner_group_num", 1, [1])
    sizes = _encoder_sizes(settings, activation="gelu_new", dropout=0.0)
    sizes["embedding_size"] = _count(settings, "embedding_size", 128)
    groups = _count(settings, "num_hidden_groups", 1)
    if sizes["layers"] % groups:
        raise WeightsError(
            f"num_hidden_groups must divide {sizes['layers']} layers, got {groups}"
        )
    sizes["length"] = _count(settings, "max_position_embeddings", 512)
    return Architecture("albert", sizes | {"groups": groups})


def _nezha(settings):
    _one_of(settings, "use_relative_position", True, [True])
    clip = _count(settings, "max_relative_position", 64)
    return Architecture("nezha", _encoder_sizes(settings) | {"clip": clip})


def _roformer(settings):
    second = (
        settings.get("norm_type") == "rms_norm" or settings.get("use_bias") is False
    )
    usual = "relu" if second else "gelu"
    sizes = _encoder_sizes(settings, activation=usual)
    sizes = _narrow(settings, sizes, sizes["features"])
    if second:
        return Architecture("roformer_v2", sizes)
    if _one_of(settings, "rotary_value", False, [False, True]):
        sizes["turns_values"] = True
    return Architecture("roformer", sizes)


def _electra(settings):
    sizes = _narrow(settings, _encoder_sizes(settings), 128)
    length = _count(settings, "max_position_embeddings", 512)
    return Architecture("electra", sizes | {"length": length})


_BY_BERT4KERAS = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "num_layers"),
    "num_attention_heads": ("n_head", "num_heads"),
    "intermediate_size": ("n_inner", "d_ff"),
    "attention_head_size": (None, "d_kv"),
    "max_position_embeddings": ("n_positions", None),
    "hidden_dropout_prob": ("resid_pdrop", "dropout_rate"),
}
"""What bert4keras, which has one set of names, calls settings of GPT and of T5."""


def _translated(settings, which):
    """Settings of bert4keras in the names of transformers."""
    if "hidden_size" not in settings:
        return settings
    found = dict(settings)
    for theirs, ours in _BY_BERT4KERAS.items():
        if theirs in settings and ours[which] is not None:
            found.setdefault(ours[which], settings[theirs])
    return found


def _gpt(family: str, activation: str, act_name: str) -> Callable:
    def read(settings):
        settings = _translated(settings, 0)
        if "hidden_act" in settings:
            settings = {act_name: settings["hidden_act"], **settings}
        _one_of(settings, "scale_attn_weights", True, [True])
        _one_of(settings, "scale_attn_by_inverse_layer_idx", False, [False])
        _one_of(settings, "add_cross_attention", False, [False])
        features = _count(settings, "n_embd", 768)
        act = _one_of(settings, act_name, activation, ACTIVATIONS)
        if family == "gpt" and act == "gelu":
            act = "gelu_new"  # what transformers means by it in this model alone
        inner = settings.get("n_inner")
        sizes = dict(
            vocabulary=_count(settings, "vocab_size"),
            features=features,
            layers=_count(settings, "n_layer", 12),
            heads=_count(settings, "n_head", 12),
            hidden=4 * features if inner is None else _count(settings, "n_inner"),
            length=_count(settings, "n_positions", 1024),
            activation=ACTIVATIONS[act],
            epsilon=_share(settings, "layer_norm_epsilon", 1e-5),
            dropout_rate=_share(settings, "resid_pdrop", 0.1),
        )
        _divides(sizes, "n_head")
        return Architecture(family, sizes)

    return read


_GATES = {
    "relu": ("relu", False),
    "gelu": ("gelu", False),
    "gated-gelu": ("gelu_tanh", True),
    "gated-relu": ("relu", True),
    "gated-silu": ("silu", True),
}


def _t5(settings):
    settings = _translated(settings, 1)
    if "hidden_act" in settings:
        is_gated = settings["hidden_act"] == ["gelu", "linear"]
        gate = "gated-gelu" if is_gated else settings["hidden_act"]
        own = {"feed_forward_proj": gate, "tie_word_embeddings": not is_gated}
        settings = {"model_type": "t5", **own, **settings}
    gate = _one_of(settings, "feed_forward_proj", "relu", _GATES)
    tied = _one_of(settings, "tie_word_embeddings", True, [True, False])
    scaled = settings.get("model_type") == "t5" and _one_of(
        settings, "scale_decoder_outputs", tied, [True, False]
    )
    activation, is_gated = _GATES[gate]
    layers, features = _count(settings, "num_layers", 6), _count(settings, "d_model")
    return Architecture(
        "t5",
        dict(
            vocabulary=_count(settings, "vocab_size"),
            features=features,
            layers=layers,
            decoder_layers=_count(settings, "num_decoder_layers", layers),
            heads=_count(settings, "num_heads"),
            head_size=_count(settings, "d_kv", 64),
            hidden=_count(settings, "d_ff"),
            buckets=_count(settings, "relative_attention_num_buckets", 32),
            max_distance=_count(settings, "relative_attention_max_distance", 128),
            activation=activation,
            is_gated=is_gated,
            tied=tied,
            scale=features**-0.5 if scaled else 1.0,
            epsilon=_share(settings, "layer_norm_epsilon", 1e-6),
            dropout_rate=_share(settings, "dropout_rate", 0.1),
        ),
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Architecture]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "albert": _albert,
    "nezha": _nezha,
    "roformer": _roformer,
    "roformer_v2": lambda settings: _roformer({"use_bias": False, **settings}),
    "electra": _electra,
    "openai-gpt": _gpt("gpt", "gelu", "afn"),
    "gpt2": _gpt("gpt2", "gelu_new", "activation_function"),
    "gpt2_ml": _gpt("gpt2_ml", "gelu", "hidden_act"),
    "t5": _t5,
    "mt5": _t5,
}
KINDS = tuple(_READERS)
"""The values of ``model_type`` that are known."""


def architecture(
    settings: Mapping[str, Any], *, kind: str | None = None
) -> Architecture:
    """Returns the model that a ``config.json`` describes.

    Args:
      settings: what stands in the file.
      kind: one of `KINDS`; default the file's ``model_type``, and ``bert`` if it has
        none, as those of Google and of bert4keras.

    Raises:
      WeightsError: if a number is absent or out of range, or the settings are of a
        model that is not known.
    """
    if "n_vocab" in settings:  # hparams.json of OpenAI
        own = dict(model_type="gpt2", vocab_size=settings["n_vocab"])
        settings = {**own, "n_positions": settings.get("n_ctx", 1024), **settings}
    kind = settings.get("model_type", "bert") if kind is None else kind
    if not isinstance(kind, str) or kind not in _READERS:
        raise WeightsError(f"model_type must be one of {KINDS}, got {kind!r:.80}")
    return _READERS[kind](settings)
