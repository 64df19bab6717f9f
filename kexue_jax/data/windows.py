"""Windows of a long row of tokens: at random for training, once over for scoring."""

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


def windows(
    tokenizer: Any, text: str, *, batch: int, length: int, seed: int
) -> RandomWindows:
    """Returns the source of windows of a text, in the tokens of `encode`."""
    tokens = tokenizer.encode(text)
    return RandomWindows(tokens, batch=batch, length=length, seed=seed)


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
