"""Task: a model of the next byte, and what is drawn from it in several ways."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.entropy_normalization import softmax_entropy
from kexue_jax.algorithms.sampling import (
    at_entropy,
    at_most_entropy,
    continued,
    tempered,
    top_p,
)
from kexue_jax.exhibits import Curves, Exhibit, Series, Table, Text
from kexue_jax.tasks.token_prediction import Prediction, TokenPrediction

Adjustment = Callable[[jax.Array], jax.Array]
RUN = 12  # bytes of the passages that are counted for diversity
SHOWN = 2  # samples of each way in the report
WHOLE_WORD = re.compile(rb"(?<=[^A-Za-z])[A-Za-z]{2,}(?=[^A-Za-z])")


def _where_mean_is(goal: float, mean: Callable[[float], Any], high: float) -> float:
    """Returns the number below `high` at which a growing function is `goal`."""
    low = 1e-3
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if float(mean(middle)) < goal else (low, middle)
    return low


def share_of_words(samples: list[bytes], known: frozenset[bytes]) -> float:
    """Returns the share of whole words of two letters or more that are known ones."""
    words = [word for text in samples for word in WHOLE_WORD.findall(text)]
    return sum(word in known for word in words) / max(len(words), 1)


def distinct(samples: list[bytes], size: int = RUN) -> float:
    """Returns the share of different passages among all passages of `size` bytes."""
    runs = [s[i : i + size] for s in samples for i in range(len(s) - size + 1)]
    return len(set(runs)) / max(len(runs), 1)


class Decoding(TokenPrediction):
    """Samples of a byte model, drawn in ways that have one mean entropy.

    Nucleus sampling sets it: the mean entropy of what is left of the model's
    distributions over held-out text. The temperature, the prescribed entropy and the
    greatest allowed entropy are then those with the same mean over that text. Scores of
    each way at each share, such as ``at_entropy_0.9``, of ``plain`` drawing and of the
    ``held_out`` text itself:

    - ``<way>/words``, share of whole words that occur in the training text;
    - ``<way>/distinct``, share of different passages of 12 bytes;
    - ``<way>/nats``, mean negative logarithm of the model's own probability of what
      was drawn, in nats a byte;
    - ``<way>/entropy``, the mean over held-out text, and ``<way>/value``, the number
      of the way that gives it.
    """

    def __init__(
        self,
        *,
        text: Any,
        data: Callable[[Any], Prediction],
        model: Callable[..., Any],
        shares: Sequence[float] = (0.9,),
        samples: int = 64,
        prompt: int = 32,
        sample_seed: int = 0,
    ):
        """Makes the task.

        Args:
          text: has ``parts`` to learn from and ``valid``, held out.
          data: called with `text`; its tokens are bytes.
          model: causal, as in `TokenPrediction`; it goes step by step.
          shares: p of nucleus sampling, each with its mean entropy.
          samples: how many of each way, at most the windows that are held out.
          prompt: bytes of held-out text that a sample begins with.
          sample_seed: of the drawing.

        Raises:
          ValueError: if the windows are too few or too short.
        """
        super().__init__(data=data(text), model=model)
        self.held = next(iter(self.data.held_out.values()))
        windows = np.concatenate([batch["tokens"] for batch in self.held])
        seen = np.concatenate([batch["weight"] for batch in self.held]).min(axis=1) > 0
        self.windows, self.prompt = windows[seen][:samples], prompt
        if len(self.windows) < samples or not 0 < prompt < windows.shape[1]:
            raise ValueError(
                f"samples and prompt must be within the {seen.sum()} windows of "
                f"{windows.shape[1]} bytes held out, got {samples} and {prompt}"
            )
        self.shares, self.sample_seed = tuple(shares), sample_seed
        words = WHOLE_WORD.findall(" ".join(text.parts).encode())
        self.known = frozenset(words)

    def _logits(self, params, extras) -> jax.Array:
        """Returns the model's logits ``[P, V]`` at all places held out."""
        read = jax.jit(lambda tokens: self.apply(params, extras, tokens)[0])
        found = [np.asarray(read(b["tokens"]))[b["weight"] > 0] for b in self.held]
        return jnp.asarray(np.concatenate(found), jnp.float32)

    def _adjustments(self, logits) -> dict[str, tuple[float, Adjustment]]:
        """Returns the number of each way, and the way with that number."""
        entropy = softmax_entropy(logits)
        mean = jax.jit(lambda value, x: jnp.mean(softmax_entropy(x / value)))
        most = float(jnp.max(entropy))
        found: dict[str, tuple[float, Adjustment]] = {"plain": (1.0, lambda x: x)}
        for share in self.shares:
            nucleus = partial(top_p, p=share)
            goal = float(jnp.mean(softmax_entropy(nucleus(logits))))
            warmth = _where_mean_is(goal, lambda v: mean(v, logits), 4.0)
            cap = _where_mean_is(
                goal, lambda v: jnp.mean(jnp.minimum(entropy, v)), most
            )
            ways = {
                "top_p": (share, nucleus),
                "temperature": (warmth, partial(tempered, temperature=warmth)),
                "at_entropy": (goal, partial(at_entropy, target=goal)),
                "at_most_entropy": (cap, partial(at_most_entropy, target=cap)),
            }
            found |= {f"{name}_{share:g}": way for name, way in ways.items()}
        return found

    def _drawn(self, params, extras, adjust):
        """Returns ``[R, T]``, prompts and what was drawn behind them."""

        def call(method, *inputs):
            return self.apply(params, extras, *inputs, method=method)[0]

        length = self.windows.shape[1]
        prompts = jnp.asarray(self.windows[:, : self.prompt])
        cache = call("empty_cache", len(prompts), length)
        draw = partial(
            continued,
            partial(call, "step"),
            places=length - self.prompt,
            adjust=adjust,
        )
        drawn = jax.jit(draw)(cache, prompts, jax.random.key(self.sample_seed))
        return np.concatenate([prompts, drawn], axis=1)

    def _measured(self, params, extras, tokens):
        asked = {"tokens": tokens[:, :-1], "targets": tokens[:, 1:]}
        nll, _, _ = self._nll(params, extras, asked)
        texts = [bytes(row[self.prompt :].astype(np.uint8)) for row in tokens]
        return {
            "words": share_of_words(texts, self.known),
            "distinct": distinct(texts),
            "nats": float(np.mean(np.asarray(nll)[:, self.prompt - 1 :])),
        }

    def _all(self, params, extras):
        """Scores of every way, its entropies at all places, and what it drew."""
        logits = self._logits(params, extras)
        scores = {"held_out": self._measured(params, extras, self.windows)}
        entropies, drawn = {}, {}
        for name, (value, adjust) in self._adjustments(logits).items():
            entropies[name] = np.asarray(softmax_entropy(adjust(logits)))
            drawn[name] = self._drawn(params, extras, adjust)
            mean = {"value": value, "entropy": float(entropies[name].mean())}
            scores[name] = self._measured(params, extras, drawn[name]) | mean
        return scores, entropies, drawn

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns loss and accuracy, and the scores of every way of drawing."""
        found, _, _ = self._all(params, extras)
        return super().evaluate(params, extras) | {
            f"{way}/{name}": value
            for way, scores in found.items()
            for name, value in scores.items()
        }

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns a table of the ways, their entropies and samples of each."""
        scores, entropies, drawn = self._all(params, extras)
        columns = ("value", "entropy", "words", "distinct", "nats")
        rows = [
            (way, *(round(found[c], 3) if c in found else "" for c in columns))
            for way, found in scores.items()
        ]
        share = np.linspace(0.0, 1.0, 101)
        series = [
            Series(way, share, np.quantile(values, share))
            for way, values in entropies.items()
        ]
        items = [
            (way, bytes(row.astype(np.uint8)).decode(errors="replace"))
            for way, rows in drawn.items()
            for row in rows[:SHOWN]
        ]
        return [
            Table("Ways of drawing", ("way", *columns), rows),
            Curves(
                "Entropy at held-out places, in order",
                series,
                x_label="share of the places",
                y_label="nats",
            ),
            Text(f"Samples, after {self.prompt} bytes of held-out text", items),
        ]
