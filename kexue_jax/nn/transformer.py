"""A Transformer whose techniques are arguments."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.attention import LECUN_NORMAL, SelfAttention, built
from kexue_jax.nn.blocks import Stack
from kexue_jax.nn.dropout import dropout, dropout_keys, training_key
from kexue_jax.nn.vocabulary import Vocabulary


class Transformer(nnx.Module):
    """Reads tokens and gives, at each place, scores of every token.

    With `is_causal` it is a decoder alone, such as a language model; without, an
    encoder. `EncoderDecoder` joins the two.
    """

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

        Raises:
          ValueError: if there are no tokens or no layers.
        """
        self.dropout_rate = dropout_rate
        self.is_causal, self.mask = is_causal, mask
        self.vocabulary = Vocabulary(
            vocabulary, features, tied=tied, output_init=output_init, rngs=rngs
        )
        self.position = built(position, features=features, rngs=rngs)
        self.stack = Stack(
            features,
            layers=layers,
            hidden=hidden,
            mixer=mixer,
            activation=activation,
            norm=norm,
            norm_last=norm_last,
            dropout_rate=dropout_rate,
            output_init=output_init or LECUN_NORMAL,
            rngs=rngs,
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
        if beside and self.mask is None:
            raise ValueError(f"no mask is made of {', '.join(sorted(beside))}")
        rng = training_key(rng, train=train, rate=self.dropout_rate)
        first, second = dropout_keys(rng, 2)
        stream = self.vocabulary.embed(tokens, self.position, positions)
        stream = self.stack(
            dropout(stream, rate=self.dropout_rate, rng=first),
            None if self.mask is None else self.mask(**beside),
            is_causal=self.is_causal,
            positions=positions,
            rng=second,
        )
        return self.vocabulary.scores(stream)

    def empty_cache(self, batch: int, length: int, dtype: Any = jnp.float32) -> Any:
        """Returns what `step` needs to begin with, for at most `length` places.

        Raises:
          ValueError: if a mixer cannot go step by step.
        """
        start = jnp.zeros((), jnp.int32)
        return start, self.stack.empty_cache(batch, length, dtype)

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
        start, states = cache
        places = start + jnp.arange(tokens.shape[1])
        stream = self.vocabulary.embed(tokens, self.position, places)
        stream, states = self.stack.step(stream, states)
        return self.vocabulary.scores(stream), (start + tokens.shape[1], states)
