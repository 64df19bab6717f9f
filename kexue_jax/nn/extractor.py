"""An encoder of texts with a head that takes something out of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.tagging import AllowedTransitions
from kexue_jax.nn.backbone import NORMAL
from kexue_jax.nn.casrel import CasRel
from kexue_jax.nn.dropout import dropout, dropout_keys, training_key
from kexue_jax.nn.global_pointer import GlobalPointer
from kexue_jax.nn.linear_chain import LinearChain


class Extractor(nnx.Module):
    """States of an encoder, dropped in training, and any method of a head on them."""

    def __init__(
        self,
        *,
        encoder: Callable[..., nnx.Module],
        head: Callable[..., nnx.Module],
        dropout_rate: float = 0.0,
        reads_segments: bool = True,
        rngs: nnx.Rngs,
    ):
        """Makes both.

        Args:
          encoder: called as ``encoder(rngs=rngs)``.
          head: called as ``head(D, rngs=rngs)``.
          dropout_rate: of the encoder's states.
          reads_segments: False for an encoder that does not tell texts apart by what
            kind they are, as GPT, which then is not given them.
          rngs: where the initial weights come from; it is not kept.
        """
        self.encoder: Any = encoder(rngs=rngs)
        self.head = head(self.encoder.features, rngs=rngs)
        self.dropout_rate, self.reads_segments = dropout_rate, reads_segments

    def __call__(
        self,
        tokens: jax.Array,
        kept: jax.Array,
        inputs: Sequence[Any] = (),
        *,
        ask: str = "__call__",
        segments: jax.Array | None = None,
        offset: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> Any:
        """Returns ``head.ask(states, kept, *inputs)``.

        Args:
          tokens: ``[B, T]`` integers.
          kept: bool ``[B, T]``, True for a token.
          inputs: what else the method takes.
          ask: its name.
          segments, offset: of the encoder; `segments` is left out if it reads none.
          train: whether to drop features; needs `rng` unless the rates are 0.
          rng: a key, read in training alone.

        Raises:
          ValueError: if training drops features and `rng` is None.
        """
        rng = training_key(rng, train=train, rate=self.dropout_rate)
        first, second = dropout_keys(rng, 2)
        options: dict[str, Any] = {} if offset is None else {"offset": offset}
        if segments is not None and self.reads_segments:
            options["segments"] = segments
        states = self.encoder(tokens, kept=kept, train=train, rng=first, **options)
        states = dropout(states, rate=self.dropout_rate, rng=second)
        return getattr(self.head, ask)(states, kept, *inputs)


class Tagger(nnx.Module):
    """A tag at each token, each decided alone, or as a linear chain."""

    def __init__(
        self,
        features: int,
        *,
        tags: int,
        allowed: AllowedTransitions | None = None,
        chain: Callable[..., nnx.Module] | None = LinearChain,
        rngs: nnx.Rngs,
    ):
        """Makes the emissions ``[D, C]`` and the chain on them.

        Args:
          features: D.
          tags: C.
          allowed: which tags may follow which, for the chain.
          chain: called as ``chain(C, allowed=, rngs=)``; None decides each tag alone.
          rngs: where the initial weights come from; it is not kept.
        """
        self.emissions = nnx.Linear(features, tags, kernel_init=NORMAL, rngs=rngs)
        self.chain: Any = chain and chain(tags, allowed=allowed, rngs=rngs)

    def __call__(self, states: jax.Array, kept: jax.Array) -> jax.Array:
        """Returns the best tags ``[B, T]`` int32 of states ``[B, T, D]``."""
        scores = self.emissions(states).astype(jnp.float32)
        if self.chain is None:
            return jnp.argmax(scores, axis=-1).astype(jnp.int32)
        return self.chain.decode(scores, kept).tags

    def loss(self, states: jax.Array, kept: jax.Array, tags: jax.Array) -> jax.Array:
        """Returns the mean loss of the rows that keep a token.

        Of a chain it is that of a whole row; else the mean over all kept tokens.
        """
        scores = self.emissions(states).astype(jnp.float32)
        if self.chain is not None:
            return self.chain.loss(scores, tags, kept)
        logits = jax.nn.log_softmax(scores)
        found = jnp.take_along_axis(logits, tags[..., None], axis=-1)[..., 0]
        total = jnp.sum(jnp.where(kept, found, 0.0))
        return -total / jnp.maximum(jnp.sum(kept), 1)


class Cascade(nnx.Module):
    """`CasRel` as a head."""

    def __init__(self, features: int, *, predicates: int, rngs: nnx.Rngs):
        """Arguments are those of `CasRel`."""
        self.cascade = CasRel(features, predicates=predicates, rngs=rngs)

    def __call__(
        self, states: jax.Array, kept: jax.Array, subject: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns logits ``[B, T, 2]`` of subjects and ``[B, T, P, 2]`` of objects."""
        del kept  # every token is judged alone
        return self.cascade(states, subject)

    def subjects(self, states: jax.Array, kept: jax.Array) -> jax.Array:
        """Returns logits ``[B, T, 2]`` of the ends of subjects."""
        del kept  # as above
        return self.cascade.subjects(states)

    def objects(
        self, states: jax.Array, kept: jax.Array, subject: jax.Array
    ) -> jax.Array:
        """Returns logits ``[B, T, P, 2]`` of the ends of the objects of a subject."""
        del kept  # as above
        return self.cascade.objects(states, subject)


class PairLinker(nnx.Module):
    """Three pointers: spans, and links of their starts and of their ends, as GPLinker.

    Source: https://kexue.fm/archives/8888; of events https://kexue.fm/archives/8926
    """

    def __init__(
        self,
        features: int,
        *,
        spans: int,
        links: int,
        upper: bool = False,
        pointer: Callable[..., nnx.Module] = GlobalPointer,
        rngs: nnx.Rngs,
    ):
        """Makes the three pointers.

        Args:
          features: D.
          spans: how many types of spans: subject and object, or roles.
          links: how many types of links: predicates, or one.
          upper: whether links never point backwards, as those of events.
          pointer: called as ``pointer(D, types=, rngs=)`` and, for links, with
            ``position=None, upper=``.
          rngs: where the initial weights come from; it is not kept.
        """
        loose = dict(position=None, upper=upper)
        self.entity: Any = pointer(features, types=spans, rngs=rngs)
        self.start: Any = pointer(features, types=links, rngs=rngs, **loose)
        self.stop: Any = pointer(features, types=links, rngs=rngs, **loose)

    def __call__(self, states: jax.Array, kept: jax.Array) -> tuple[jax.Array, ...]:
        """Returns scores ``[B, C, T, T]`` of spans, of starts and of ends."""
        return tuple(p(states, kept) for p in (self.entity, self.start, self.stop))

    def loss(
        self,
        states: jax.Array,
        kept: jax.Array,
        entity: jax.Array,
        start: jax.Array,
        stop: jax.Array,
    ) -> jax.Array:
        """Returns ``[B]``, the sum of the three losses, each the sum over its types.

        Each of `entity`, `start` and `stop` is ``[B, C, K, 2]`` integers, gold pairs of
        places, and -1 where there is none.
        """
        pointers = (self.entity, self.start, self.stop)
        found = [
            jnp.sum(pointer.loss(states, kept, pairs), axis=1)
            for pointer, pairs in zip(pointers, (entity, start, stop), strict=True)
        ]
        return found[0] + found[1] + found[2]


class AnswerEnds(nnx.Module):
    """A score of each token for the start, and one for the end, of an answer."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        """Makes a map from D to 2."""
        self.scores = nnx.Linear(features, 2, kernel_init=NORMAL, rngs=rngs)

    def __call__(self, states: jax.Array, kept: jax.Array) -> jax.Array:
        """Returns float32 ``[B, T, 2]`` of states ``[B, T, D]``."""
        del kept  # what is hidden is left to the loss
        return self.scores(states).astype(jnp.float32)
