"""Triples by links of spans (GPLinker), and subjects first (CasRel)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.answer_spans import decode_half_pointers
from kexue_jax.algorithms.gplinker import Triple, decode_triples, triple_positives
from kexue_jax.algorithms.spans import NOBODY, certain_scores, span_probability
from kexue_jax.algorithms.token_places import TokenPlaces
from kexue_jax.losses.answer_spans import power_binary_cross_entropy
from kexue_jax.nn.casrel import OBJECT_POWER, SUBJECT_POWER
from kexue_jax.nn.extractor import Cascade, PairLinker
from kexue_jax.scores.extraction import triple_scores
from kexue_jax.tasks.extraction import Ask, Labels


class Mention(NamedTuple):
    """``text[start:stop]``, and these words."""

    start: int
    stop: int
    words: str


class Fact(NamedTuple):
    """What a text says of a subject and an object."""

    subject: Mention
    predicate: str
    object: Mention


_MOST = 64  # subjects, and objects, of a text: a model that knows nothing finds all
_MOST_TRIPLES = 256


def _same(words: str) -> str:
    """Words as they are compared: without spaces, in lower case."""
    return "".join(words.split()).lower()


class _Relations:
    """What both schemes share: gold, scores, and how a triple is shown."""

    def __init__(self, examples: Sequence[Any]):
        self.predicates = sorted({t.predicate for e in examples for t in e.triples})
        if not self.predicates:
            raise ValueError("examples must hold a triple, got none")
        self._number = {name: at for at, name in enumerate(self.predicates)}

    def texts(self, example: Any) -> str:
        """Returns the text."""
        return example.text

    def all_gold(self, example: Any) -> frozenset[Fact]:
        """Returns the triples of an example."""

        def mention(span):
            return Mention(*span[:2], example.text[span.start : span.stop])

        return frozenset(
            Fact(mention(t.subject), t.predicate, mention(t.object))
            for t in example.triples
        )

    def _placed(self, example, places):
        """Triples of tokens, and how many there cannot be."""
        found, missed = set(), 0
        for subject, predicate, obj in self.all_gold(example):
            ends = [places.tokens(*mention[:2]) for mention in (subject, obj)]
            number = self._number.get(predicate)
            if number is None or None in ends:
                missed += 1
            else:
                found.add(Triple(ends[0], number, ends[1]))
        return sorted(found), missed

    def _fact(self, places, triple):
        def mention(ends):
            return Mention(*places.characters(*ends), places.words(*ends))

        predicate = self.predicates[triple.predicate]
        return Fact(mention(triple.subject), predicate, mention(triple.object))

    def scores(self, gold: Sequence, found: Sequence) -> dict[str, float]:
        """Returns precision, recall and F1 of triples, compared by their words."""

        def plain(items):
            return [[(s.words, p, o.words) for s, p, o in facts] for facts in items]

        whole = triple_scores(plain(gold), plain(found), normalise=_same)
        return {name: getattr(whole, name) for name in ("f1", "precision", "recall")}

    def marks(self, item: Fact) -> list[tuple[int, int, str]]:
        """Returns the places of subject and object."""
        subject, predicate, obj = item
        return [
            (subject.start, subject.stop, f"{predicate}: who"),
            (obj.start, obj.stop, f"{predicate}: whom"),
        ]

    def as_dict(self, item: Fact, score: float, text: str) -> dict[str, Any]:
        """Returns a triple with its words and places."""
        del text  # the words are there
        subject, predicate, obj = item
        return {
            "subject": subject._asdict(),
            "predicate": predicate,
            "object": obj._asdict(),
            "score": score,
            "shown": f"({subject.words}, {predicate}, {obj.words})",
        }


class LinkedTriples(_Relations):
    """Subjects, objects, and links of their starts and ends for each predicate.

    Source: https://kexue.fm/archives/8888
    """

    may_invent = True  # see `decode_triples`
    asks_again = False
    axes: ClassVar = {
        name: ((None, "K", None), NOBODY) for name in ("entity", "start", "stop")
    }

    def __init__(
        self,
        examples: Sequence[Any],
        *,
        linker: Callable[..., Any] = PairLinker,
        threshold: float = 0.0,
    ):
        """Learns the predicates.

        Args:
          examples: those to learn from, with ``text`` and ``triples``.
          linker: called as ``linker(D, spans=2, links=, rngs=)``.
          threshold: of the scores.

        Raises:
          ValueError: if there is no triple.
        """
        super().__init__(examples)
        self.threshold = threshold
        self.head = partial(linker, spans=2, links=len(self.predicates))

    def labels(self, example: Any, places: TokenPlaces) -> Labels:
        """Returns ``entity``, ``start`` and ``stop``, ``[C, K, 2]`` each."""
        triples, missed = self._placed(example, places)
        made = triple_positives([triples], predicates=len(self.predicates))
        names = ("entity", "start", "stop")
        arrays = {name: array[0] for name, array in zip(names, made, strict=True)}
        return Labels(arrays, frozenset(self._fact(places, t) for t in triples), missed)

    def loss(self, ask: Ask, batch: Mapping[str, Any], rng: Any) -> Any:
        """Returns the sum of three multi-label losses, ``[B]``."""
        del rng  # nothing is drawn
        return ask("loss", batch["entity"], batch["start"], batch["stop"])

    def read(self, arrays: Mapping[str, np.ndarray], places: TokenPlaces) -> frozenset:
        """Returns the triples of labels."""
        names = ("entity", "start", "stop")
        maps = [certain_scores(arrays[name], len(places.real)) for name in names]
        return frozenset(fact for fact, _ in self._taken(maps, places))

    def _taken(self, maps, places):
        entity, start, stop = maps
        taken = []
        found = decode_triples(
            entity,
            start,
            stop,
            threshold=self.threshold,
            most=_MOST,
            most_triples=_MOST_TRIPLES,
        )
        for triple in found:
            (a, b), predicate, (c, d) = triple
            if not places.real[[a, b, c, d]].all():
                continue
            parts = (
                entity[0, a, b],
                entity[1, c, d],
                start[predicate, a, c],
                stop[predicate, b, d],
            )
            score = float(span_probability(min(parts)))
            taken.append((self._fact(places, triple), score))
        return taken

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Fact, float]]]:
        """Returns the triples of each text, with the least of their probabilities."""
        maps = ask("__call__")
        return [
            self._taken([scores[row] for scores in maps], place)
            for row, place in enumerate(places)
        ]


class CascadedTriples(_Relations):
    """Subjects, and then for each of them the objects of every predicate.

    In training one subject a text is drawn: a gold start, and a gold end at or behind
    it, so that the model also sees spans that are no subjects.

    Source: https://kexue.fm/archives/7161
    """

    may_invent = True  # starts and ends are judged apart
    asks_again = True
    axes: ClassVar = {"facts": (("K", None), NOBODY)}

    def __init__(
        self,
        examples: Sequence[Any],
        *,
        cascade: Callable[..., Any] = Cascade,
        threshold: float = 0.4,
        most: int = 32,
    ):
        """Learns the predicates.

        Args:
          examples: those to learn from, with ``text`` and ``triples``.
          cascade: called as ``cascade(D, predicates=, rngs=)``.
          threshold: of probabilities.
          most: only so many subjects of a text are asked for their objects.

        Raises:
          ValueError: if there is no triple.
        """
        super().__init__(examples)
        self.threshold, self.most = threshold, most
        self.head = partial(cascade, predicates=len(self.predicates))

    def labels(self, example: Any, places: TokenPlaces) -> Labels:
        """Returns ``facts`` ``[K, 5]``: subject's ends, predicate, object's ends.

        All are learned. What no starts and ends can say is counted as missed: a subject
        in which another ends, at or behind its start; and likewise of the objects of a
        subject and a predicate.
        """
        triples, missed = self._placed(example, places)
        rows = [(*subject, predicate, *obj) for subject, predicate, obj in triples]
        array = np.array(rows, np.int32).reshape(-1, 5)
        subjects = _closed({triple.subject for triple in triples})
        objects = {}
        for subject, predicate, obj in triples:
            objects.setdefault((subject, predicate), set()).add(obj)
        objects = {key: _closed(spans) for key, spans in objects.items()}
        said = [
            triple
            for triple in triples
            if triple.subject in subjects and triple.object in objects[triple[:2]]
        ]
        gold = frozenset(self._fact(places, triple) for triple in said)
        return Labels({"facts": array}, gold, missed + len(triples) - len(said))

    def loss(self, ask: Ask, batch: Mapping[str, Any], rng: Any) -> Any:
        """Returns the losses of subjects and of one subject's objects, ``[B]``."""
        facts, kept = batch["facts"], batch["kept"]
        rng = jax.random.key(0) if rng is None else rng
        subject = jax.vmap(_drawn_subject)(jax.random.split(rng, len(facts)), facts)
        logits, objects = ask("__call__", subject)
        shape = (*kept.shape, len(self.predicates))
        found, linked = jax.vmap(partial(_targets, shape=shape[1:]))(facts, subject)
        count = jnp.maximum(jnp.sum(kept, axis=1), 1)
        first = power_binary_cross_entropy(
            logits, found, SUBJECT_POWER, kept[..., None]
        )
        second = power_binary_cross_entropy(
            objects, linked, OBJECT_POWER, kept[..., None, None]
        )
        first = jnp.sum(jnp.mean(first, axis=-1), axis=1)
        second = jnp.sum(jnp.mean(second, axis=-1), axis=(1, 2))
        return (first + second) / count

    def read(self, arrays: Mapping[str, np.ndarray], places: TokenPlaces) -> frozenset:
        """Returns the triples of ``facts``, decoded as scores would be."""
        facts, size = arrays["facts"], len(places.real)
        start, stop = np.zeros((2, size))
        start[facts[:, 0]] = stop[facts[:, 1]] = 1.0
        found = set()
        for subject in self._subjects(start, stop, places):
            own = facts[(facts[:, 0] == subject[0]) & (facts[:, 1] == subject[1])]
            objects = np.zeros((size, len(self.predicates), 2))
            objects[own[:, 3], own[:, 2], 0] = objects[own[:, 4], own[:, 2], 1] = 1.0
            found |= {fact for fact, _ in self._objects(subject, objects, places)}
        return frozenset(found)

    def _subjects(self, start, stop, places):
        real = np.where(places.real, 1.0, 0.0)
        size = len(real)
        pairs = decode_half_pointers(
            start[:size] * real, stop[:size] * real, threshold=self.threshold
        )
        return pairs[: self.most]

    def _objects(self, subject, objects, places):
        size = len(places.real)
        objects = objects[:size] * places.real[:, None, None]
        some = (objects > self.threshold).any(axis=0).all(axis=-1)
        for predicate in np.flatnonzero(some).tolist():
            start, stop = objects[:, predicate, 0], objects[:, predicate, 1]
            for pair in decode_half_pointers(start, stop, threshold=self.threshold):
                score = float(min(start[pair[0]], stop[pair[1]]))
                yield self._fact(places, Triple(subject, predicate, pair)), score

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Fact, float]]]:
        """Returns the triples of each text.

        The model is asked once for subjects, and then for the objects of the first
        subject of every text, of the second, and so on.
        """
        ends = _probabilities(ask("subjects"), SUBJECT_POWER)
        subjects = [
            self._subjects(ends[row, :, 0], ends[row, :, 1], place)
            for row, place in enumerate(places)
        ]
        found: list[list[tuple[Fact, float]]] = [[] for _ in places]
        for turn in range(max(map(len, subjects), default=0)):
            asked = np.zeros((len(ends), 2), np.int32)
            rows = [row for row, own in enumerate(subjects) if turn < len(own)]
            for row in rows:
                asked[row] = subjects[row][turn]
            objects = _probabilities(ask("objects", asked), OBJECT_POWER)
            for row in rows:
                subject = subjects[row][turn]
                found[row] += self._objects(subject, objects[row], places[row])
        return found


def _closed(spans):
    """The spans in which no other ends at or behind their start."""
    return {
        (start, end)
        for start, end in spans
        if not any(start <= other < end for _, other in spans)
    }


def _probabilities(logits, power):
    return np.asarray(jax.nn.sigmoid(np.asarray(logits, np.float32))) ** power


def _drawn_subject(rng, facts):
    """A gold start, and a gold end at or behind it; zeros if there is no fact."""
    first, second = jax.random.split(rng)
    there = facts[:, 0] >= 0
    some = jnp.any(there)
    row = jax.random.categorical(first, jnp.where(there, 0.0, -jnp.inf))
    start = facts[row, 0]
    after = there & (facts[:, 1] >= start)
    column = jax.random.categorical(second, jnp.where(after, 0.0, -jnp.inf))
    drawn = jnp.stack([start, facts[column, 1]])
    return jnp.where(some, drawn, 0)


def _targets(facts, subject, *, shape):
    """Ends of all subjects ``[T, 2]``, and of one subject's objects ``[T, P, 2]``."""
    size, predicates = shape
    there = facts[:, 0] >= 0
    outside = size  # where what is not there is put, and dropped
    found = jnp.zeros((size, 2))
    for end in range(2):
        at = jnp.where(there, facts[:, end], outside)
        found = found.at[at, end].set(1.0, mode="drop")
    own = there & jnp.all(facts[:, :2] == subject[None], axis=1)
    linked = jnp.zeros((size, predicates, 2))
    for end in range(2):
        at = jnp.where(own, facts[:, 3 + end], outside)
        linked = linked.at[at, facts[:, 2], end].set(1.0, mode="drop")
    return found, linked
