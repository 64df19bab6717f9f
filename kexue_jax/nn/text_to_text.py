"""T5: an encoder and a decoder of `Backbone`, with one table of tokens."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.activations import gelu_tanh
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.backbone import Attention, Backbone, Embeddings, FeedForward
from kexue_jax.nn.cross_attention import CrossAttention
from kexue_jax.nn.dropout import dropout_keys, training_key
from kexue_jax.nn.heads import VocabularyHead
from kexue_jax.nn.positions import BucketBias


class Reading(NamedTuple):
    """What decoding needs: the decoder's cache, and what it reads of the source."""

    cache: Any
    remembered: tuple[Any, ...]
    kept: jax.Array | None


class TextToText(nnx.Module):
    """T5: an encoder reads the source; a decoder, which sees it, scores what follows.

    The buckets of distances are trained in the first layer of either side and shared
    by all of its others; scores are not divided by the root of the head size.

    Source: Raffel et al., https://arxiv.org/abs/1910.10683; version 1.1 in
      https://arxiv.org/abs/2002.05202; https://kexue.fm/archives/7867
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        features: int,
        layers: int,
        heads: int,
        hidden: int,
        decoder_layers: int | None = None,
        head_size: int = 64,
        buckets: int = 32,
        max_distance: int = 128,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        is_gated: bool = False,
        tied: bool = True,
        scale: float | None = None,
        epsilon: float = 1e-6,
        dropout_rate: float = 0.0,
        deviation: float = 0.02,
        rngs: nnx.Rngs,
    ):
        """Makes both sides; as it stands, of version 1.0.

        Args:
          vocabulary: V, how many tokens there are.
          features, heads, head_size, hidden: D, N, H (N H need not be D), and size
            inside feed-forward maps.
          layers, decoder_layers: of each side; default as many as the other.
          buckets, max_distance: of `BucketBias`.
          activation: of the feed-forward maps.
          is_gated: whether they have a gate.
          tied: whether scores are products with the vectors of tokens.
          scale: of the states before the scores; default ``D ** -0.5`` if `tied`, else
            none.
          epsilon: of the root mean squares.
          dropout_rate: of the embeddings and of all that a block adds.
          deviation: of all kernels and tables, in the beginning.
          rngs: where the initial weights come from; it is not kept.
        """
        draw = nnx.initializers.normal(deviation)
        norm = partial(nnx.RMSNorm, epsilon=epsilon)
        attention = partial(softmax_attention, scale=1.0)
        self.dropout_rate = dropout_rate
        tokens = nnx.Embed(vocabulary, features, embedding_init=draw, rngs=rngs)

        def side(layers, **options):
            is_causal = "reader" in options
            bias = BucketBias(
                heads=heads,
                head_size=head_size,
                buckets=buckets,
                max_distance=max_distance,
                is_causal=is_causal,
                rngs=rngs,
            )
            return Backbone(
                features,
                layers=layers,
                embeddings=partial(Embeddings, tokens, dropout_rate=dropout_rate),
                mixer=partial(
                    Attention,
                    heads=heads,
                    head_size=head_size,
                    attention=attention,
                    bias=bias,  # one module in all layers
                    use_bias=False,
                    kernel_init=draw,
                ),
                feed_forward=partial(
                    FeedForward,
                    hidden=hidden,
                    activation=activation,
                    is_gated=is_gated,
                    use_bias=False,
                    kernel_init=draw,
                ),
                norm=norm,
                norm_last=False,
                is_causal=is_causal,
                dropout_rate=dropout_rate,
                rngs=rngs,
                **options,
            )

        self.encoder = side(layers)
        self.decoder = side(
            layers if decoder_layers is None else decoder_layers,
            reader=partial(
                CrossAttention, heads=heads, head_size=head_size, attention=attention
            ),
        )
        self.head = VocabularyHead(
            features,
            vocabulary=vocabulary,
            use_bias=False,
            tied=tied,
            scale=features**-0.5 if tied and scale is None else scale,
            kernel_init=draw,
            rngs=rngs,
        )

    def _scores(self, states):
        return self.head(states, table=self.encoder.embeddings.tokens.embedding[...])

    def __call__(
        self,
        tokens: jax.Array,
        *,
        source: jax.Array,
        source_kept: jax.Array | None = None,
        kept: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the scores of all tokens at each place of the output.

        Args:
          tokens: ``[B, T]`` integers in ``[0, V)``; place t is asked for token t + 1.
          source: ``[B, S]``, likewise.
          source_kept: bool ``[B, S]``, True where there is a token; None keeps all.
          kept: bool ``[B, T]``. The first token is padding's in T5 and has to be kept.
          train: whether to drop features; needs `rng` unless the rate is 0.
          rng: a key, read in training alone.

        Returns:
          ``[B, T, V]`` float32; place t depends on the source and on tokens 0 to t.

        Raises:
          ValueError: if a shape is wrong or training lacks its key.
        """
        rng = training_key(rng, train=train, rate=self.dropout_rate)
        first, second = dropout_keys(rng, 2)
        memory = self.encoder(source, kept=source_kept, train=train, rng=first)
        states = self.decoder(
            tokens,
            kept=kept,
            memory=memory,
            memory_kept=source_kept,
            train=train,
            rng=second,
        )
        return self._scores(states)

    def read(
        self,
        source: jax.Array,
        source_kept: jax.Array | None = None,
        *,
        length: int,
        dtype: Any = jnp.float32,
    ) -> Reading:
        """Returns what `step` needs to begin with, for at most `length` places.

        Arguments are those of the whole call; `dtype` is that of the cache.
        """
        memory = self.encoder(source, kept=source_kept)
        cache = self.decoder.empty_cache(len(source), length, dtype)
        return Reading(cache, self.decoder.remembered(memory), source_kept)

    def step(self, tokens: jax.Array, cache: Reading) -> tuple[jax.Array, Reading]:
        """Returns the scores at the next places, as the whole call would.

        Args:
          tokens: ``[B, T]``, those that follow what is in the cache.
          cache: of `read` or the step before; there must be room in it.
        """
        states, inner = self.decoder.step(
            tokens,
            cache.cache,
            remembered=cache.remembered,
            memory_kept=cache.kept,
        )
        return self._scores(states), cache._replace(cache=inner)


def t5_v1_1(vocabulary: int, *, rngs: nnx.Rngs, **sizes: Any) -> TextToText:
    """Returns T5 1.1, which mT5 is too: gates, and vectors of their own for scores."""
    return TextToText(
        vocabulary,
        activation=gelu_tanh,
        is_gated=True,
        tied=False,
        rngs=rngs,
        **sizes,
    )
