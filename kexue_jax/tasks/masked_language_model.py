"""Task: tell the tokens that were hidden in a text, to pretrain an encoder."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.algorithms import neighbour_counts
from kexue_jax.algorithms.masking import Masked, masked_words, width_of
from kexue_jax.exhibits import Exhibit, Table, Text
from kexue_jax.nn.functional import functional
from kexue_jax.nn.heads import Headed
from kexue_jax.nn.token_head import token_head

MARK = "[MASK]"
"""What stands for a hidden token in a text that is to be filled."""

_SHOWN = 12  # texts in a report


class MaskedLanguageModel:
    """Cross-entropy of hidden tokens, beside what counts of neighbours say of them.

    The parameters are those of `Headed`: ``backbone``, which other tasks begin with,
    and ``head``, which sees the hidden places alone.
    """

    def __init__(
        self,
        *,
        corpus: Callable[[], Any],
        tokenizer: Any,
        packed: Callable[..., Any],
        encoder: Callable[..., Any],
        length: int,
        masking: Callable[..., Masked] = masked_words,
        held_out: Mapping[str, Callable[..., Masked]] | None = None,
        rate: float = 0.15,
        head: Callable[..., Any] = token_head,
        model: Callable[..., Any] = Headed,
        learns: bool = False,
        mask_seed: int = 0,
        guesses: int = 5,
        joint: str = "",
    ):
        """Makes the model; texts are read when they are first needed.

        Args:
          corpus: called without arguments; `train` and `valid` are sequences of texts.
          tokenizer: with ``encode_all``, ``pieces`` and the marks of `WordPiece`, that
            cuts nothing; or, if it `learns`, what makes one of the texts to learn from.
          packed: called as ``packed(texts, tokenizer=, length=)``; gives batches of
            ``tokens`` and ``words``, and ``all_batches()``.
          encoder: called as ``encoder(V, rngs=)``.
          length: T.
          masking: of training, one of `kexue_jax.algorithms.masking`, its own options
            bound; a new one is drawn in each step.
          held_out: maskings by name, each drawn once with `mask_seed`; scores begin
            with the name. None is that of training, with all hidden, as ``valid``.
          rate: the share of tokens to be told.
          head: called as ``head(D, vocabulary=V, rngs=)``.
          model: called as ``model(backbone=, head=, rngs=)``.
          learns: whether the tokenizer has to be made.
          mask_seed: of the masks of what is held out.
          guesses: how many are shown for a hidden token.
          joint: what stands between tokens in a report.
        """
        self._corpus, self._packed, self.length = corpus, packed, length
        self.mask_seed, self.guesses, self.joint = mask_seed, guesses, joint
        self.tokenizer: Any = tokenizer(self.corpus.train) if learns else tokenizer
        own = self.tokenizer
        marks = (own.padding, own.unknown, own.first, own.between, own.hidden)
        self._marks = np.array(sorted(set(marks)), np.int32)
        words = np.setdiff1d(np.arange(own.vocabulary, dtype=np.int32), self._marks)
        options = dict(
            hidden=own.hidden,
            replacements=words,
            width=width_of(length, rate),
            rate=rate,
        )
        self._masking = partial(masking, **options)
        if held_out is None:
            held_out = {"valid": partial(masking, shares=(1.0, 0.0))}
        self._maskings = {n: partial(each, **options) for n, each in held_out.items()}
        self.init, self.apply = functional(
            partial(
                model,
                backbone=partial(encoder, own.vocabulary),
                head=partial(head, vocabulary=own.vocabulary),
            )
        )
        self._told = jax.jit(self._losses)
        self._best = jax.jit(self._guessed)

    @cached_property
    def corpus(self) -> Any:
        """The texts; read when they are first needed."""
        return self._corpus()

    @cached_property
    def rows(self) -> dict[str, Any]:
        """Both parts in rows, as sources of batches."""
        make = partial(self._packed, tokenizer=self.tokenizer, length=self.length)
        return {name: make(getattr(self.corpus, name)) for name in ("train", "valid")}

    @cached_property
    def masks(self) -> dict[str, list[Masked]]:
        """What is held out, with its masks, which are the same in every run."""
        key, batches = jax.random.key(self.mask_seed), self.rows["valid"].all_batches()
        batches = list(batches)
        return {
            name: [
                jax.device_get(
                    masking(
                        jax.random.fold_in(key, number), batch["tokens"], batch["words"]
                    )
                )
                for number, batch in enumerate(batches)
            ]
            for name, masking in self._maskings.items()
        }

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step."""
        return self.rows["train"](step)

    def _scores(self, params, extras, tokens, places, *, rng=None, offset=None):
        """Returns logits ``[B, M, V]`` at places ``[B, M]``, and extras."""
        options = {} if offset is None else {"offset": offset}
        return self.apply(
            params,
            extras,
            tokens,
            places=places,
            kept=tokens != self.tokenizer.padding,
            train=rng is not None,
            rng=rng,
            **options,
        )

    def _losses(self, params, extras, masked, rng=None, offset=None):
        """Returns the losses ``[B, M]`` in nats, whether right, and extras."""
        logits, extras = self._scores(
            params, extras, masked.tokens, masked.places, rng=rng, offset=offset
        )
        logits = logits.astype(jnp.float32)
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, masked.targets)
        return nll, jnp.argmax(logits, axis=-1) == masked.targets, extras

    def loss(self, params, extras, batch, rng):
        """Mean loss in nats over the tokens to be told.

        `rng` drives the mask and dropout; without one the mask is that of `mask_seed`.
        """
        mask, drop = jax.random.key(self.mask_seed), None
        if rng is not None:
            mask, drop = jax.random.split(rng)
        masked = self._masking(mask, batch["tokens"], batch["words"])
        nll, right, extras = self._losses(
            params, extras, masked, drop, batch.get("offset")
        )
        weight = jnp.sum(masked.weight)
        share = masked.weight / jnp.maximum(weight, 1.0)
        loss, accuracy = jnp.sum(nll * share), jnp.sum(right * share)
        return loss, (extras, {"loss": loss, "accuracy": accuracy, "weight": weight})

    @cached_property
    def baselines(self) -> dict[str, float]:
        """How well counts of the training text tell what is held out, without a model.

        Counts of neighbours read what a model reads; ``often`` always says the most
        frequent token.
        """
        rows = self.rows["train"].tokens
        kept, size = rows != self.tokenizer.padding, self.tokenizer.vocabulary
        strength = neighbour_counts.best_strength(rows, kept, vocabulary=size)
        known = neighbour_counts.counted(rows, kept, vocabulary=size, strength=strength)
        found = {}
        for name, batches in self.masks.items():
            whole = [np.concatenate(each) for each in zip(*batches, strict=True)]
            scores = neighbour_counts.neighbour_scores(
                known,
                *whole,
                unknown=[self.tokenizer.hidden],
                never=self._marks.tolist(),
            )
            found[f"{name}/neighbours_bits"] = scores.bits
            found[f"{name}/neighbours_accuracy"] = scores.accuracy
            found[f"{name}/often_accuracy"] = scores.often
        return found

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns scores of what is held out, under each of its maskings.

        ``accuracy`` is the share of the hidden tokens that are told, ``bits`` the mean
        surprise, and ``perplexity`` two to that power.
        """
        scores = {}
        for name, batches in self.masks.items():
            total = right = count = 0.0
            for masked in batches:
                nll, hits, _ = self._told(params, extras, masked)
                total += float(np.sum(np.asarray(nll, np.float64) * masked.weight))
                right += float(np.sum(np.asarray(hits) * masked.weight))
                count += float(np.sum(masked.weight))
            nats = total / max(count, 1.0)
            scores[f"{name}/accuracy"] = right / max(count, 1.0)
            scores[f"{name}/bits"] = float(nats / np.log(2.0))
            scores[f"{name}/perplexity"] = float(np.exp(nats))
        return {**scores, **self.baselines}

    # Texts with hidden tokens

    def _guessed(self, params, extras, tokens, places):
        logits, _ = self._scores(params, extras, tokens, places)
        logits = logits.astype(jnp.float32).at[..., self._marks].set(-jnp.inf)
        return jax.lax.top_k(jax.nn.softmax(logits), self.guesses)

    def _read(self, text):
        """Returns the tokens of a text with marks, and which of them are marks."""
        own = self.tokenizer
        tokens, hidden = [own.first], []
        parts = own.encode_all(text.split(MARK))
        for number, part in enumerate(parts):
            if number:
                hidden.append(len(tokens))
                tokens.append(own.hidden)
            tokens += part.tokens[~part.added].tolist()
        tokens.append(own.between)
        if len(tokens) > self.length:
            raise ValueError(
                f"a text must have at most {self.length} tokens, got {len(tokens)}: "
                f"{text!r:.60}"
            )
        return tokens, hidden

    def predict(
        self, params, extras, inputs: Sequence[str]
    ) -> list[list[dict[str, Any]]]:
        """Returns what may stand at each ``[MASK]`` of each text.

        Each is told as if it were the only one, knowing nothing of what is said of the
        others.

        Args:
          params, extras: of the task.
          inputs: texts of at most T tokens, marks included.

        Returns:
          For each text, for each ``[MASK]`` in it: ``start`` and ``stop``, its place;
          ``text`` and ``score``, the best guess and its probability; ``guesses``, pairs
          of them; and ``shown``, these for people.

        Raises:
          ValueError: if a text is too long.
        """
        if not inputs:
            return []
        read = [self._read(text) for text in inputs]
        most = max(1, *(len(hidden) for _, hidden in read))
        most = 1 << (most - 1).bit_length()
        size = self.length
        found: list[list[dict[str, Any]]] = []
        for text, (tokens, hidden) in zip(inputs, read, strict=True):
            row = np.full((1, size), self.tokenizer.padding, np.int32)
            row[0, : len(tokens)] = tokens
            places = np.zeros((1, most), np.int32)
            places[0, : len(hidden)] = hidden
            scores, best = jax.device_get(self._best(params, extras, row, places))
            starts = _places(text, MARK)
            found.append(
                [
                    self._as_dict(start, best[0, number], scores[0, number])
                    for number, start in enumerate(starts)
                ]
            )
        return found

    def _as_dict(self, start, best, scores):
        pieces = self.tokenizer.pieces(best)
        guesses = [(p, float(s)) for p, s in zip(pieces, scores, strict=True)]
        return {
            "start": start,
            "stop": start + len(MARK),
            "text": pieces[0],
            "score": guesses[0][1],
            "guesses": guesses,
            "shown": ", ".join(f"{piece} {score:.2f}" for piece, score in guesses),
        }

    def fill(self, params, extras, inputs: Sequence[str]) -> list[str]:
        """Returns texts with the best guess for each ``[MASK]``, as `predict` has them.

        A piece that goes on with a word (``##``) is put without its signs.
        """
        filled = []
        for text, items in zip(
            inputs, self.predict(params, extras, inputs), strict=True
        ):
            parts = text.split(MARK)
            words = [item["text"].removeprefix("##") for item in items]
            both = zip(parts, [*words, ""], strict=True)
            filled.append("".join(part + word for part, word in both))
        return filled

    def serving(self, params, extras) -> Callable[..., Any]:
        """Returns the model alone: ``(tokens, kept, segments) -> logits`` of tokens."""

        def serve(tokens, kept, segments):
            return self.apply(params, extras, tokens, kept=kept, segments=segments)[0]

        return serve

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns the comparison with counts, and texts with guesses in them."""
        scores = self.evaluate(params, extras)
        rows = [
            row
            for name in self.masks
            for row in (
                (name, "this model", *self._shown(scores, name, "")),
                (
                    name,
                    "counts of neighbours",
                    *self._shown(scores, name, "neighbours_"),
                ),
                (
                    name,
                    "the most frequent token",
                    None,
                    scores[f"{name}/often_accuracy"],
                ),
            )
        ]
        items = []
        for name, batches in self.masks.items():
            masked = batches[0]
            best = self._best(params, extras, masked.tokens, masked.places)
            guessed = np.asarray(best[1])
            items += [
                (f"{name}, row {row}", self._told_row(masked, row, guessed[row]))
                for row in range(min(_SHOWN // len(self.masks), len(guessed)))
                if masked.weight[row].any()
            ]
        return [
            Table(
                "Hidden tokens of what is held out",
                ("masking", "predictor", "bits per token", "share told"),
                rows,
                note="Counts of the training text tell a token from the two beside it, "
                "as far as these are not hidden.",
            ),
            Text(
                "What was hidden, and the guesses",
                items,
                note="In brackets: what stood there, and the best guesses.",
            ),
        ]

    def _shown(self, scores, name, front):
        bits, told = (scores[f"{name}/{front}{x}"] for x in ("bits", "accuracy"))
        return round(bits, 3), round(told, 4)

    def _told_row(self, masked, row, guessed):
        """A row as text, with what stood there and was guessed in brackets."""
        pieces = self.tokenizer.pieces(masked.tokens[row])
        kept = masked.tokens[row] != self.tokenizer.padding
        for place, target, best, weight in zip(
            masked.places[row],
            masked.targets[row],
            guessed,
            masked.weight[row],
            strict=True,
        ):
            if weight > 0:
                (truth,), told = (
                    self.tokenizer.pieces(x) for x in ([target], best[:3])
                )
                pieces[place] = f"[{truth}: {' '.join(told)}]"
        there = (p for p, is_kept in zip(pieces, kept, strict=True) if is_kept)
        return self.joint.join(there)

    def fingerprint(self) -> dict[str, str | int]:
        """Returns digests of the texts, of their rows and of the tokens."""
        digests = {
            f"{name}_sha256": rows.fingerprint() for name, rows in self.rows.items()
        }
        return {
            **self.corpus.fingerprint(),
            **digests,
            "tokenizer": self.tokenizer.fingerprint(),
            "vocabulary": self.tokenizer.vocabulary,
        }


def _places(text: str, mark: str) -> list[int]:
    """Where a mark starts in a text."""
    found, at = [], text.find(mark)
    while at >= 0:
        found.append(at)
        at = text.find(mark, at + len(mark))
    return found
