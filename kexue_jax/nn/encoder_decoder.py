"""A Transformer that reads one sequence and writes another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.attention import LECUN_NORMAL, SelfAttention, built
from kexue_jax.nn.blocks import Stack
from kexue_jax.nn.cross_attention import CrossAttention
from kexue_jax.nn.dropout import dropout, dropout_keys, training_key
from kexue_jax.nn.vocabulary import Vocabulary


class Reading(NamedTuple):
    """What decoding needs: how far it is, the mixers' caches, and what was read."""

    length: jax.Array
    states: Any
    remembered: Any
    mask: jax.Array | None


class EncoderDecoder(nnx.Module):
    """An encoder reads the source; a decoder, which sees it, scores the next token.

    Both have one table of tokens, as in T5.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        features: int,
        encoder_layers: int,
        decoder_layers: int,
        hidden: int,
        mixer: Callable[..., nnx.Module] = SelfAttention,
        decoder_mixer: Callable[..., nnx.Module] | None = None,
        reader: Callable[..., nnx.Module] = CrossAttention,
        position: Callable[..., Any] | None = None,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.gelu,
        norm: Callable[..., nnx.Module] = nnx.RMSNorm,
        norm_last: bool = False,
        dropout_rate: float = 0.0,
        tied: bool = True,
        output_init: Callable[..., jax.Array] | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes both sides.

        Args:
          encoder_layers, decoder_layers: how many blocks each side has.
          mixer: of the encoder, see `Transformer`.
          decoder_mixer: of the decoder; default that of the encoder.
          reader: what lets the decoder read, as ``reader(features, output_init=,
            rngs=)``; such as `CrossAttention` bound to its heads.
          position: as in `Transformer`; each side has its own if it is a class.
          vocabulary, features, hidden, activation, norm, norm_last, dropout_rate, tied,
            output_init, rngs: as in `Transformer`, for both sides.

        Raises:
          ValueError: if there are no tokens or no layers.
        """
        self.dropout_rate = dropout_rate
        self.vocabulary = Vocabulary(
            vocabulary, features, tied=tied, output_init=output_init, rngs=rngs
        )
        self.source_position = built(position, features=features, rngs=rngs)
        self.position = built(position, features=features, rngs=rngs)

        def stack(layers, mixer, reader=None):
            return Stack(
                features,
                layers=layers,
                hidden=hidden,
                mixer=mixer,
                reader=reader,
                activation=activation,
                norm=norm,
                norm_last=norm_last,
                dropout_rate=dropout_rate,
                output_init=output_init or LECUN_NORMAL,
                rngs=rngs,
            )

        self.encoder = stack(encoder_layers, mixer)
        self.decoder = stack(decoder_layers, decoder_mixer or mixer, reader)

    def _encoded(self, source, kept, positions, rng):
        """What the encoder makes of the source, and the mask of those who read it."""
        if source.ndim != 2 or (kept is not None and kept.shape != source.shape):
            shape = None if kept is None else kept.shape
            raise ValueError(
                "source must be [B, S] and source_kept like it, got "
                f"{source.shape} and {shape}"
            )
        first, second = dropout_keys(rng, 2)
        mask = None if kept is None else kept.astype(bool)[:, None, None]
        stream = self.vocabulary.embed(source, self.source_position, positions)
        stream = dropout(stream, rate=self.dropout_rate, rng=first)
        return self.encoder(stream, mask, positions=positions, rng=second), mask

    def __call__(
        self,
        tokens: jax.Array,
        *,
        source: jax.Array,
        source_kept: jax.Array | None = None,
        positions: jax.Array | None = None,
        source_positions: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the scores of all tokens at each place of the output.

        Args:
          tokens: ``[B, T]`` integers in ``[0, V)``; place t is asked for token t + 1.
          source: ``[B, S]``, likewise.
          source_kept: ``[B, S]``, True (or not 0) where there is a token; default all.
          positions, source_positions: ``[T]`` or ``[B, T]``, and of S; default 0, 1, 2.
          train: whether to drop features; needs `rng` unless the rate is 0.
          rng: a key, read in training alone.

        Returns:
          ``[B, T, V]`` float32; place t depends on the source and on tokens 0 to t.

        Raises:
          ValueError: if a shape is wrong or training lacks its key.
        """
        if tokens.ndim != 2:
            raise ValueError(f"tokens must be [B, T], got {tokens.shape}")
        rng = training_key(rng, train=train, rate=self.dropout_rate)
        first, second, third = dropout_keys(rng, 3)
        memory, mask = self._encoded(source, source_kept, source_positions, first)
        stream = self.vocabulary.embed(tokens, self.position, positions)
        stream = self.decoder(
            dropout(stream, rate=self.dropout_rate, rng=second),
            is_causal=True,
            positions=positions,
            memory=memory,
            memory_mask=mask,
            rng=third,
        )
        return self.vocabulary.scores(stream)

    def read(
        self,
        source: jax.Array,
        source_kept: jax.Array | None = None,
        *,
        length: int,
        source_positions: jax.Array | None = None,
        dtype: Any = jnp.float32,
    ) -> Reading:
        """Returns what `step` needs to begin with, for at most `length` places.

        Arguments are those of the whole call; `dtype` is that of the caches.

        Raises:
          ValueError: if a shape is wrong, or the decoder's mixer has no step.
        """
        memory, mask = self._encoded(source, source_kept, source_positions, None)
        states = self.decoder.empty_cache(len(source), length, dtype)
        remembered = self.decoder.remembered(memory)
        return Reading(jnp.zeros((), jnp.int32), states, remembered, mask)

    def step(self, tokens: jax.Array, cache: Reading) -> tuple[jax.Array, Reading]:
        """Returns the scores at the next places, as the whole call would.

        Args:
          tokens: ``[B, T]``, those that follow what is in the cache.
          cache: of `read` or the step before; there must be room in it.

        Returns:
          ``[B, T, V]`` float32, and the cache with these places.
        """
        places = cache.length + jnp.arange(tokens.shape[1])
        stream = self.vocabulary.embed(tokens, self.position, places)
        stream, states = self.decoder.step(
            stream, cache.states, remembered=cache.remembered, memory_mask=cache.mask
        )
        length = cache.length + tokens.shape[1]
        after = cache._replace(length=length, states=states)
        return self.vocabulary.scores(stream), after
