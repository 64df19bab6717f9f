"""Answers to questions, as two ends or as one span: reading comprehension."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.answer_spans import best_span
from kexue_jax.algorithms.spans import NOBODY
from kexue_jax.algorithms.token_places import TokenPlaces
from kexue_jax.losses.answer_spans import span_cross_entropy, span_pointer_loss
from kexue_jax.nn.extractor import AnswerEnds
from kexue_jax.nn.global_pointer import GlobalPointer
from kexue_jax.scores.reading import reading_scores
from kexue_jax.tasks.extraction import Ask, Labels


class Reply(NamedTuple):
    """``context[start:stop]``, and these words."""

    start: int
    stop: int
    words: str


class _Answers:
    """What both schemes share: gold, labels, scores, and how an answer is shown.

    Where a question has several answers, training draws one of them in each step.
    """

    may_invent = False
    asks_again = False
    axes: ClassVar = {"answers": (("K", None), NOBODY)}

    def __init__(self, examples, *, longest, with_question, score):
        if longest < 1:
            raise ValueError(f"longest must be at least 1, got {longest}")
        del examples  # there is nothing to learn from them
        self.longest, self.with_question, self._score = longest, with_question, score

    def texts(self, example: Any) -> tuple[str, str]:
        """Returns the question and the context."""
        return example.question if self.with_question else "", example.context

    def all_gold(self, example: Any) -> frozenset[Reply]:
        """Returns all answers that are right."""
        return frozenset(
            Reply(answer.start, answer.start + len(answer.text), answer.text)
            for answer in example.answers
        )

    def labels(self, example: Any, places: TokenPlaces) -> Labels:
        """Returns ``answers`` ``[K, 2]``, the ends of all that tokens can mark."""
        gold = self.all_gold(example)
        ends = {reply: places.tokens(*reply[:2]) for reply in sorted(gold)}
        found = {reply: own for reply, own in ends.items() if own is not None}
        array = np.array([*found.values()], np.int32).reshape(-1, 2)
        return Labels({"answers": array}, frozenset(found), len(gold) - len(found))

    def read(self, arrays: Mapping[str, np.ndarray], places: TokenPlaces) -> frozenset:
        """Returns the answers of ``answers``."""
        ends = arrays["answers"].tolist()
        return frozenset(self._reply(places, *own) for own in ends)

    def _drawn(self, batch, rng):
        """Starts and ends ``[B]`` of one of the answers of each row, -1 for none."""
        answers = batch["answers"]
        there = answers[..., 0] != NOBODY
        chosen = jnp.argmax(there, axis=1)
        if rng is not None:
            chances = jnp.where(there, 0.0, -jnp.inf)
            drawn = jax.random.categorical(rng, chances, axis=-1)
            chosen = jnp.where(jnp.any(there, axis=1), drawn, 0)
        own = jnp.take_along_axis(answers, chosen[:, None, None], axis=1)[:, 0]
        return own[:, 0], own[:, 1]

    def _reply(self, places, first, last):
        return Reply(*places.characters(first, last), places.words(first, last))

    def scores(self, gold: Sequence, found: Sequence) -> dict[str, float]:
        """Returns exact matches and F1, from 0 to 1, as the published scorer does."""
        replies = {str(n): min(own).words for n, own in enumerate(found) if own}
        right = {str(n): [a.words for a in sorted(own)] for n, own in enumerate(gold)}
        scores = self._score(replies, right)
        return {"exact": scores.exact_match, "f1": scores.f1}

    def marks(self, item: Reply) -> list[tuple[int, int, str]]:
        """Returns the one place of an answer."""
        return [(item.start, item.stop, "answer")]

    def as_dict(self, item: Reply, score: float, text: str) -> dict[str, Any]:
        """Returns an answer with its place in the context."""
        del text  # the words are there
        shown = item.words
        return {
            "start": item.start,
            "stop": item.stop,
            "text": item.words,
            "score": score,
            "shown": shown,
        }


def _context(batch, places):
    """Tokens of the contexts, ``[B, T]``; none of what only fills a batch up."""
    kept = np.zeros(batch["kept"].shape, bool)
    for row, place in enumerate(places):
        kept[row, : len(place.real)] = place.real
    return kept


class EndsOfAnswers(_Answers):
    """One softmax over the places of the start, and one over those of the end.

    Source: https://kexue.fm/archives/7321
    """

    def __init__(
        self,
        examples: Sequence[Any],
        *,
        ends: Callable[..., Any] = AnswerEnds,
        longest: int = 16,
        with_question: bool = True,
        score: Callable[..., Any] = reading_scores,
    ):
        """Makes the scheme.

        Args:
          examples: not looked at.
          ends: called as ``ends(D, rngs=)``.
          longest: the most tokens of an answer that is given.
          with_question: False hides all questions, to see how far contexts alone lead.
          score: ``(predicted, gold) -> exact_match, f1``.

        Raises:
          ValueError: if `longest` is below 1.
        """
        super().__init__(
            examples, longest=longest, with_question=with_question, score=score
        )
        self.head = ends

    def loss(self, ask: Ask, batch: Mapping[str, Any], rng: Any) -> Any:
        """Returns the mean of two cross-entropies, ``[B]``; 0 without an answer."""
        scores, kept = ask("__call__"), batch["kept"] & (batch["segments"] == 1)
        start, stop = self._drawn(batch, rng)
        return span_pointer_loss(scores[..., 0], scores[..., 1], start, stop, kept)

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Reply, float]]]:
        """Returns the best answer of each context, with its probability."""
        kept = _context(batch, places)
        scores = jnp.where(kept[..., None], ask("__call__"), -jnp.inf)
        logs = jnp.where(kept[..., None], jax.nn.log_softmax(scores, axis=1), -jnp.inf)
        start, stop = logs[..., 0], logs[..., 1]
        best = best_span(start, stop, jnp.asarray(kept), longest=self.longest)
        first, last, score = (np.asarray(part)[:, 0] for part in best)
        found: list[list[tuple[Reply, float]]] = []
        for row, place in enumerate(places):
            some = range(int(first[row] >= 0))  # none if no token of it was left
            reply = [self._reply(place, first[row], last[row]) for _ in some]
            found.append([(own, float(np.exp(score[row]))) for own in reply])
        return found


class SpansOfAnswers(_Answers):
    """One softmax over all spans, so that training asks what prediction does.

    Source: https://kexue.fm/archives/8373
    """

    def __init__(
        self,
        examples: Sequence[Any],
        *,
        pointer: Callable[..., Any] = GlobalPointer,
        objective: Callable[..., Any] = span_cross_entropy,
        longest: int = 16,
        with_question: bool = True,
        score: Callable[..., Any] = reading_scores,
    ):
        """Makes the scheme.

        Args:
          examples: not looked at.
          pointer: called as ``pointer(D, types=1, rngs=)``.
          objective: `span_cross_entropy`, or `expected_f1_loss` or another with its
            arguments.
          longest: the most tokens of an answer that is given.
          with_question: False hides all questions, to see how far contexts alone lead.
          score: ``(predicted, gold) -> exact_match, f1``.

        Raises:
          ValueError: if `longest` is below 1.
        """
        super().__init__(
            examples, longest=longest, with_question=with_question, score=score
        )
        self.head, self.objective = partial(pointer, types=1), objective

    def loss(self, ask: Ask, batch: Mapping[str, Any], rng: Any) -> Any:
        """Returns the loss of the span, ``[B]``; 0 without an answer."""
        kept = batch["kept"] & (batch["segments"] == 1)
        return self.objective(ask("__call__")[:, 0], *self._drawn(batch, rng), kept)

    def answers(
        self, ask: Ask, batch: Mapping[str, np.ndarray], places: Sequence[TokenPlaces]
    ) -> list[list[tuple[Reply, float]]]:
        """Returns the best answer of each context, with its probability."""
        kept, scores = _context(batch, places), np.asarray(ask("__call__"), np.float64)
        size = kept.shape[1]
        short = np.arange(size)[None, :] - np.arange(size)[:, None] < self.longest
        found: list[list[tuple[Reply, float]]] = []
        for row, place in enumerate(places):
            pairs = kept[row][:, None] & kept[row][None, :] & short
            own = np.where(pairs, scores[row, 0], -np.inf)
            first, last = np.unravel_index(np.argmax(own), own.shape)
            best = own[first, last]
            if best == -np.inf:  # no token of the context was left
                found.append([])
                continue
            share = float(1.0 / np.sum(np.exp(own - best)))
            found.append([(self._reply(place, int(first), int(last)), share)])
        return found
