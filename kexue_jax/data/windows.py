"""Windows of a long row of tokens: at random for training, once over for scoring."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class RandomWindows:
    """Source of windows that start anywhere, each step drawing its own."""

    def __init__(
        self,
        parts: Sequence[np.ndarray],
        *,
        batch: int,
        length: int,
        seed: int,
        focus: Callable[[int], Any] | None = None,
    ):
        """Serves windows of ``length + 1`` tokens: inputs and, one later, targets.

        Args:
          parts: ``[N]`` integers each, read as one row; the last of them has more than
            `length` tokens.
          batch: windows a step, at least 1.
          length: T, tokens that are predicted in a window, at least 1.
          seed: not negative; with the step it determines the batch.
          focus: from the step to a share from 0 to 1 of the windows, drawn at random,
            that start in the last part; the others start anywhere. An optax schedule
            that rises trains at last on what most resembles the text held out.
        """
        if batch < 1 or length < 1 or not parts or len(parts[-1]) <= length:
            raise ValueError(
                "windows need batch >= 1, length >= 1 and more tokens than length in "
                f"the last part; got batch={batch}, length={length}, parts of "
                f"{[len(part) for part in parts]} tokens"
            )
        self.tokens = np.concatenate(parts).astype(np.int32)
        self.last = len(self.tokens) - len(parts[-1])
        self.batch, self.length, self.seed = batch, length, seed
        self.focus = focus

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Returns ``tokens`` ``[B, T + 1]`` int32 and ``weight`` ``[B, T]`` float32."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        end = len(self.tokens) - self.length
        start = generator.integers(0, end, self.batch)
        if self.focus is not None:
            share = float(self.focus(step))
            if not 0.0 <= share <= 1.0:
                raise ValueError(
                    f"focus must be a share from 0 to 1, got {share} at step {step}"
                )
            focused = generator.random(self.batch) < share
            near = generator.integers(self.last, end, self.batch)
            start = np.where(focused, near, start)
        weight = np.ones((self.batch, self.length), np.float32)
        places = start[:, None] + np.arange(self.length + 1)
        return {"tokens": self.tokens[places], "weight": weight}


def windows(tokenizer: Any, texts: Sequence[str], **options: Any) -> RandomWindows:
    """Returns `RandomWindows` of texts, in the tokens of `encode`, for configs."""
    return RandomWindows([tokenizer.encode(text) for text in texts], **options)


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
