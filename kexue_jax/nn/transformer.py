"""A Transformer whose techniques are arguments."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.attention import LECUN_NORMAL, SelfAttention, built
from kexue_jax.nn.dropout import dropout


def _keys(rng: jax.Array | None, count: int) -> Iterator[jax.Array | None]:
    return iter([None] * count if rng is None else jax.random.split(rng, count))


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
    """A mixer of places, then a feed-forward map; both add to what they read."""

    def __init__(
        self,
        features: int,
        *,
        mixer: Callable[..., nnx.Module],
        feed_forward: Callable[..., nnx.Module],
        norm: Callable[..., nnx.Module] = nnx.RMSNorm,
        norm_last: bool = False,
        dropout_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        """`mixer`, `feed_forward`, `norm` are called as ``make(features, rngs=rngs)``.

        With `norm_last` the sum is normalised, and otherwise what the maps read.
        """
        self.dropout_rate, self.norm_last = dropout_rate, norm_last
        self.mixer_norm = norm(features, rngs=rngs)
        self.mixer: Any = mixer(features, rngs=rngs)
        self.feed_forward_norm = norm(features, rngs=rngs)
        self.feed_forward = feed_forward(features, rngs=rngs)

    def _added(self, inputs, norm, change, rng):
        """`inputs` and what `change` makes of them, which is kept beside its state."""
        read = inputs if self.norm_last else norm(inputs)
        made, state = change(read)
        total = inputs + dropout(made, rate=self.dropout_rate, rng=rng)
        return (norm(total) if self.norm_last else total), state

    def _passed(self, inputs, mix, rng):
        first, second = _keys(rng, 2)
        mixed, state = self._added(inputs, self.mixer_norm, mix, first)
        fed, _ = self._added(
            mixed,
            self.feed_forward_norm,
            lambda read: (self.feed_forward(read), None),
            second,
        )
        return fed, state

    def __call__(
        self,
        inputs: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
        positions: jax.Array | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]``; with a key `rng` what is added suffers dropout."""

        def mix(read):
            mixed = self.mixer(read, mask, is_causal=is_causal, positions=positions)
            return mixed, None

        return self._passed(inputs, mix, rng)[0]

    def step(self, inputs: jax.Array, cache: Any) -> tuple[jax.Array, Any]:
        """Returns the next places, and the mixer's cache with them."""
        return self._passed(inputs, lambda read: self.mixer.step(read, cache), None)


class Transformer(nnx.Module):
    """Reads tokens and gives, at each place, scores of every token."""

    def __init__(
        self,
        vocabulary: int,
        *,
        features: int,
        layers: int,
        hidden: int,
        mixer: Callable[..., nnx.Module] = SelfAttention,
        position: Callable[..., Any] | None = None,
        mask: Callable[..., jax.Array] | None = None,
        is_causal: bool = True,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.gelu,
        norm: Callable[..., nnx.Module] = nnx.RMSNorm,
        norm_last: bool = False,
        dropout_rate: float = 0.0,
        tied: bool = True,
        output_init: Callable[..., jax.Array] | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes a Transformer.

        Args:
          vocabulary: V, how many tokens there are.
          features: D, size of the stream that the blocks add to.
          layers: how many blocks.
          hidden: inner size of the feed-forward maps.
          mixer: makes what mixes places, as ``mixer(features, output_init=, rngs=)``;
            such as `SelfAttention` bound to its heads.
          position: ``(positions) -> [..., T, D]``, added to the embeddings; a function,
            or a class of modules made with ``features=, rngs=``. None adds nothing.
          mask: makes the mask of the mixers of what is given beside the tokens, by
            name; bool, broadcastable to ``[B, N, T, T]``.
          is_causal: whether a place sees itself and those before alone, as in a model
            of the next token.
          activation: of the feed-forward maps.
          norm: called as ``norm(features, rngs=rngs)``.
          norm_last: whether sums are normalised, as in BERT, and not what maps read.
          dropout_rate: of the embeddings and of all that a block adds.
          tied: whether the scores use the table of embeddings; otherwise their own.
          output_init: of the last maps of mixers and feed-forward maps and of the
            scores' own table; default the same as of the other maps. With zeros every
            block begins as the identity.
          rngs: where the initial weights come from; it is not kept.
        """
        if vocabulary < 1 or layers < 1:
            raise ValueError(
                "a Transformer needs a vocabulary and layers, got "
                f"vocabulary={vocabulary}, layers={layers}"
            )
        self.dropout_rate, self.scale = dropout_rate, features**0.5
        self.is_causal, self.mask = is_causal, mask
        last = output_init or LECUN_NORMAL

        def make_mixer(size, *, rngs):
            return mixer(size, output_init=last, rngs=rngs)

        def feed_forward(size, *, rngs):
            return FeedForward(
                size, hidden, activation=activation, output_init=last, rngs=rngs
            )

        narrow = nnx.initializers.normal(features**-0.5)
        table = (vocabulary, features)
        self.embedding = nnx.Param(narrow(rngs.params(), table))
        self.position = built(position, features=features, rngs=rngs)
        self.blocks = nnx.List(
            Block(
                features,
                mixer=make_mixer,
                feed_forward=feed_forward,
                norm=norm,
                norm_last=norm_last,
                dropout_rate=dropout_rate,
                rngs=rngs,
            )
            for _ in range(layers)
        )
        self.norm = norm(features, rngs=rngs)
        own = output_init or narrow
        self.output = None if tied else nnx.Param(own(rngs.params(), table))

    def _embedded(self, tokens, positions):
        stream = self.embedding[...][tokens] * self.scale
        if self.position is not None:
            if positions is None:
                positions = jnp.arange(tokens.shape[1])
            added = self.position(positions)
            stream = stream + jnp.expand_dims(added, range(stream.ndim - added.ndim))
        return stream

    def _scores(self, stream):
        table = (self.embedding if self.output is None else self.output)[...]
        return jnp.einsum(
            "btd,vd->btv", self.norm(stream), table, preferred_element_type=jnp.float32
        )

    def __call__(
        self,
        tokens: jax.Array,
        *,
        positions: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
        **beside: jax.Array,
    ) -> jax.Array:
        """Returns the scores of all tokens at each place.

        Args:
          tokens: ``[B, T]`` integers in ``[0, V)``.
          positions: ``[T]`` or ``[B, T]``; default 0, 1, 2, ... Mixers that know no
            others refuse them.
          train: whether to drop features; needs `rng` unless the rate is 0.
          rng: a key, read in training alone.
          beside: what the `mask` of the constructor is called with.

        Returns:
          ``[B, T, V]`` float32, logarithms of probabilities up to a constant; in a
          causal model place t depends on tokens 0 to t alone.

        Raises:
          ValueError: if `tokens` is not ``[B, T]``, training lacks its key, or
            something is given that no mask is made of.
        """
        if tokens.ndim != 2:
            raise ValueError(f"tokens must be [B, T], got {tokens.shape}")
        if train and self.dropout_rate > 0.0 and rng is None:
            raise ValueError("training with dropout needs a key: rng=None was given")
        if beside and self.mask is None:
            raise ValueError(f"no mask is made of {', '.join(sorted(beside))}")
        keys = _keys(rng if train else None, 1 + len(self.blocks))
        stream = self._embedded(tokens, positions)
        stream = dropout(stream, rate=self.dropout_rate, rng=next(keys))
        mask = None if self.mask is None else self.mask(**beside)
        for block in self.blocks:
            stream = block(
                stream,
                mask,
                is_causal=self.is_causal,
                positions=positions,
                rng=next(keys),
            )
        return self._scores(stream)

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
        caches = tuple(mixer.empty_cache(batch, length, dtype) for mixer in mixers)
        return jnp.zeros((), jnp.int32), caches

    def step(self, tokens: jax.Array, cache: Any) -> tuple[jax.Array, Any]:
        """Returns the scores at the next places, as the whole call would.

        Args:
          tokens: ``[B, T]``, those that follow what is in the cache.
          cache: of `empty_cache` or the step before; there must be room in it.

        Returns:
          ``[B, T, V]`` float32, and the cache with these places.

        Raises:
          ValueError: if the model is not causal or has a mask of its own.
        """
        if not self.is_causal or self.mask is not None:
            raise ValueError("only a causal model without a mask goes step by step")
        start, caches = cache
        stream = self._embedded(tokens, start + jnp.arange(tokens.shape[1]))
        after = []
        for block, state in zip(self.blocks, caches, strict=True):
            stream, state = block.step(stream, state)
            after.append(state)
        return self._scores(stream), (start + tokens.shape[1], tuple(after))
