"""Entities as scored spans, and as tags: two schemes of `Extraction`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.spans import (
    NOBODY,
    Span,
    certain_scores,
    decode_batch,
    span_probability,
    without_overlaps,
)
from kexue_jax.algorithms.tagging import (
    Scheme,
    allowed_transitions,
    repaired_spans,
    tag_names,
    tags_of_spans,
)
from kexue_jax.algorithms.token_places import TokenPlaces, placed
from kexue_jax.nn.extractor import Tagger
from kexue_jax.nn.global_pointer import GlobalPointer
from kexue_jax.scores.extraction import scores_by_type, set_scores
from kexue_jax.tasks.extraction import Ask, Labels


class Entity(NamedTuple):
    """``text[start:stop]``, of a type."""

    start: int
    stop: int
    type: str


class _Entities:
    """What both schemes share: gold, scores, and how an entity is shown."""

    may_invent = False
    asks_again = False

    def __init__(self, examples: Sequence[Any]):
        self.types = sorted({span.type for e in examples for span in e.spans})
        if not self.types:
            raise ValueError("examples must hold an entity, got none")
        self._number = {kind: number for number, kind in enumerate(self.types)}

    def texts(self, example: Any) -> str:
        """Returns the text."""
        return example.text

    def all_gold(self, example: Any) -> frozenset[Entity]:
        """Returns the entities of an example."""
        return frozenset(Entity(*span) for span in example.spans)

    def _placed(self, example, places):
        """Spans of tokens with numbers of types, and how many there cannot be."""
        found, missed = placed(places, self.all_gold(example))
        known = [(self._number.get(kind), *at) for kind, *at in found]
        spans = sorted(span for span in known if span[0] is not None)
        return spans, missed + len(known) - len(spans)

    def _entity(self, places, kind, first, last):
        return Entity(*places.characters(first, last), self.types[kind])

    def scores(self, gold: Sequence, found: Sequence) -> dict[str, float]:
        """Returns precision, recall and F1 over all entities, and F1 of each type."""
        whole = set_scores(gold, found)
        scores = {name: getattr(whole, name) for name in ("f1", "precision", "recall")}
        by_type = scores_by_type(gold, found)
        for kind in self.types:
            scores[f"f1/{kind}"] = by_type[kind].f1 if kind in by_type else 0.0
        return scores

    def marks(self, item: Entity) -> list[tuple[int, int, str]]:
        """Returns the one place of an entity."""
        return [(item.start, item.stop, item.type)]

    def as_dict(self, item: Entity, score: float, text: str) -> dict[str, Any]:
        """Returns an entity with its words."""
        words = text[item.start : item.stop]
        shown = f"{words} ({item.type})"
        return {**item._asdict(), "text": words, "score": score, "shown": shown}


class SpanEntities(_Entities):
    """Every span has a score for every type, and entities are those above 0.

    Source: https://kexue.fm/archives/8373
    """

    axes: ClassVar = {"spans": ((None, "K", None), NOBODY)}

    def __init__(
        self,
        examples: Sequence[Any],
        *,
        pointer: Callable[..., Any] = GlobalPointer,
        is_flat: bool = False,
        threshold: float = 0.0,
        most: int = 512,
        objective: Callable[..., Any] | None = None,
    ):
        """Learns the types.

        Args:
          examples: those to learn from, with ``text`` and ``spans``.
          pointer: called as ``pointer(D, types=, rngs=)``.
          is_flat: whether entities are known not to meet, so that of those that do the
            best is taken.
          threshold: of the scores; above 0 for fewer and surer entities.
          most: entities of a text, the surest: a model that knows nothing finds all
            spans.
          objective: ``(scores [B, C, T T], positives [B, C, K]) -> [B, C]``, a loss of
            all scores at once, where pairs are numbered row by row; None is that of the
            pointer, which never holds them all.

        Raises:
          ValueError: if there is no entity.
        """
        super().__init__(examples)
        self.is_flat, self.threshold, self.most = is_flat, threshold, most
        self.objective = objective
        self.head = partial(pointer, types=len(self.types))

    def labels(self, example: Any, places: TokenPlaces) -> Labels:
        """Returns ``spans`` ``[C, K, 2]``."""
        spans, missed = self._placed(example, places)
        most = max((sum(s[0] == kind for s in spans) for kind, *_ in spans), default=0)
        array = np.full((len(self.types), most, 2), NOBODY, np.int32)
        filled = [0] * len(self.types)
        for kind, first, last in spans:
            array[kind, filled[kind]] = first, last
            filled[kind] += 1
        gold = frozenset(self._entity(places, *span) for span in spans)
        return Labels({"spans": array}, gold, missed)

    def loss(self, ask: Ask, batch: Mapping[str, Any], rng: Any) -> Any:
        """Returns the multi-label loss ``[B, C]``."""
        del rng  # nothing is drawn
        spans = batch["spans"]
        if self.objective is None:
            return ask("loss", spans)
        scores = ask("__call__")
        size = scores.shape[-1]
        numbers = jnp.where(spans[..., 0] < 0, NOBODY, spans @ jnp.array([size, 1]))
        return self.objective(scores.reshape(*scores.shape[:2], -1), numbers)

    def read(self, arrays: Mapping[str, np.ndarray], places: TokenPlaces) -> frozenset:
        """Returns the entities of ``spans``."""
        scores = certain_scores(arrays["spans"], len(places.real))
        (found,) = self._taken(scores[None], [places])
        return frozenset(item for item, _ in found)

    def _taken(self, scores, places):
        taken = []
        batch = decode_batch(scores, threshold=self.threshold, most=self.most)
        for spans, place in zip(batch, places, strict=True):
            real = [s for s in spans if place.real[s.start] and place.real[s.end]]
            chosen: list[Span] = without_overlaps(real) if self.is_flat else real
            taken.append(
                [
                    (
                        self._entity(place, span.type, span.start, span.end),
                        float(span_probability(span.score)),
                    )
                    for span in chosen
                ]
            )
        return taken

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Entity, float]]]:
        """Returns the entities of each text, with probabilities."""
        return self._taken(ask("__call__")[: len(places)], places)


class TagEntities(_Entities):
    """Every token has a tag, alone or as a chain; entities cannot meet.

    Of entities that do, the longest are kept to learn from, and the others count as
    missed.

    Source: https://kexue.fm/archives/7196
    """

    axes: ClassVar = {"tags": (("T",), 0)}

    def __init__(
        self,
        examples: Sequence[Any],
        *,
        tagger: Callable[..., Any] = Tagger,
        scheme: Scheme = "BIO",
    ):
        """Learns the types.

        Args:
          examples: those to learn from, with ``text`` and ``spans``.
          tagger: called as ``tagger(D, tags=, allowed=, rngs=)``.
          scheme: of the tags.

        Raises:
          ValueError: if there is no entity.
        """
        super().__init__(examples)
        self.scheme: Scheme = scheme
        self.tags = tag_names(self.types, scheme)
        self._tag = {tag: number for number, tag in enumerate(self.tags)}
        allowed = allowed_transitions(self.tags, scheme)
        self.head = partial(tagger, tags=len(self.tags), allowed=allowed)

    def labels(self, example: Any, places: TokenPlaces) -> Labels:
        """Returns ``tags`` ``[T]``."""
        spans, missed = self._placed(example, places)
        chosen = without_overlaps(
            Span(kind, first, last, last - first) for kind, first, last in spans
        )
        tags = tags_of_spans(
            [(s.start, s.end + 1, self.types[s.type]) for s in chosen],
            len(places.real),
            self.scheme,
        )
        array = np.array([self._tag[tag] for tag in tags], np.int32)
        gold = frozenset(self._entity(places, *span[:3]) for span in chosen)
        return Labels({"tags": array}, gold, missed + len(spans) - len(chosen))

    def loss(self, ask: Ask, batch: Mapping[str, Any], rng: Any) -> Any:
        """Returns the mean loss of the tags."""
        del rng  # nothing is drawn
        return ask("loss", batch["tags"])

    def read(self, arrays: Mapping[str, np.ndarray], places: TokenPlaces) -> frozenset:
        """Returns the entities of ``tags``."""
        return frozenset(item for item, _ in self._taken(arrays["tags"], places))

    def _taken(self, tags, places):
        names = [
            self.tags[tag] if real else "O"
            for tag, real in zip(tags.tolist(), places.real.tolist(), strict=False)
        ]
        return [
            (self._entity(places, self._number[kind], start, stop - 1), 1.0)
            for start, stop, kind in repaired_spans(names, self.scheme)
        ]

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Entity, float]]]:
        """Returns the entities of each text."""
        return [
            self._taken(tags, place)
            for tags, place in zip(ask("__call__"), places, strict=False)
        ]
