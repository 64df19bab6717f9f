"""Pairs of sentences as what an encoder makes of their tokens; nothing is trained."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np


class Encoder(Protocol):
    """An encoder in files: the model with its weights, and how it reads."""

    @property
    def features(self) -> int: ...
    @property
    def length(self) -> int | None: ...
    @property
    def vocabulary(self) -> Sequence[str]: ...
    @property
    def reading(self) -> Mapping[str, Any]: ...
    def restored(self, head: str | None = None) -> Any: ...
    def fingerprint(self) -> str: ...


class ScoredPair(Protocol):
    """Two sentences, and what people say of how near they are."""

    @property
    def first(self) -> str: ...
    @property
    def second(self) -> str: ...
    @property
    def score(self) -> float: ...


class EncodedBatch(NamedTuple):
    """Some sentences after every layer.

    Attributes:
      texts: ``[N]``, which ones; they are the first N rows.
      kept: ``[B, T]`` bool, True for a token.
      added: ``[B, T]`` bool, True for [CLS] and [SEP].
      layers: ``[B, T, D]`` each, the embeddings first.
      pooled: ``[B, D]``, the map of [CLS] as it is, without an activation.
    """

    texts: np.ndarray
    kept: np.ndarray
    added: np.ndarray
    layers: tuple[jax.Array, ...]
    pooled: jax.Array


class EncodedTexts:
    """Both sides of pairs, each sentence encoded once."""

    def __init__(
        self,
        pairs: Sequence[ScoredPair],
        *,
        encoder: Encoder,
        tokenizer: Callable[..., Any],
        padded: Callable[..., Any],
        batch: int = 32,
    ):
        """Reads the sentences and makes the model.

        Args:
          pairs: two sentences and a score each.
          encoder: files such as `kexue_jax.pretrained.load_pretrained` gives.
          tokenizer: called as ``tokenizer(vocabulary, length=, **reading)``.
          padded: called as ``padded(tokenized, batch=)`` for batches of few shapes.
          batch: sentences at once.
        """
        sides = [pair.first for pair in pairs], [pair.second for pair in pairs]
        once = dict.fromkeys(text for side in sides for text in side)
        rows = {text: row for row, text in enumerate(once)}
        self.first, self.second = (
            np.array([rows[text] for text in side], int) for side in sides
        )
        self.score = np.array([pair.score for pair in pairs], float)
        self.size, self.features = len(rows), encoder.features
        self._batch, self._padded = batch, padded
        read = tokenizer(encoder.vocabulary, length=encoder.length, **encoder.reading)
        self._texts = read.encode_all(list(rows))
        self._encoder = encoder
        digest = hashlib.sha256(encoder.fingerprint().encode())
        for text in self._texts:
            digest.update(text.tokens.tobytes() + b"\0")
        for array in (self.first, self.second, self.score):
            digest.update(array.tobytes())
        self.digest = digest.hexdigest()

    def counts(self) -> np.ndarray:
        """Returns ``[N]``, tokens of each sentence that stand in it."""
        return np.array([int(np.sum(~text.added)) for text in self._texts])

    def batches(self) -> Iterator[EncodedBatch]:
        """Yields every sentence once, those of one length together."""
        apply, params, _ = self._encoder.restored("pooler")
        params = jax.device_put(params)

        @jax.jit
        def forward(params, tokens, kept):
            layers, _ = apply(params, {}, tokens, kept=kept, method="layers")
            pooler = params["head"]["pooler"]
            return layers, layers[-1][:, 0] @ pooler["kernel"] + pooler["bias"][None]

        for rows in self._padded(self._texts, batch=self._batch):
            added = np.zeros(rows.kept.shape, bool)
            for row, text in enumerate(rows.texts):
                marks = self._texts[text].added
                added[row, : len(marks)] = marks
            layers, pooled = forward(params, rows.tokens, rows.kept)
            yield EncodedBatch(rows.texts, rows.kept, added, layers, pooled)


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs of sentences as rows of states of tokens, padded with zeros.

    Attributes:
      first, second: ``[P, M, D]`` and ``[P, N, D]`` float32.
      first_weight, second_weight: ``[P, M]`` and ``[P, N]`` float32, 1 for a token.
      score: ``[P]`` float64, higher for sentences nearer in meaning.
      origin: what they were made of.
    """

    first: np.ndarray
    first_weight: np.ndarray
    second: np.ndarray
    second_weight: np.ndarray
    score: np.ndarray
    origin: dict[str, str | int] = field(default_factory=dict)

    def fingerprint(self) -> dict[str, str | int]:
        """Returns how many pairs there are and a digest of what they were made of."""
        return {"pairs": len(self.score), **self.origin}


def encoded_pairs(
    *,
    texts: EncodedTexts,
    layers: Sequence[int] = (-1,),
    with_added: bool = True,
) -> EncodedPairs:
    """Returns pairs of sentences as states of their tokens.

    Args:
      texts: sentences and the encoder.
      layers: whose states are averaged: 0 is the embeddings, 1 the first block, -1 the
        last; ``(1, -1)`` has the mean of tokens that is called first-last-avg.
      with_added: whether [CLS] and [SEP] are tokens like others; without them sentences
        must have one token each.

    Raises:
      ValueError: if there is no such layer.
    """
    counts = texts.counts() + (2 if with_added else 0)
    room = max(1, int(counts.max(initial=0)))
    states: np.ndarray | None = None
    weight = (np.arange(room) < counts[:, None]).astype(np.float32)
    for batch in texts.batches():
        count = len(batch.layers)
        if not layers or not all(-count <= layer < count for layer in layers):
            raise ValueError(
                f"layers must be some of 0 to {count - 1}, got {tuple(layers)}"
            )
        chosen = [np.asarray(batch.layers[layer]) for layer in layers]
        mean = sum(chosen[1:], chosen[0]) / len(layers)
        if states is None:
            states = np.zeros((texts.size, room, mean.shape[-1]), np.float32)
        there = batch.kept if with_added else batch.kept & ~batch.added
        for row, text in enumerate(batch.texts):
            states[text, : counts[text]] = mean[row, there[row]]
    if states is None:
        raise ValueError("there must be a pair of sentences, got none")
    sides = []
    for rows in (texts.first, texts.second):
        end = max(1, int(counts[rows].max(initial=0)))
        sides += [states[rows, :end], weight[rows, :end]]
    origin: dict[str, str | int] = {
        "texts_sha256": texts.digest,
        "layers": " ".join(map(str, layers)),
        "with_added": int(with_added),
    }
    return EncodedPairs(*sides, texts.score, origin)
