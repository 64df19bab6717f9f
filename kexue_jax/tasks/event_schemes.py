"""Events as cliques of linked arguments (GPLinker), and as tags of arguments."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from kexue_jax.algorithms.gplinker import Argument, decode_events, event_positives
from kexue_jax.algorithms.spans import NOBODY, certain_scores, span_probability
from kexue_jax.algorithms.token_places import TokenPlaces
from kexue_jax.nn.extractor import PairLinker, Tagger
from kexue_jax.scores.extraction import event_scores, fuzzy_argument_scores, set_scores
from kexue_jax.tasks.entity_schemes import Entity, TagEntities
from kexue_jax.tasks.extraction import Ask, Labels

TRIGGER = "trigger"
BETWEEN = "/"  # of a type of events and a role, where both make a type of spans


class Part(NamedTuple):
    """``text[start:stop]``, what plays a role in an event; and these words."""

    role: str
    start: int
    stop: int
    words: str


class Happening(NamedTuple):
    """An event: its type, and its trigger and arguments in order."""

    type: str
    parts: tuple[Part, ...]


def _parts(example, event):
    spans = [(TRIGGER, event.trigger)] if event.trigger is not None else []
    spans += [(argument.type, argument) for argument in event.arguments]
    return tuple(
        sorted(
            Part(role, span.start, span.stop, example.text[span.start : span.stop])
            for role, span in spans
        )
    )


def _arguments(events):
    """Type, role and words of every part, as the published scorers count them."""
    return [
        (event.type, part.role, part.words) for event in events for part in event.parts
    ]


class _Events:
    """What both schemes share: gold, and how an event is shown."""

    def texts(self, example: Any) -> str:
        """Returns the text."""
        return example.text

    def all_gold(self, example: Any) -> frozenset[Happening]:
        """Returns the events of an example."""
        return frozenset(Happening(e.type, _parts(example, e)) for e in example.events)

    def scores(self, gold: Sequence, found: Sequence) -> dict[str, float]:
        """Returns scores of arguments (type, role, words), and ``event_f1`` of events.

        ``f1`` counts words that are the same, ``fuzzy_f1`` by their likeness.
        """
        sides = [[_arguments(events) for events in side] for side in (gold, found)]
        strict, fuzzy = set_scores(*sides), fuzzy_argument_scores(*sides)
        scores = {name: getattr(strict, name) for name in ("f1", "precision", "recall")}
        whole = event_scores(
            *([[*map(tuple, x)] for x in side] for side in (gold, found))
        )
        return {**scores, "fuzzy_f1": fuzzy.f1, "event_f1": whole.f1}

    def marks(self, item: Happening) -> list[tuple[int, int, str]]:
        """Returns the places of trigger and arguments."""
        return [(p.start, p.stop, f"{item.type}: {p.role}") for p in item.parts]

    def as_dict(self, item: Happening, score: float, text: str) -> dict[str, Any]:
        """Returns an event with the words and places of its parts."""
        del text  # the words are there
        told = ", ".join(f"{part.role}: {part.words}" for part in item.parts)
        return {
            "type": item.type,
            "arguments": [part._asdict() for part in item.parts],
            "score": score,
            "shown": f"{item.type} ({told})",
        }


class LinkedEvents(_Events):
    """Spans of each role, and links between the arguments of one event.

    Its labels come back as arguments; events that share arguments may come back joined,
    which is counted in the scores.

    Source: https://kexue.fm/archives/8926
    """

    may_invent = False
    asks_again = False
    axes: ClassVar = {
        name: ((None, "K", None), NOBODY) for name in ("entity", "start", "stop")
    }

    def __init__(
        self,
        examples: Sequence[Any],
        *,
        linker: Callable[..., Any] = PairLinker,
        with_trigger: bool = True,
        threshold: float = 0.0,
    ):
        """Learns the roles of each type of events.

        Args:
          examples: those to learn from, with ``text`` and ``events``.
          linker: called as ``linker(D, spans=, links=1, upper=True, rngs=)``.
          with_trigger: whether there is no event without a trigger.
          threshold: of the scores.

        Raises:
          ValueError: if there is no event.
        """
        self.roles = sorted(
            {
                (event.type, part.role)
                for example in examples
                for event in example.events
                for part in _parts(example, event)
            }
        )
        if not self.roles:
            raise ValueError("examples must hold an event, got none")
        self._number = {role: at for at, role in enumerate(self.roles)}
        self.trigger = TRIGGER if with_trigger else None
        self.threshold = threshold
        self.head = partial(linker, spans=len(self.roles), links=1, upper=True)

    def labels(self, example: Any, places: TokenPlaces) -> Labels:
        """Returns ``entity``, ``start`` and ``stop``, ``[C, K, 2]`` each."""
        events, gold, missed = [], set(), 0
        for kind, parts in sorted(self.all_gold(example)):
            arguments = []
            for part in parts:
                ends = places.tokens(part.start, part.stop)
                if ends is None or (kind, part.role) not in self._number:
                    missed += 1
                    continue
                arguments.append(Argument(part.role, *ends))
                gold.add((kind, part))
            events.append((kind, tuple(arguments)))
        made = event_positives([events], roles=self.roles)
        names = ("entity", "start", "stop")
        arrays = {name: array[0] for name, array in zip(names, made, strict=True)}
        return Labels(arrays, frozenset(gold), missed)

    def loss(self, ask: Ask, batch: Mapping[str, Any], rng: Any) -> Any:
        """Returns the sum of three multi-label losses, ``[B]``."""
        del rng  # nothing is drawn
        return ask("loss", batch["entity"], batch["start"], batch["stop"])

    def read(self, arrays: Mapping[str, np.ndarray], places: TokenPlaces) -> frozenset:
        """Returns the arguments of labels, as ``(type, Part)``."""
        names = ("entity", "start", "stop")
        maps = [certain_scores(arrays[name], len(places.real)) for name in names]
        found = self._taken(maps, places, trigger=None)
        return frozenset(
            (event.type, part) for event, _ in found for part in event.parts
        )

    def _taken(self, maps, places, trigger):
        entity, start, stop = maps
        hidden = np.where(places.real, 0.0, -np.inf)
        size = len(hidden)
        entity = entity[:, :size, :size] + hidden[:, None] + hidden[None, :]
        events = decode_events(
            entity,
            start[0, :size, :size],
            stop[0, :size, :size],
            roles=self.roles,
            trigger=trigger,
            threshold=self.threshold,
        )
        taken = []
        for kind, arguments in events:
            scores = [
                entity[self._number[kind, a.role], a.start, a.end] for a in arguments
            ]
            parts = sorted(
                Part(
                    str(a.role),
                    *places.characters(a.start, a.end),
                    places.words(a.start, a.end),
                )
                for a in arguments
            )
            score = float(span_probability(min(scores)))
            taken.append((Happening(str(kind), tuple(parts)), score))
        return taken

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Happening, float]]]:
        """Returns the events of each text, with the least probability of a part."""
        maps = ask("__call__")
        return [
            self._taken([scores[row] for scores in maps], place, self.trigger)
            for row, place in enumerate(places)
        ]


class _Spanned(NamedTuple):
    text: str
    spans: tuple[Entity, ...]


class TaggedEvents(_Events):
    """A tag for each type of events and role; every argument is an event of its own.

    Source: https://kexue.fm/archives/7321
    """

    may_invent = False
    asks_again = False
    axes: ClassVar = TagEntities.axes

    def __init__(
        self,
        examples: Sequence[Any],
        *,
        tagger: Callable[..., Any] = Tagger,
        scheme: Any = "BIO",
    ):
        """Arguments are those of `TagEntities`, of examples with events."""
        spanned = [self._spanned(example) for example in examples]
        self._tags = TagEntities(spanned, tagger=tagger, scheme=scheme)
        self.head = self._tags.head

    def _spanned(self, example):
        spans = {
            Entity(part.start, part.stop, f"{event.type}{BETWEEN}{part.role}")
            for event in self.all_gold(example)
            for part in event.parts
        }
        return _Spanned(example.text, tuple(sorted(spans)))

    def labels(self, example: Any, places: TokenPlaces) -> Labels:
        """Returns ``tags`` ``[T]``."""
        return self._tags.labels(self._spanned(example), places)

    def loss(self, ask: Ask, batch: Mapping[str, Any], rng: Any) -> Any:
        """Returns the mean loss of the tags."""
        return self._tags.loss(ask, batch, rng)

    def read(self, arrays: Mapping[str, np.ndarray], places: TokenPlaces) -> frozenset:
        """Returns the arguments of ``tags``, as entities."""
        return self._tags.read(arrays, places)

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Happening, float]]]:
        """Returns an event for each argument."""
        found = []
        for items, place in zip(
            self._tags.answers(ask, batch, places), places, strict=True
        ):
            events = []
            for entity, score in items:
                kind, _, role = entity.type.rpartition(BETWEEN)
                words = place.text[entity.start : entity.stop]
                part = Part(role, entity.start, entity.stop, words)
                events.append((Happening(kind, (part,)), score))
            found.append(events)
        return found
