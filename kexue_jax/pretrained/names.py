"""What parameters of ours are called elsewhere."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Their(NamedTuple):
    """An array of another library: its name, and whether it is our array turned."""

    name: str
    transposed: bool = False


class Names(NamedTuple):
    """How a kind of model is written by another library.

    Attributes:
      of: from our path, such as ``blocks/0/mixer/query/kernel``, to theirs.
      plain: from a name in a file to that which `of` gives, for there are old names.
      spare: beginnings of names of arrays that files hold beside such a model.
    """

    of: Callable[[str], Their]
    plain: Callable[[str], str]
    spare: tuple[str, ...]


_BERT: Mapping[str, str] = {
    "tokens": "embeddings.word_embeddings",
    "segments": "embeddings.token_type_embeddings",
    "positions": "embeddings.position_embeddings",
    "norm": "embeddings.LayerNorm",
    "mixer/query": "attention.self.query",
    "mixer/key": "attention.self.key",
    "mixer/value": "attention.self.value",
    "mixer/output": "attention.output.dense",
    "mixer_norm": "attention.output.LayerNorm",
    "feed_forward/widen": "intermediate.dense",
    "feed_forward/narrow": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
    "pooler": "pooler.dense",
}
_LEAVES = {
    "kernel": Their("weight", transposed=True),  # torch keeps [out, in]
    "embedding": Their("weight"),
    "table": Their("weight"),
    "scale": Their("weight"),
    "bias": Their("bias"),
}


def _of_bert(path: str) -> Their:
    module, _, leaf = path.rpartition("/")
    place = re.fullmatch(r"blocks/(\d+)/(.+)", module)
    front = f"encoder.layer.{place[1]}." if place else ""
    module = place[2] if place else module
    if module not in _BERT or leaf not in _LEAVES:
        raise ValueError(f"BERT has no parameter {path!r}")
    name, transposed = _LEAVES[leaf]
    return Their(f"{front}{_BERT[module]}.{name}", transposed)


def _plain_bert(name: str) -> str:
    name = name.removeprefix("bert.")
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


BERT = Names(
    _of_bert,
    _plain_bert,
    # Numbers 0, 1, 2, ..., heads of the training, and a map that not all have.
    ("embeddings.position_ids", "cls.", "pooler."),
)
"""``BertModel`` of transformers, with or without ``bert.`` in front."""
