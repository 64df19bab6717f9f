"""Task: predict the next token of a text, scored in bits per byte."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.algorithms import compression, ngram
from kexue_jax.algorithms.sampling import continuations, tempered
from kexue_jax.exhibits import Curves, Exhibit, Series, Table, Text
from kexue_jax.nn.functional import functional

START = "\n\n"  # what stands before a passage


class Texts(Protocol):
    """The text to learn from and the text held out."""

    parts: tuple[str, ...]
    valid: str

    def fingerprint(self) -> dict[str, str | int]: ...


class Tokenizer(Protocol):
    """Text to numbers below `vocabulary` and back."""

    vocabulary: int

    def encode(self, text: str) -> np.ndarray: ...
    def decode(self, tokens: Any) -> str: ...
    def fingerprint(self) -> str: ...


def _ngram_scores(train: bytes, valid: bytes, longest: int) -> dict[str, float]:
    order = ngram.best_order(train, longest=longest)
    bits = ngram.bits_per_byte(train, valid, order=order)
    return {"bits_per_byte": bits, "order": float(order)}


def _compressor_scores(
    size: Callable[[bytes], int], train: bytes, valid: bytes
) -> dict[str, float]:
    primed = compression.bits_per_byte(size, valid, train + START.encode())
    alone = compression.bits_per_byte(size, valid)
    return {"bits_per_byte": primed, "bits_per_byte_alone": alone}


def _begun(work: Callable[..., dict[str, float]], *args: Any) -> Future:
    """Calls a function in a thread, which the end of the process does not wait for."""
    future = Future()

    def call():
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)

    Thread(target=call, daemon=True).start()
    return future


class LanguageModel:
    """Cross-entropy of the next token, beside n-grams and compressors of the text."""

    def __init__(
        self,
        *,
        text: Texts,
        tokenizer: Callable[[str], Tokenizer],
        source: Callable[..., Callable[[int], dict[str, np.ndarray]]],
        held_out: Callable[..., list[dict[str, np.ndarray]]],
        model: Callable[..., Any],
        window: int,
        prompts: Sequence[str] = (START,),
        temperatures: Sequence[float] = (0.7, 1.0),
        sample_seed: int = 0,
        longest_ngram: int = 12,
    ):
        """Reads the text, learns the tokens and lays out the windows.

        Args:
          text: parts to learn from and a text held out; they share nothing.
          tokenizer: called with all there is to learn from.
          source: called with the tokenizer and the parts to learn from.
          held_out: called with held-out tokens and ``skip=``, which are read only, and
            once with ``stride=window``.
          model: called as ``model(vocabulary, rngs=...)``.
          window: T, tokens in the windows of `source` and `held_out`, and in the buffer
            that samples are written to.
          prompts: what samples begin with; cut to the half of a buffer, at the left.
          temperatures: samples are drawn at each of them.
          sample_seed: seed of the samples.
          longest_ngram: n-grams of 1 to so many bytes are tried on training text.
        """
        self.text, self.window = text, window
        self.prompts, self.temperatures = tuple(prompts), tuple(temperatures)
        self.sample_seed, self.longest_ngram = sample_seed, longest_ngram
        self.train = START.join(text.parts)
        self._counts = self._begin_counting()  # which takes as long as all that follows
        self.tokenizer = tokenizer(self.train)
        start = self.tokenizer.encode(START)
        self.batch = source(self.tokenizer, [START + part for part in text.parts])
        valid = np.concatenate([start, self.tokenizer.encode(text.valid)])
        self.valid = held_out(valid, skip=len(start))
        self.whole = held_out(valid, skip=1, stride=window)
        self.init, self.apply = functional(partial(model, self.tokenizer.vocabulary))
        self._nll = jax.jit(self._losses)
        self._fill = jax.jit(self._filled)

    def _losses(self, params, extras, tokens, rng=None):
        """Returns the losses ``[B, T]`` in nats, whether right, and extras."""
        train = rng is not None
        logits, extras = self.apply(
            params, extras, tokens[:, :-1], train=train, rng=rng
        )
        logits, targets = logits.astype(jnp.float32), tokens[:, 1:]
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return nll, jnp.argmax(logits, axis=-1) == targets, extras

    def loss(self, params, extras, batch, rng):
        """Mean loss in nats over the targets of weight 1; `rng` drives dropout."""
        nll, right, extras = self._losses(params, extras, batch["tokens"], rng)
        weight = jnp.sum(batch["weight"])
        share = batch["weight"] / jnp.maximum(weight, 1.0)
        loss, accuracy = jnp.sum(nll * share), jnp.sum(right * share)
        scores = {"loss": loss, "accuracy": accuracy, "weight": weight}
        return loss, (extras, scores)

    def _begin_counting(self) -> dict[str, Future]:
        """Returns the baselines by name, each of them counted in a thread."""
        train, valid = (START + self.train).encode(), self.text.valid.encode()
        sizes = {"xz": compression.xz_size, "gzip": compression.gzip_size}
        return {
            "ngram": _begun(_ngram_scores, train, valid, self.longest_ngram),
            **{
                name: _begun(_compressor_scores, size, train, valid)
                for name, size in sizes.items()
            },
        }

    @property
    def baselines(self) -> dict[str, float]:
        """Bits per byte of the held-out text without a model.

        The order of the n-grams is chosen on the training text. Compressors read the
        training text first; names that end in `_alone` are without it.
        """
        return {
            f"{name}/{score}": value
            for name, count in self._counts.items()
            for score, value in count.result().items()
        }

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns scores of all held-out bytes; those of the baselines are constant."""
        total = right = count = 0.0
        for batch in self.valid:
            nll, hits, _ = self._nll(params, extras, batch["tokens"])
            total += float(np.sum(np.asarray(nll, np.float64) * batch["weight"]))
            right += float(np.sum(np.asarray(hits) * batch["weight"]))
            count += float(np.sum(batch["weight"]))
        size = len(self.text.valid.encode())
        return {
            "valid/bits_per_byte": float(total / np.log(2.0) / size),
            "valid/nats_per_token": total / count,
            "valid/accuracy": right / count,
            **self.baselines,
        }

    def _filled(self, params, extras, tokens, lengths, temperature, rng):
        def logits_of(buffer):
            logits, _ = self.apply(params, extras, buffer)
            return logits.astype(jnp.float32)

        adjust = partial(tempered, temperature=temperature[:, None])
        return continuations(logits_of, tokens, lengths, rng, adjust=adjust)

    def _continued(self, params, extras, prompts, temperatures):
        """Returns what follows each prompt, in groups of one compiled shape."""
        rows = max(1, len(self.prompts) * len(self.temperatures))
        rng, texts = jax.random.key(self.sample_seed), []
        for first in range(0, len(prompts), rows):
            group = list(prompts[first : first + rows])
            tokens = np.zeros((rows, self.window), np.int32)
            lengths = np.ones(rows, np.int32)
            warmth = np.ones(rows, np.float32)
            warmth[: len(group)] = temperatures[first : first + rows]
            for row, prompt in enumerate(group):
                ids = self.tokenizer.encode(prompt or START)[-(self.window // 2) :]
                tokens[row, : len(ids)], lengths[row] = ids, len(ids)
            key = jax.random.fold_in(rng, first)
            filled = self._fill(params, extras, tokens, lengths, warmth, key)
            for row in range(len(group)):
                full = np.asarray(filled)[row]
                prompt = self.tokenizer.decode(full[: lengths[row]])
                texts.append(self.tokenizer.decode(full)[len(prompt) :])
        return texts

    def predict(self, params, extras, inputs: Sequence[str]) -> list[str]:
        """Returns one continuation of each prompt, at the first temperature."""
        warmth = [self.temperatures[0]] * len(inputs)
        return self._continued(params, extras, list(inputs), warmth)

    def _by_position(self, params, extras):
        """Returns places in the window and the mean bits of a token there."""
        total, count = np.zeros(self.window), np.zeros(self.window)
        for batch in self.whole:
            nll, _, _ = self._nll(params, extras, batch["tokens"])
            total += np.sum(np.asarray(nll) * batch["weight"], axis=0)
            count += np.sum(batch["weight"], axis=0)
        width = max(1, self.window // 16)
        places = np.arange(0, self.window, width)
        sums = np.add.reduceat(total, places), np.add.reduceat(count, places)
        seen = sums[1] > 0
        bits = sums[0][seen] / sums[1][seen] / np.log(2.0)
        return places[seen] + 0.5 * (width - 1), bits

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns samples, the comparison with the baselines and loss by position."""
        asked = [(p, t) for t in self.temperatures for p in self.prompts]
        made = self._continued(params, extras, *map(list, zip(*asked, strict=True)))
        items = [
            (f"{prompt.strip()!r} at temperature {warmth:g}", prompt + text)
            for (prompt, warmth), text in zip(asked, made, strict=True)
        ]
        scores = self.evaluate(params, extras)
        own = scores["valid/bits_per_byte"]
        names = {
            "this model": "valid/bits_per_byte",
            f"n-grams of up to {scores['ngram/order']:.0f} bytes": (
                "ngram/bits_per_byte"
            ),
            "xz, having read the training text": "xz/bits_per_byte",
            "gzip, having read the training text": "gzip/bits_per_byte",
            "xz, alone": "xz/bits_per_byte_alone",
            "gzip, alone": "gzip/bits_per_byte_alone",
        }
        rows = [
            (label, round(scores[name], 4), round(own / scores[name], 3))
            for label, name in names.items()
        ]
        place, bits = self._by_position(params, extras)
        return [
            Table(
                "Bits per byte of the held-out text",
                ("predictor", "bits per byte", "this model's share of them"),
                rows,
                note="N-grams: interpolated Kneser-Ney, their order chosen on training "
                "text. Compressors read the training text first unless alone.",
            ),
            Curves(
                "Loss by position in the window",
                [Series("held-out text", place, bits)],
                x_label="tokens read before",
                y_label="bits per token",
            ),
            Text("Samples", items),
        ]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the data is: sizes and digests of the text and the tokens."""
        return {
            **self.text.fingerprint(),
            "tokenizer_sha256": self.tokenizer.fingerprint(),
            "vocabulary": self.tokenizer.vocabulary,
        }
