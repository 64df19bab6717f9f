"""What a Transformer is a stack of: blocks that mix places and then map each alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.attention import LECUN_NORMAL, SelfAttention
from kexue_jax.nn.dropout import dropout, dropout_keys


class FeedForward(nnx.Module):
    """Two linear maps around an activation, at each place alone."""

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.gelu,
        output_init: Callable[..., jax.Array] = LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Widens `features` to `hidden` and back, by `output_init`, without biases."""
        self.activation = activation
        self.widen = nnx.Linear(features, hidden, use_bias=False, rngs=rngs)
        self.narrow = nnx.Linear(
            hidden, features, use_bias=False, kernel_init=output_init, rngs=rngs
        )

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns an array like `inputs`, ``[..., D]``."""
        return self.narrow(self.activation(self.widen(inputs)))


class Block(nnx.Module):
    """A mixer of places, perhaps a reader of another sequence, and a feed-forward map.

    Each adds to what it reads.
    """

    def __init__(
        self,
        features: int,
        *,
        mixer: Callable[..., nnx.Module],
        feed_forward: Callable[..., nnx.Module],
        reader: Callable[..., nnx.Module] | None = None,
        norm: Callable[..., nnx.Module] = nnx.RMSNorm,
        norm_last: bool = False,
        dropout_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        """Each part and `norm` are called as ``make(features, rngs=rngs)``.

        With `norm_last` the sum is normalised, and otherwise what the maps read.
        """
        self.dropout_rate, self.norm_last = dropout_rate, norm_last
        self.mixer_norm = norm(features, rngs=rngs)
        self.mixer: Any = mixer(features, rngs=rngs)
        self.reader: Any = reader and reader(features, rngs=rngs)
        self.reader_norm = reader and norm(features, rngs=rngs)
        self.feed_forward_norm = norm(features, rngs=rngs)
        self.feed_forward = feed_forward(features, rngs=rngs)

    def _added(self, inputs, norm, change, rng):
        """`inputs` and what `change` makes of them, which is kept beside its state."""
        read = inputs if self.norm_last else norm(inputs)
        made, state = change(read)
        total = inputs + dropout(made, rate=self.dropout_rate, rng=rng)
        return (norm(total) if self.norm_last else total), state

    def _passed(self, stream, mix, memory, memory_mask, rng):
        first, second, third = dropout_keys(rng, 3)
        stream, state = self._added(stream, self.mixer_norm, mix, first)
        if self.reader is not None:

            def look_up(read):
                return self.reader(read, memory, memory_mask), None

            stream, _ = self._added(stream, self.reader_norm, look_up, second)

        def feed(read):
            return self.feed_forward(read), None

        return self._added(stream, self.feed_forward_norm, feed, third)[0], state

    def __call__(
        self,
        inputs: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
        positions: jax.Array | None = None,
        memory: Any = None,
        memory_mask: jax.Array | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]``; with a key `rng` what is added suffers dropout.

        `memory` is what the reader's ``remembered`` made, and `memory_mask` its mask.
        """

        def mix(read):
            mixed = self.mixer(read, mask, is_causal=is_causal, positions=positions)
            return mixed, None

        return self._passed(inputs, mix, memory, memory_mask, rng)[0]

    def step(
        self,
        inputs: jax.Array,
        cache: Any,
        *,
        memory: Any = None,
        memory_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        """Returns the next places, and the mixer's cache with them."""

        def mix(read):
            return self.mixer.step(read, cache)

        return self._passed(inputs, mix, memory, memory_mask, None)


class Stack(nnx.Module):
    """Blocks one after the other, all of one kind."""

    def __init__(
        self,
        features: int,
        *,
        layers: int,
        hidden: int,
        mixer: Callable[..., nnx.Module] = SelfAttention,
        reader: Callable[..., nnx.Module] | None = None,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.gelu,
        norm: Callable[..., nnx.Module] = nnx.RMSNorm,
        norm_last: bool = False,
        dropout_rate: float = 0.0,
        output_init: Callable[..., jax.Array] = LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes the blocks and, unless sums are normalised, a norm at their end.

        Args:
          features: D, size of the stream that the blocks add to.
          layers: how many blocks.
          hidden: inner size of the feed-forward maps.
          mixer: makes what mixes places, as ``mixer(features, output_init=, rngs=)``.
          reader: makes what reads another sequence, likewise; None reads none.
          activation: of the feed-forward maps.
          norm: called as ``norm(features, rngs=rngs)``.
          norm_last: whether sums are normalised, as in BERT, and not what maps read.
          dropout_rate: of all that a block adds.
          output_init: of the last maps of mixers, readers and feed-forward maps.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no layers.
        """
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")

        def ending(make):
            return lambda size, *, rngs: make(size, output_init=output_init, rngs=rngs)

        def feed_forward(size, *, rngs):
            return FeedForward(
                size, hidden, activation=activation, output_init=output_init, rngs=rngs
            )

        self.blocks = nnx.List(
            Block(
                features,
                mixer=ending(mixer),
                feed_forward=feed_forward,
                reader=None if reader is None else ending(reader),
                norm=norm,
                norm_last=norm_last,
                dropout_rate=dropout_rate,
                rngs=rngs,
            )
            for _ in range(layers)
        )
        self.norm = None if norm_last else norm(features, rngs=rngs)

    def _ended(self, stream):
        return stream if self.norm is None else self.norm(stream)

    def remembered(self, memory: jax.Array | None) -> tuple[Any, ...]:
        """Returns what each block's reader makes of ``[B, S, D]``, once for all steps.

        Raises:
          ValueError: if there is a memory and no reader, or a reader and no memory.
        """
        readers = [block.reader for block in self.blocks]
        if (memory is None) != (readers[0] is None):
            have = (
                "a reader but no memory" if memory is None else "a memory but no reader"
            )
            raise ValueError(f"memory is what a reader reads: there is {have}")
        return tuple(r and r.remembered(memory) for r in readers)

    def __call__(
        self,
        stream: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
        positions: jax.Array | None = None,
        memory: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]`` for a stream ``[B, T, D]``.

        Args:
          stream: ``[B, T, D]``.
          mask: of the mixers, bool, broadcastable to ``[B, N, T, T]``.
          is_causal: whether a place sees itself and those before alone.
          positions: ``[T]`` or ``[B, T]``; None is 0, 1, 2, ...
          memory: what the readers read, ``[B, S, D]``.
          memory_mask: of the readers, bool, broadcastable to ``[B, N, T, S]``.
          rng: with a key, dropout acts.
        """
        keys = dropout_keys(rng, len(self.blocks))
        remembered = self.remembered(memory)
        for block, read, key in zip(self.blocks, remembered, keys, strict=True):
            stream = block(
                stream,
                mask,
                is_causal=is_causal,
                positions=positions,
                memory=read,
                memory_mask=memory_mask,
                rng=key,
            )
        return self._ended(stream)

    def empty_cache(self, batch: int, length: int, dtype: Any = jnp.float32) -> Any:
        """Returns what `step` needs to begin with, for at most `length` places.

        Raises:
          ValueError: if a mixer cannot go step by step.
        """
        mixers = [block.mixer for block in self.blocks]
        for mixer in mixers:
            if not hasattr(mixer, "step"):
                name = type(mixer).__name__
                raise ValueError(f"mixer {name} cannot go step by step: it has no step")
        return tuple(mixer.empty_cache(batch, length, dtype) for mixer in mixers)

    def step(
        self,
        stream: jax.Array,
        cache: Any,
        *,
        remembered: tuple[Any, ...] | None = None,
        memory_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        """Returns ``[B, T, D]`` at the next places, seeing those before, and the cache.

        `remembered` is what the method of that name returns, for blocks with readers.
        """
        remembered = self.remembered(None) if remembered is None else remembered
        after = []
        for block, state, memory in zip(self.blocks, cache, remembered, strict=True):
            stream, state = block.step(
                stream, state, memory=memory, memory_mask=memory_mask
            )
            after.append(state)
        return self._ended(stream), tuple(after)
