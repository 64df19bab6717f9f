"""Windows of a long row of tokens: at random for training, once over for scoring."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class RandomWindows:
    """Source of windows that start anywhere, each step drawing its own."""

    def __init__(self, tokens: np.ndarray, *, batch: int, length: int, seed: int):
        """Serves windows of ``length + 1`` tokens: inputs and, one later, targets.

        Args:
          tokens: ``[N]`` integers, more than `length`.
          batch: windows a step, at least 1.
          length: T, tokens that are predicted in a window, at least 1.
          seed: not negative; with the step it determines the batch.
        """
        if batch < 1 or length < 1 or len(tokens) <= length:
            raise ValueError(
                "windows need batch >= 1, length >= 1 and more tokens than length; "
                f"got batch={batch}, length={length}, {len(tokens)} tokens"
            )
        self.tokens = np.asarray(tokens, np.int32)
        self.batch, self.length, self.seed = batch, length, seed

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Returns ``tokens`` ``[B, T + 1]`` int32 and ``weight`` ``[B, T]`` float32."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        start = generator.integers(0, len(self.tokens) - self.length, self.batch)
        weight = np.ones((self.batch, self.length), np.float32)
        places = start[:, None] + np.arange(self.length + 1)
        return {"tokens": self.tokens[places], "weight": weight}


class RespelledWindows:
    """Source of windows whose words are written in tokens anew each time.

    A small text read many times over is learned by heart less if its words come in
    other tokens each time (BPE-dropout).
    """

    def __init__(
        self,
        words: np.ndarray,
        ways: Sequence[Sequence[np.ndarray]],
        *,
        batch: int,
        length: int,
        seed: int,
        fade: int,
    ):
        """Serves windows that begin at any word.

        Args:
          words: ``[W]`` integers, a text as places in `ways`, more than `length`.
          ways: for each different word equally many rows of at least one token, the
            usual one first.
          batch, length, seed: as in `RandomWindows`.
          fade: the step from which all words are written the usual way, at least 1.
            Before it a word takes any way with a probability that falls from 1 at
            step 0 in proportion, so that the model ends up sure of the usual one.
        """
        if fade < 1:
            raise ValueError(f"fade is a step after the first, got {fade}")
        if batch < 1 or length < 1 or len(words) <= length:
            raise ValueError(
                "windows need batch >= 1, length >= 1 and more words than length; "
                f"got batch={batch}, length={length}, {len(words)} words"
            )
        self.words, self.count = np.asarray(words), len(ways[0])
        rows = [row for several in ways for row in several]
        self.sizes = np.array([len(row) for row in rows])
        self.firsts = np.cumsum(self.sizes) - self.sizes
        self.tokens = np.concatenate(rows).astype(np.int32)
        self.batch, self.length, self.seed, self.fade = batch, length, seed, fade

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Returns ``tokens`` ``[B, T + 1]`` int32 and ``weight`` ``[B, T]`` float32."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        size = self.length + 1
        start = generator.integers(0, len(self.words) - size + 1, self.batch)
        way = generator.integers(0, self.count, (self.batch, size))
        way *= generator.random((self.batch, size)) < 1.0 - step / self.fade
        rows = self.words[start[:, None] + np.arange(size)] * self.count + way
        return {
            "tokens": np.stack([self._written(row)[:size] for row in rows]),
            "weight": np.ones((self.batch, self.length), np.float32),
        }

    def _written(self, rows):
        """Returns the tokens of some rows, one after the other."""
        sizes = self.sizes[rows]
        ends = np.cumsum(sizes)
        shift = np.repeat(self.firsts[rows] - (ends - sizes), sizes)
        return self.tokens[np.arange(ends[-1]) + shift]


def windows(
    tokenizer: Any, text: str, *, batch: int, length: int, seed: int
) -> RandomWindows:
    """Returns the source of windows of a text, in the tokens of `encode`."""
    tokens = tokenizer.encode(text)
    return RandomWindows(tokens, batch=batch, length=length, seed=seed)


def respelled_windows(
    tokenizer: Any,
    text: str,
    *,
    rate: float,
    count: int = 8,
    batch: int,
    length: int,
    seed: int,
    fade: int,
) -> RespelledWindows:
    """Returns the source of windows of a text whose words change their tokens.

    Args:
      tokenizer: a `BytePairTokenizer`.
      text: where windows come from.
      rate, count: as in `BytePairTokenizer.spellings`.
      batch, length, seed, fade: as in `RespelledWindows`.
    """
    words, ways = tokenizer.spellings(text, rate=rate, count=count, seed=seed)
    return RespelledWindows(
        words, ways, batch=batch, length=length, seed=seed, fade=fade
    )


def tiles(
    tokens: np.ndarray, *, length: int, stride: int, batch: int, skip: int = 1
) -> list[dict[str, np.ndarray]]:
    """Covers a row of tokens with windows in which each token is predicted once.

    A window moves on by `stride` and predicts what the one before did not reach, so
    that all but the first windows have ``length - stride`` tokens to read beforehand.

    Args:
      tokens: ``[N]`` integers.
      length: T, the size of a window.
      stride: from 1 to T, tokens that a window predicts.
      batch: windows in a batch; the last is filled up with windows of weight 0.
      skip: tokens at the beginning that are read but not predicted, at least 1.

    Returns:
      Batches with ``tokens`` ``[B, T + 1]`` int32 and ``weight`` ``[B, T]`` float32, 1
      where the target, ``tokens[:, 1:]``, counts. The weights sum to ``N - skip``.
    """
    if not 1 <= stride <= length or batch < 1 or not 1 <= skip < len(tokens):
        raise ValueError(
            "tiles need 1 <= stride <= length, batch >= 1 and 1 <= skip < tokens; got "
            f"stride={stride}, length={length}, batch={batch}, skip={skip}, "
            f"{len(tokens)} tokens"
        )
    rows, weights, done = [], [], skip
    while done < len(tokens):
        end = min(done + stride, len(tokens))
        start = max(0, end - length - 1)
        row, weight = np.zeros(length + 1, np.int32), np.zeros(length, np.float32)
        row[: end - start] = tokens[start:end]
        weight[done - 1 - start : end - 1 - start] = 1.0
        rows.append(row)
        weights.append(weight)
        done = end
    lacking = -len(rows) % batch
    rows += [np.zeros(length + 1, np.int32)] * lacking
    weights += [np.zeros(length, np.float32)] * lacking
    return [
        {
            "tokens": np.stack(rows[first : first + batch]),
            "weight": np.stack(weights[first : first + batch]),
        }
        for first in range(0, len(rows), batch)
    ]
