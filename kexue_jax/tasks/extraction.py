"""Task: take something out of texts: entities, triples, events, answers.

What is taken out, how gold labels are arrays and how scores become answers is a
*scheme*, an argument; the task is the same for all.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.token_places import TokenPlaces
from kexue_jax.exhibits import Exhibit, Table
from kexue_jax.marked_texts import Mark, MarkedTexts
from kexue_jax.nn.functional import functional

_SHOWN = 20  # texts in a report
Ask = Callable[..., Any]
PARTS = ("train", "valid", "test")


class Labels(NamedTuple):
    """What a scheme makes of an example.

    Attributes:
      arrays: by the names of the scheme's `axes`.
      gold: what decoding these arrays has to give back; things in a set.
      missed: how much of the example no token can mark, or the scheme cannot say.
    """

    arrays: dict[str, np.ndarray]
    gold: frozenset
    missed: int


class Scheme(Protocol):
    """How something is taken out of texts; made as ``scheme(examples)``.

    Attributes:
      axes: how the arrays of its labels grow, as `Bucketed` takes it.
      may_invent: whether labels may mean more than they were made of, which is counted
        and no reason to refuse a corpus.
      asks_again: whether it asks the model again with what it has found.
    """

    axes: Mapping[str, Any]
    may_invent: bool
    asks_again: bool

    def texts(self, example: Any) -> str | tuple[str, str]: ...
    def all_gold(self, example: Any) -> frozenset: ...
    def labels(self, example: Any, places: TokenPlaces) -> Labels: ...
    def head(self, features: int, *, rngs: Any) -> Any: ...
    def loss(self, ask: Ask, batch: Mapping[str, jax.Array], rng: Any) -> jax.Array: ...
    def read(self, arrays: Mapping[str, np.ndarray], places: TokenPlaces) -> frozenset:
        """Decodes gold labels, as scores that are certain of them would be."""
        ...

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Any, float]]]: ...
    def scores(self, gold: Sequence, found: Sequence) -> dict[str, float]: ...
    def marks(self, item: Any) -> Sequence[tuple[int, int, str]]: ...
    def as_dict(self, item: Any, score: float, text: str) -> dict[str, Any]:
        """Returns something that was taken out; ``shown`` says it in a word."""
        ...


def _sides(text: str | tuple[str, str]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


class Extraction:
    """A model and a scheme on a corpus, with scores of its three parts."""

    def __init__(
        self,
        *,
        corpus: Any,
        tokenizer: Callable[..., Any],
        encoder: Callable[..., Any],
        scheme: Callable[..., Scheme],
        model: Callable[..., Any],
        bucketed: Callable[..., Any],
        learns: bool = False,
        limit: int | None = None,
    ):
        """Learns from the corpus what there is to be taken out.

        Before it gives a batch or its `fingerprint`, which is before training, the task
        refuses the corpus if an example does not come back from its own labels.

        Args:
          corpus: `train`, `valid` and `test`, sequences of examples.
          tokenizer: of texts, with ``encode_all`` and ``vocabulary``; or, if it
            `learns`, what makes one of the texts to learn from, as `Characters` is.
          encoder: called as ``encoder(V, rngs=)``.
          scheme: called as ``scheme(examples)`` with those to learn from.
          model: called as ``model(encoder=, head=, rngs=)``.
          bucketed: called as ``bucketed(examples, axes)``.
          learns: whether the tokenizer has to be made.
          limit: the most examples of each part, for a trial; None for all.
        """
        parts = {name: list(getattr(corpus, name))[:limit] for name in PARTS}
        self.notes = Counter(getattr(corpus, "notes", {}))
        self.scheme = scheme(parts["train"])
        if learns:
            texts = [self.scheme.texts(example) for example in parts["train"]]
            tokenizer = tokenizer([part for text in texts for part in _sides(text)])
        self.tokenizer: Any = tokenizer
        self.examples = parts
        self._bucketed = bucketed
        make = partial(encoder, self.tokenizer.vocabulary)
        self.init, self.apply = functional(
            partial(model, encoder=make, head=self.scheme.head)
        )
        self._asked = jax.jit(self._ask, static_argnames="ask")

    def _tokenized(self, texts):
        found = self.tokenizer.encode_all(texts)
        places = [
            TokenPlaces(
                one.offsets,
                one.added,
                None if isinstance(text, str) else one.segments,
                text=_sides(text)[-1],
            )
            for one, text in zip(found, texts, strict=True)
        ]
        return found, places

    @cached_property
    def sets(self) -> dict[str, Any]:
        """The parts as sources of batches; read when they are first needed."""
        return {name: self._read(name) for name in PARTS}

    @cached_property
    def places(self) -> dict[str, list[TokenPlaces]]:
        """Where the tokens of each part stand in its texts."""
        texts = {n: [self.scheme.texts(e) for e in x] for n, x in self.examples.items()}
        return {name: self._tokenized(each)[1] for name, each in texts.items()}

    def _read(self, part):
        examples = self.examples[part]
        found, places = self._tokenized([self.scheme.texts(e) for e in examples])
        rows = []
        for example, tokenized, place in zip(examples, found, places, strict=True):
            labels = self.scheme.labels(example, place)
            back = self.scheme.read(labels.arrays, place)
            self.notes[f"{part}/invented"] += len(back - labels.gold)
            if not labels.gold <= back or not (
                self.scheme.may_invent or back <= labels.gold
            ):
                raise ValueError(
                    f"an example of {part} does not come back from its labels: "
                    f"{example!r:.300}\n  lost: {sorted(labels.gold - back)!r:.200}"
                    f"\n  invented: {sorted(back - labels.gold)!r:.200}"
                )
            self.notes[f"{part}/missed"] += labels.missed
            self.notes[f"{part}/gold"] += len(self.scheme.all_gold(example))
            rows.append(
                {
                    "tokens": tokenized.tokens,
                    "segments": tokenized.segments,
                    **labels.arrays,
                }
            )
        return self._rows(rows)

    def _rows_of(self, texts):
        """Batches of texts that have no labels."""
        found, _ = self._tokenized(texts)
        rows = [{"tokens": one.tokens, "segments": one.segments} for one in found]
        return self._rows(rows).all_batches() if rows else ()

    def _rows(self, rows):
        axes = {"tokens": (("T",), self.tokenizer.padding), "segments": (("T",), 0)}
        return self._bucketed(rows, {**axes, **self.scheme.axes})

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step."""
        return self.sets["train"](step)

    def _ask(self, params, extras, batch, inputs, ask):
        output, _ = self.apply(
            params,
            extras,
            batch["tokens"],
            batch["kept"],
            inputs,
            segments=batch["segments"],
            ask=ask,
        )
        return output

    def loss(self, params, extras, batch, rng):
        """Returns the mean loss over the rows of the batch.

        A head gives it as it is, or ``[B, ...]``, of each row.
        """
        first, second = (None, None) if rng is None else jax.random.split(rng)
        after = extras

        def ask(name, *inputs):
            nonlocal after
            output, after = self.apply(
                params,
                extras,
                batch["tokens"],
                batch["kept"],
                inputs,
                segments=batch["segments"],
                offset=batch.get("offset"),
                ask=name,
                train=rng is not None,
                rng=first,
            )
            return output

        loss = self.scheme.loss(ask, batch, second)
        weight = jnp.sum(batch["weight"])
        if loss.ndim:  # of each row, and perhaps of each type
            rows = jnp.mean(loss.reshape(len(loss), -1), axis=1)
            loss = jnp.sum(rows * batch["weight"]) / jnp.maximum(weight, 1.0)
        return loss, (after, {"loss": loss, "weight": weight})

    def _found(self, params, extras, batches, places):
        """What is taken out of each example, by its number."""
        found: dict[int, list[tuple[Any, float]]] = {}
        for batch in batches:
            numbers = [n for n in batch["example"].tolist() if n >= 0]
            there = [places[number] for number in numbers]

            def ask(name, *inputs, batch=batch):
                return jax.device_get(self._asked(params, extras, batch, inputs, name))

            answers = self.scheme.answers(ask, batch, there)
            found |= dict(zip(numbers, answers, strict=True))
        return [found[number] for number in range(len(places))]

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns the scheme's scores of what is held out, such as ``valid/f1``."""
        scores: dict[str, float] = {}
        for part in ("valid", "test"):
            found = self._found(
                params, extras, self.sets[part].all_batches(), self.places[part]
            )
            gold = [self.scheme.all_gold(example) for example in self.examples[part]]
            taken = [frozenset(item for item, _ in items) for items in found]
            for name, value in self.scheme.scores(gold, taken).items():
                scores[f"{part}/{name}"] = value
        return scores

    def predict(
        self, params, extras, inputs: Sequence[str | tuple[str, str]]
    ) -> list[list[dict[str, Any]]]:
        """Returns what is taken out of each text, with offsets and scores.

        Args:
          params, extras: of the task.
          inputs: texts, or pairs of a question and its context.
        """
        texts = [t if isinstance(t, str) else tuple(t) for t in inputs]
        _, places = self._tokenized(texts)
        every = self._found(params, extras, self._rows_of(texts), places)
        return [
            [
                self.scheme.as_dict(item, score, _sides(text)[-1])
                for item, score in items
            ]
            for text, items in zip(texts, every, strict=True)
        ]

    def serving(self, params, extras) -> Callable[..., Any]:
        """Returns the model alone: ``(tokens, kept, segments) -> scores`` of the head.

        Raises:
          ValueError: if the scheme asks its model more than once for a text.
        """
        if self.scheme.asks_again:
            raise ValueError(
                f"{type(self.scheme).__name__} asks its model again with what it has "
                "found; it has no one function to be served"
            )

        def serve(tokens, kept, segments):
            batch = {"tokens": tokens, "kept": kept, "segments": segments}
            return self._ask(params, extras, batch, (), "__call__")

        return serve

    def exhibits(self, params, extras) -> list[Exhibit | MarkedTexts]:
        """Returns some texts with what was taken out of them, and what was missed."""
        examples = self.examples["test"][:_SHOWN]
        texts = [self.scheme.texts(example) for example in examples]
        _, places = self._tokenized(texts)
        found = self._found(params, extras, self._rows_of(texts), places)
        shown = []
        for example, text, items in zip(examples, texts, found, strict=True):
            gold, taken = self.scheme.all_gold(example), {item for item, _ in items}
            marks = []
            for item in sorted(gold | taken):
                kind = "missed" if item not in taken else "right"
                kind = "wrong" if item not in gold else kind
                marks += [Mark(*mark, kind) for mark in self.scheme.marks(item)]
            shown.append((_sides(text)[-1], list(dict.fromkeys(marks))))
        notes = sorted(self.notes.items())
        return [
            MarkedTexts("What was taken out of the first texts", shown),
            Table("What the corpus holds", ("what", "how many"), notes),
        ]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns digests of the parts and of the tokens."""
        digests = {f"{name}_sha256": s.fingerprint() for name, s in self.sets.items()}
        gold = hashlib.sha256()
        for part in ("valid", "test"):
            for example in self.examples[part]:
                gold.update(repr(sorted(self.scheme.all_gold(example))).encode())
        return {
            **digests,
            "gold_sha256": gold.hexdigest(),
            "tokenizer": self.tokenizer.fingerprint(),
        }
