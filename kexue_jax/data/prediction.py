"""Rows of tokens in which some are to be predicted: the next ones, or hidden ones."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kexue_jax.data.windows import RandomWindows, tiles

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Prediction:
    """What a model is to predict, for training and held out.

    All batches hold ``tokens`` and ``targets`` ``[B, T]`` int32 and ``weight``
    ``[B, T]`` float32, 0 where nothing is asked; more entries go to the model by name.

    Attributes:
      vocabulary: V, tokens are below it.
      source: from the step to a batch.
      held_out: lists of batches by name, such as that of a length.
    """

    vocabulary: int
    source: Callable[[int], Batch]
    held_out: Mapping[str, Sequence[Batch]]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns the vocabulary and digests of what is held out and of batch 0."""
        found: dict[str, str | int] = {"vocabulary": self.vocabulary}
        sets = {"train": [self.source(0)], **self.held_out}
        for name, batches in sets.items():
            digest = hashlib.sha256()
            for batch in batches:
                for key in sorted(batch):
                    digest.update(key.encode())
                    digest.update(np.ascontiguousarray(batch[key]).tobytes())
            found[f"{name}_sha256"] = digest.hexdigest()
        return found


def next_tokens(batch: Batch) -> Batch:
    """From ``tokens`` ``[B, T + 1]`` to inputs and, one place later, targets."""
    tokens = batch["tokens"]
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:]} | {
        "weight": batch["weight"]
    }


@dataclass(frozen=True)
class Hider:
    """Hides tokens as BERT does: most become a mask, some another token, some stay.

    Attributes:
      vocabulary: V, without the mask, which is token V.
      rate: share of the tokens that are to be predicted.
      masked, replaced: shares of those that become the mask and a random token.
    """

    vocabulary: int
    rate: float = 0.15
    masked: float = 0.8
    replaced: float = 0.1

    def __post_init__(self):
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"rate must lie in (0, 1], got {self.rate}")
        if min(self.masked, self.replaced) < 0.0 or self.masked + self.replaced > 1.0:
            raise ValueError(
                "masked and replaced are shares whose sum is at most 1, got "
                f"{self.masked} and {self.replaced}"
            )

    def __call__(self, tokens: np.ndarray, generator: np.random.Generator) -> Batch:
        """Returns ``tokens`` with some hidden, ``targets`` and ``weight``."""
        asked = generator.random(tokens.shape) < self.rate
        fate = generator.random(tokens.shape)
        other = generator.integers(0, self.vocabulary, tokens.shape)
        hidden = np.where(fate < self.masked, self.vocabulary, other)
        hidden = np.where(fate < self.masked + self.replaced, hidden, tokens)
        return {
            "tokens": np.where(asked, hidden, tokens).astype(np.int32),
            "targets": tokens.astype(np.int32),
            "weight": asked.astype(np.float32),
        }


def _check_lengths(valid: np.ndarray, lengths: Sequence[int]) -> None:
    if not lengths or min(lengths) < 1 or max(lengths) >= len(valid):
        raise ValueError(
            f"lengths must be 1 to {len(valid) - 1}, below the {len(valid)} tokens "
            f"held out, got {tuple(lengths)}"
        )


def causal_text(
    text: Any,
    tokenizer: Callable[[str], Any],
    *,
    length: int,
    batch: int,
    seed: int = 0,
    lengths: Sequence[int] = (),
    held_out_tokens: int = 32768,
) -> Prediction:
    """The next token of a text, from those before it in the window.

    Args:
      text: has ``parts`` to learn from and ``valid``, held out.
      tokenizer: called with the text to learn from.
      length: T of the windows to learn from, at random places.
      batch: windows a step.
      seed: of the places.
      lengths: those of the held-out windows, which lie side by side; default `length`.
        Their sets are called ``valid_<length>``.
      held_out_tokens: at most so many are held out, from the beginning.
    """
    made = tokenizer("\n\n".join(text.parts))
    parts = [made.encode(part) for part in text.parts]
    drawn = RandomWindows(parts, batch=batch, length=length, seed=seed)
    valid = made.encode(text.valid)[: held_out_tokens + 1]
    lengths = tuple(lengths) or (length,)
    _check_lengths(valid, lengths)
    held_out = {
        f"valid_{size}": [
            next_tokens(tile)
            for tile in tiles(
                valid, length=size, stride=size, batch=_rows(batch, length, size)
            )
        ]
        for size in lengths
    }
    return Prediction(made.vocabulary, lambda step: next_tokens(drawn(step)), held_out)


def masked_text(
    text: Any,
    tokenizer: Callable[[str], Any],
    *,
    length: int,
    batch: int,
    seed: int = 0,
    rate: float = 0.15,
    lengths: Sequence[int] = (),
    held_out_tokens: int = 32768,
) -> Prediction:
    """Hidden tokens of a text, from those around them in the window.

    The same held-out tokens are hidden in the same way whatever the length. Arguments
    are those of `causal_text`; `rate` is that of `Hider`.
    """
    made = tokenizer("\n\n".join(text.parts))
    hide = Hider(made.vocabulary, rate=rate)
    parts = [made.encode(part) for part in text.parts]
    drawn = RandomWindows(parts, batch=batch, length=length, seed=seed)

    def source(step: int) -> Batch:
        generator = np.random.Generator(np.random.Philox(key=[seed + 1, step]))
        return hide(drawn(step)["tokens"][:, :-1], generator)

    valid = made.encode(text.valid)[:held_out_tokens]
    lengths = tuple(lengths) or (length,)
    _check_lengths(valid, lengths)
    whole = hide(valid, np.random.Generator(np.random.Philox(key=[seed, 1 << 32])))
    held_out = {
        f"valid_{size}": _side_by_side(whole, size, _rows(batch, length, size))
        for size in lengths
    }
    return Prediction(made.vocabulary + 1, source, held_out)


def _rows(batch: int, length: int, size: int) -> int:
    """Windows of a size that are as many tokens as a batch to learn from."""
    return max(1, batch * length // size)


def _side_by_side(whole: Batch, size: int, rows: int) -> list[Batch]:
    """Cuts ``[N]`` into batches of windows ``[rows, size]``; what is left is dropped.

    The last batch is filled up with windows of weight 0.
    """
    count = len(whole["tokens"]) // size
    windows = {k: v[: count * size].reshape(count, size) for k, v in whole.items()}
    lacking = -count % rows
    filled = {k: np.pad(v, ((0, lacking), (0, 0))) for k, v in windows.items()}
    return [
        {k: v[first : first + rows] for k, v in filled.items()}
        for first in range(0, count + lacking, rows)
    ]
