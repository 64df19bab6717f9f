"""The Transformer of pretrained language models: one module, told apart by arguments.

`kexue_jax.nn.families` has the arguments of BERT, ALBERT, NEZHA, RoFormer, GPT, T5 and
others.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.activations import gelu
from kexue_jax.nn.attention import SelfAttention, built
from kexue_jax.nn.blocks import Block
from kexue_jax.nn.dropout import dropout, dropout_keys, training_key

NORMAL = nnx.initializers.normal(0.02)


class Attention(SelfAttention):
    """`SelfAttention` with biases, other initial weights, and values that may turn."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        head_size: int,
        use_bias: bool = True,
        turns_values: bool = False,
        kernel_init: Callable[..., jax.Array] = NORMAL,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        """Makes the projections and what is between them.

        Args:
          features, heads, head_size: D, N and H; N H need not be D.
          use_bias: whether the four projections have biases.
          turns_values: whether `position` is applied to values as well.
          kernel_init: of the four projections.
          rngs: where the initial weights come from; it is not kept.
          options: of `SelfAttention`.

        Raises:
          ValueError: if `turns_values` is asked for and there is no `position`.
        """
        super().__init__(
            features, heads=heads, head_size=head_size, rngs=rngs, **options
        )
        if turns_values and self.position is None:
            raise ValueError("turns_values needs a position, got None")
        self.turns_values = turns_values
        inner, shared = heads * head_size, self.key_heads * head_size
        linear = partial(
            nnx.Linear, use_bias=use_bias, kernel_init=kernel_init, rngs=rngs
        )
        self.query = linear(features, inner)
        self.key = linear(features, shared)
        self.value = linear(features, shared)
        self.output = linear(inner, features)

    def _projected(self, inputs, positions):
        query, key, value = super()._projected(inputs, positions)
        if self.turns_values:
            value = self.position(value, positions)
        return query, key, value


class FeedForward(nnx.Module):
    """Two linear maps around an activation, at each place alone; perhaps a gate."""

    def __init__(
        self,
        features: int,
        *,
        hidden: int,
        activation: Callable[[jax.Array], jax.Array] = gelu,
        use_bias: bool = True,
        is_gated: bool = False,
        kernel_init: Callable[..., jax.Array] = NORMAL,
        rngs: nnx.Rngs,
    ):
        """Widens `features` to `hidden` and back.

        With `is_gated` what the activation gives is multiplied by a second map of the
        inputs, as in T5 1.1.
        """
        self.activation = activation
        linear = partial(
            nnx.Linear, use_bias=use_bias, kernel_init=kernel_init, rngs=rngs
        )
        self.widen = linear(features, hidden)
        self.gate = linear(features, hidden) if is_gated else None
        self.narrow = linear(hidden, features)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns an array like `inputs`, ``[..., D]``."""
        wide = self.activation(self.widen(inputs))
        return self.narrow(wide if self.gate is None else wide * self.gate(inputs))


class Embeddings(nnx.Module):
    """Vectors of tokens, of segments and of places, added, and perhaps normalised."""

    def __init__(
        self,
        vocabulary: int | nnx.Embed,
        features: int,
        *,
        size: int | None = None,
        segments: int = 0,
        position: Callable[..., Any] | None = None,
        first_place: int = 0,
        norm: Callable[..., nnx.Module] | None = None,
        drops_first: bool = False,
        use_bias: bool = True,
        dropout_rate: float = 0.0,
        kernel_init: Callable[..., jax.Array] = NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes the tables.

        Args:
          vocabulary: V, how many tokens there are, or the table of another module.
          features: D, of what comes out.
          size: E, of the vectors, which a linear map leads to D; None is D and no map.
          segments: how many kinds of text have a vector; 0 has none.
          position: ``(positions) -> [..., T, E]``, added; a function, or a class of
            modules made with ``features=, rngs=``. None adds nothing.
          first_place: the position of the first token; 2 in RoBERTa.
          norm: called as ``norm(E, rngs=rngs)``; None normalises nothing.
          drops_first: whether dropout acts before the norm and not after it.
          use_bias: of the linear map from E to D.
          dropout_rate: of what is added up.
          kernel_init: of all tables.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no tokens.
        """
        has_map, size = size is not None, features if size is None else size
        embed = partial(nnx.Embed, embedding_init=kernel_init, rngs=rngs)
        if isinstance(vocabulary, int):
            if vocabulary < 1:
                raise ValueError(f"vocabulary must be at least 1, got {vocabulary}")
            vocabulary = embed(vocabulary, size)
        self.tokens = vocabulary
        self.segments = embed(segments, size) if segments else None
        self.position = built(position, features=size, rngs=rngs)
        self.first_place, self.drops_first = first_place, drops_first
        self.dropout_rate = dropout_rate
        self.norm = None if norm is None else norm(size, rngs=rngs)
        self.widen = (
            nnx.Linear(
                size, features, use_bias=use_bias, kernel_init=kernel_init, rngs=rngs
            )
            if has_map
            else None
        )

    def _added(self, tokens, segments, positions, offset):
        stream = self.tokens(tokens)
        if offset is not None:
            stream = stream + offset
        if self.segments is not None:
            kinds = jnp.zeros_like(tokens) if segments is None else segments
            stream = stream + self.segments(kinds)
        elif segments is not None:
            raise ValueError("segments must be None: these embeddings have none")
        if self.position is not None:
            if positions is None:
                positions = jnp.arange(tokens.shape[1])
            places = self.position(positions + self.first_place)
            stream = stream + jnp.expand_dims(places, range(3 - places.ndim))
        return stream

    def __call__(
        self,
        tokens: jax.Array,
        *,
        segments: jax.Array | None = None,
        positions: jax.Array | None = None,
        offset: jax.Array | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]``; see `Backbone.layers`."""
        stream = self._added(tokens, segments, positions, offset)
        drop = partial(dropout, rate=self.dropout_rate, rng=rng)
        if self.drops_first:
            stream = drop(stream)
        if self.norm is not None:
            stream = self.norm(stream)
        if not self.drops_first:
            stream = drop(stream)
        return stream if self.widen is None else self.widen(stream)


class Backbone(nnx.Module):
    """Embeddings and blocks: an encoder, a causal model, or either side of T5."""

    def __init__(
        self,
        features: int,
        *,
        layers: int,
        embeddings: Callable[..., nnx.Module],
        mixer: Callable[..., nnx.Module],
        feed_forward: Callable[..., nnx.Module],
        reader: Callable[..., nnx.Module] | None = None,
        norm: Callable[..., nnx.Module] = nnx.LayerNorm,
        norm_last: bool = True,
        groups: int | None = None,
        mask: Callable[..., jax.Array] | None = None,
        is_causal: bool = False,
        length: int | None = None,
        dropout_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        """Makes a model.

        Args:
          features: D, of the stream that the blocks add to.
          layers: how many blocks are passed.
          embeddings: called as ``embeddings(features=D, rngs=rngs)``; such as
            `Embeddings` bound to its vocabulary.
          mixer: makes what mixes places, as ``mixer(D, rngs=rngs)``; such as
            `Attention` bound to its heads.
          feed_forward: makes the maps of each place, likewise.
          reader: makes what reads another sequence, likewise; None reads none.
          norm: called as ``norm(D, rngs=rngs)``.
          norm_last: whether sums are normalised, as in BERT, and not what the maps
            read; else there is a norm behind the last block.
          groups: how many blocks there are; each is passed ``layers / groups`` times
            in a row, as in ALBERT. Default as many as layers.
          mask: ``(segments, kept) -> bool [B, 1, T, T]``, what places see of each
            other, such as `unilm_mask`. None: all that is kept.
          is_causal: whether a place sees itself and those before alone.
          length: the most places of a row; None sets no bound.
          dropout_rate: of all that a block adds. Weights of attention are not dropped.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no layers, or groups do not divide them.
        """
        groups = layers if groups is None else groups
        if layers < 1 or groups < 1 or layers % groups:
            raise ValueError(
                "layers must be at least 1 and groups divide them, got "
                f"{layers} and {groups}"
            )
        self.features, self.passes, self.length = features, layers // groups, length
        self.mask, self.is_causal = mask, is_causal
        self.dropout_rate = dropout_rate
        self.embeddings = embeddings(features=features, rngs=rngs)
        self.blocks = nnx.List(
            Block(
                features,
                mixer=mixer,
                feed_forward=feed_forward,
                reader=reader,
                norm=norm,
                norm_last=norm_last,
                dropout_rate=dropout_rate,
                rngs=rngs,
            )
            for _ in range(groups)
        )
        self.norm = None if norm_last else norm(features, rngs=rngs)

    def _sequence(self):
        return [block for block in self.blocks for _ in range(self.passes)]

    def _checked(self, tokens, **others):
        if tokens.ndim != 2:
            raise ValueError(f"tokens must be [B, T], got {tokens.shape}")
        if self.length is not None and tokens.shape[1] > self.length:
            raise ValueError(
                f"tokens must be at most {self.length} a row, got {tokens.shape[1]}"
            )
        for name, array in others.items():
            if array is not None and array.shape != tokens.shape:
                raise ValueError(
                    f"{name} must be {tokens.shape} as tokens are, got {array.shape}"
                )
        kept = others["kept"]
        if kept is not None and kept.dtype != jnp.bool_:
            raise ValueError(f"kept must be bool, got {kept.dtype}")

    def _seen(self, tokens, segments, kept):
        if self.mask is not None:
            kinds = jnp.zeros_like(tokens) if segments is None else segments
            return self.mask(kinds, kept)
        return None if kept is None else kept[:, None, None, :]

    def layers(
        self,
        tokens: jax.Array,
        *,
        kept: jax.Array | None = None,
        segments: jax.Array | None = None,
        positions: jax.Array | None = None,
        offset: jax.Array | None = None,
        memory: jax.Array | None = None,
        memory_kept: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> tuple[jax.Array, ...]:
        """Returns the embeddings and what each block makes, each ``[B, T, D]``.

        If there is a norm behind the last block, the last one is what it gives.

        Args:
          tokens: ``[B, T]`` integers in ``[0, V)``; one outside gives nan.
          kept: bool ``[B, T]``, True for a token and False for padding, which no place
            reads; None keeps all. What comes out at padding means nothing.
          segments: ``[B, T]`` integers; None is 0 everywhere.
          positions: ``[T]`` or ``[B, T]`` integers; None is 0, 1, 2, ...
          offset: ``[B, T, E]``, added to the vectors of tokens, for attacks.
          memory: ``[B, S, D]``, what the readers read.
          memory_kept: bool ``[B, S]``.
          train: whether to drop features; needs `rng` unless the rate is 0.
          rng: a key, read in training alone.

        Raises:
          ValueError: if the shapes disagree, T exceeds the places, training lacks its
            key, or there is a memory and no reader or the other way round.
        """
        self._checked(tokens, kept=kept, segments=segments)
        if (memory is None) != (self.blocks[0].reader is None):
            have = "no memory" if memory is None else "a memory"
            raise ValueError(f"memory is for readers, and all readers need it: {have}")
        rng = training_key(rng, train=train, rate=self.dropout_rate)
        sequence = self._sequence()
        first, *others = dropout_keys(rng, len(sequence) + 1)
        stream = self.embeddings(
            tokens, segments=segments, positions=positions, offset=offset, rng=first
        )
        beside: dict[str, Any] = dict(is_causal=self.is_causal, positions=positions)
        if memory_kept is not None:
            beside["memory_mask"] = memory_kept[:, None, None, :]
        seen, found = self._seen(tokens, segments, kept), [stream]
        for block, key in zip(sequence, others, strict=True):
            read = None if memory is None else block.reader.remembered(memory)
            found.append(block(found[-1], seen, memory=read, rng=key, **beside))
        if self.norm is not None:
            found[-1] = self.norm(found[-1])
        return tuple(found)

    def __call__(self, tokens: jax.Array, **options: Any) -> jax.Array:
        """Returns what the last block makes, ``[B, T, D]``; see `layers`."""
        return self.layers(tokens, **options)[-1]

    def empty_cache(self, batch: int, length: int, dtype: Any = jnp.float32) -> Any:
        """Returns what `step` needs to begin with, for at most `length` places.

        Raises:
          ValueError: if a mixer cannot go step by step.
        """
        states = tuple(
            block.mixer.empty_cache(batch, length, dtype) for block in self._sequence()
        )
        return jnp.zeros((), jnp.int32), states

    def remembered(self, memory: jax.Array | None) -> tuple[Any, ...]:
        """Returns what each block's reader makes of ``[B, S, D]``, for `step`."""
        return tuple(
            None if memory is None else block.reader.remembered(memory)
            for block in self._sequence()
        )

    def step(
        self,
        tokens: jax.Array,
        cache: Any,
        *,
        segments: jax.Array | None = None,
        remembered: tuple[Any, ...] | None = None,
        memory_kept: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        """Returns what the whole call gives at the next places, and the cache.

        Args:
          tokens: ``[B, T]``, those that follow what is in the cache.
          cache: of `empty_cache` or the step before; there must be room in it.
          segments: ``[B, T]`` integers, as in `layers`.
          remembered: what the method of that name made of the memory.
          memory_kept: bool ``[B, S]``.

        Raises:
          ValueError: if the model is not causal, or shapes disagree.
        """
        if not self.is_causal or self.mask is not None:
            raise ValueError("only a causal model without a mask goes step by step")
        self._checked(tokens, kept=None, segments=segments)
        start, states = cache
        places = start + jnp.arange(tokens.shape[1])
        stream = self.embeddings(tokens, segments=segments, positions=places)
        mask = None if memory_kept is None else memory_kept[:, None, None, :]
        remembered = self.remembered(None) if remembered is None else remembered
        after = []
        for block, state, read in zip(
            self._sequence(), states, remembered, strict=True
        ):
            stream, state = block.step(stream, state, memory=read, memory_mask=mask)
            after.append(state)
        stream = stream if self.norm is None else self.norm(stream)
        return stream, (start + tokens.shape[1], tuple(after))
