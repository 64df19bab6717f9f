"""A pre-norm Transformer decoder whose techniques are arguments."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.attention.masks import causal_mask
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.attention import LECUN_NORMAL, SelfAttention
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
    """Attention, then a feed-forward map; both add to what they read normalised."""

    def __init__(
        self,
        features: int,
        *,
        mixer: Callable[..., nnx.Module],
        feed_forward: Callable[..., nnx.Module],
        dropout_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        """`mixer` and `feed_forward` are called as ``make(features, rngs=rngs)``."""
        self.dropout_rate = dropout_rate
        self.mixer_norm = nnx.RMSNorm(features, rngs=rngs)
        self.mixer = mixer(features, rngs=rngs)
        self.feed_forward_norm = nnx.RMSNorm(features, rngs=rngs)
        self.feed_forward = feed_forward(features, rngs=rngs)

    def __call__(
        self,
        inputs: jax.Array,
        mask: jax.Array | None = None,
        *,
        positions: jax.Array | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]``; with a key `rng` what is added suffers dropout."""
        first, second = _keys(rng, 2)
        mixed = self.mixer(self.mixer_norm(inputs), mask, positions=positions)
        inputs = inputs + dropout(mixed, rate=self.dropout_rate, rng=first)
        fed = self.feed_forward(self.feed_forward_norm(inputs))
        return inputs + dropout(fed, rate=self.dropout_rate, rng=second)


class Decoder(nnx.Module):
    """Reads tokens and scores, at each place, every token that may come next."""

    def __init__(
        self,
        vocabulary: int,
        *,
        features: int,
        layers: int,
        heads: int,
        head_size: int,
        hidden: int,
        attention: Callable[..., jax.Array] = softmax_attention,
        position: Callable[..., jax.Array] | None = None,
        qk_norm: bool = False,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.gelu,
        dropout_rate: float = 0.0,
        tied: bool = True,
        output_init: Callable[..., jax.Array] | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes a decoder.

        Args:
          vocabulary: V, how many tokens there are.
          features: D, size of the stream that the blocks add to.
          layers: how many blocks.
          heads, head_size: N and H of the attention.
          hidden: inner size of the feed-forward maps.
          attention: ``(query, key, value, mask) -> output``.
          position: ``(features, positions) -> features`` for queries and keys, or None
            for a model that knows the order of its tokens by the causal mask alone.
          qk_norm: whether queries and keys are divided by their root mean square.
          activation: of the feed-forward maps.
          dropout_rate: of the embeddings and of all that a block adds.
          tied: whether the scores use the table of embeddings; otherwise their own.
          output_init: of the last maps of attention and feed-forward and of the scores'
            own table; default the same as of the other maps. With zeros every block
            begins as the identity.
          rngs: where the initial weights come from; it is not kept.
        """
        if vocabulary < 1 or layers < 1:
            raise ValueError(
                "a decoder needs a vocabulary and layers, got "
                f"vocabulary={vocabulary}, layers={layers}"
            )
        self.dropout_rate, self.scale = dropout_rate, features**0.5

        def mixer(size, *, rngs):
            return SelfAttention(
                size,
                heads=heads,
                head_size=head_size,
                attention=attention,
                position=position,
                qk_norm=qk_norm,
                output_init=last,
                rngs=rngs,
            )

        def feed_forward(size, *, rngs):
            return FeedForward(
                size, hidden, activation=activation, output_init=last, rngs=rngs
            )

        narrow = nnx.initializers.normal(features**-0.5)
        last = output_init or LECUN_NORMAL
        table = (vocabulary, features)
        self.embedding = nnx.Param(narrow(rngs.params(), table))
        self.blocks = nnx.List(
            Block(
                features,
                mixer=mixer,
                feed_forward=feed_forward,
                dropout_rate=dropout_rate,
                rngs=rngs,
            )
            for _ in range(layers)
        )
        self.norm = nnx.RMSNorm(features, rngs=rngs)
        own = output_init or narrow
        self.output = None if tied else nnx.Param(own(rngs.params(), table))

    def __call__(
        self,
        inputs: jax.Array,
        *,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the scores of the next token at each place.

        Args:
          inputs: ``[B, T]`` integers in ``[0, V)``.
          train: whether to drop features; needs `rng` unless the rate is 0.
          rng: a key, read in training alone.

        Returns:
          ``[B, T, V]`` float32, logarithms of probabilities up to a constant; place t
          depends on tokens 0 to t alone.

        Raises:
          ValueError: if `inputs` is not ``[B, T]``, or training lacks its key.
        """
        if inputs.ndim != 2:
            raise ValueError(f"inputs must be [B, T], got {inputs.shape}")
        if train and self.dropout_rate > 0.0 and rng is None:
            raise ValueError("training with dropout needs a key: rng=None was given")
        keys = _keys(rng if train else None, 1 + len(self.blocks))
        stream = self.embedding[...][inputs] * self.scale
        stream = dropout(stream, rate=self.dropout_rate, rng=next(keys))
        mask = causal_mask(inputs.shape[1], inputs.shape[1])
        for block in self.blocks:
            stream = block(stream, mask, rng=next(keys))
        table = (self.embedding if self.output is None else self.output)[...]
        return jnp.einsum(
            "btd,vd->btv", self.norm(stream), table, preferred_element_type=jnp.float32
        )
