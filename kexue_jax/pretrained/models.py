"""From the architecture of a file to a maker of the model, with a head or without."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.activations import gelu, gelu_tanh
from kexue_jax.nn import families
from kexue_jax.nn.gpt2_ml import gpt2_ml
from kexue_jax.nn.heads import Headed, PlaceHead, PooledHead, VocabularyHead
from kexue_jax.nn.text_to_text import TextToText
from kexue_jax.pretrained import tensorflow_names
from kexue_jax.pretrained.architectures import Architecture
from kexue_jax.pretrained.families import HEADS, encoder_names, gpt_names, t5_names
from kexue_jax.pretrained.names import Names

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}
_MODELS: dict[str, Callable[..., nnx.Module]] = {
    "bert": families.bert,
    "roberta": families.bert,
    "electra": families.bert,
    "albert": families.albert,
    "nezha": families.nezha,
    "roformer": families.roformer,
    "roformer_v2": families.roformer_v2,
    "gpt": families.gpt,
    "gpt2": families.gpt2,
    "gpt2_ml": gpt2_ml,
    "t5": TextToText,
}
_GPTS = ("gpt", "gpt2", "gpt2_ml")


def model_of(
    built: Architecture, head: str | None = None, *, classes: int = 2, **changes: Any
) -> Callable[..., nnx.Module]:
    """Returns a maker of the model, called as ``make(rngs=)``.

    Args:
      built: what a file describes.
      head: one of `HEADS` or None; T5 has its own and takes None.
      classes: of the heads ``classes`` and ``places``.
      changes: sizes that are to be others, such as ``dropout_rate=0.0``.

    Raises:
      ValueError: if there is no such head.
    """
    sizes = {**built.sizes, **changes}
    activation = sizes["activation"]
    if isinstance(activation, str):
        activation = sizes["activation"] = _ACTIVATIONS[activation]
    body = partial(_MODELS[built.family], **sizes)
    if head is None:
        return body
    if head not in HEADS or built.family == "t5":
        raise ValueError(f"head must be None or of {HEADS}, got {head!r}")
    return partial(
        Headed, backbone=body, head=_head(built.family, head, classes, sizes)
    )


def _head(family, head, classes, sizes):
    rate, activation = sizes["dropout_rate"], sizes["activation"]
    if head == "places":
        return partial(PlaceHead, classes=classes, dropout_rate=rate)
    if head == "span":
        return partial(PlaceHead, classes=2)
    if head == "vocabulary":
        common = dict(vocabulary=sizes["vocabulary"], size=sizes.get("embedding_size"))
        if family in (*_GPTS, "roformer_v2"):
            return partial(VocabularyHead, use_bias=False, **common)
        norm = partial(nnx.LayerNorm, epsilon=sizes["epsilon"], use_fast_variance=False)
        return partial(VocabularyHead, activation=activation, norm=norm, **common)
    count = {"pooler": None, "classes": classes, "next_sentence": 2}[head]
    first = jnp.tanh
    if head == "classes":
        first = {"roformer": activation, "electra": gelu}.get(family, first)
    return partial(PooledHead, classes=count, activation=first, dropout_rate=rate)


def names_of(
    built: Architecture, head: str | None = None, *, form: str = "torch"
) -> Names:
    """Returns what the model's parameters are called in a file.

    Args:
      built: what the file describes.
      head: as in `model_of`.
      form: ``torch``, as in files of transformers, ``tensorflow``, or ``bert4keras``,
        which are files of TensorFlow with names of its own for GPT-2.

    Raises:
      ValueError: if there are no names for it.
    """
    if built.family == "t5":
        own = t5_names if form == "torch" else tensorflow_names.t5_names
        return own(is_gated=built.sizes["is_gated"], tied=built.sizes["tied"])
    if form == "bert4keras" and built.family == "gpt2":
        return tensorflow_names.bert4keras_gpt2_names()
    if form in ("tensorflow", "bert4keras"):
        return _tensorflow_names(built.family, head)
    if built.family == "gpt2_ml":
        raise ValueError("gpt2_ml has names in files of TensorFlow alone")
    if built.family in ("gpt", "gpt2"):
        return gpt_names({"gpt": "openai-gpt"}.get(built.family, built.family), head)
    return encoder_names(
        {"roformer_v2": "roformer"}.get(built.family, built.family), head
    )


def _tensorflow_names(family, head):
    if family not in _GPTS:
        return tensorflow_names.encoder_names(family, head)
    if head not in (None, "vocabulary"):
        raise ValueError(f"head must be None or 'vocabulary' for {family}, got {head}")
    return getattr(tensorflow_names, f"{family}_names")()
