"""GPT2-ML: the large Chinese language model whose blocks are those of Grover."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from flax import nnx

from kexue_jax.algorithms.activations import gelu
from kexue_jax.nn.backbone import Attention, Backbone, Embeddings, FeedForward
from kexue_jax.nn.positions import LearnedPositions


class NormedFeedForward(FeedForward):
    """`FeedForward` of what a norm makes of its inputs."""

    def __init__(
        self,
        features: int,
        *,
        norm: Callable[..., nnx.Module],
        rngs: nnx.Rngs,
        **options: Any,
    ):
        """Makes ``norm(features, rngs=rngs)`` beside the maps; see `FeedForward`."""
        super().__init__(features, rngs=rngs, **options)
        self.norm: Any = norm(features, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns an array like `inputs`, ``[..., D]``."""
        return super().__call__(self.norm(inputs))


class Unchanged(nnx.Module):
    """A norm that is none."""

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns `inputs`."""
        return inputs


def gpt2_ml(
    vocabulary: int,
    *,
    features: int = 1536,
    layers: int = 48,
    heads: int = 24,
    hidden: int | None = None,
    length: int = 1024,
    activation: Callable[[jax.Array], jax.Array] = gelu,
    mask: Callable[..., jax.Array] | None = None,
    is_causal: bool = True,
    epsilon: float = 1e-5,
    dropout_rate: float = 0.0,
    deviation: float = 0.02,
    rngs: nnx.Rngs,
) -> Backbone:
    """Returns GPT2-ML, which is nearer to GPT than to GPT-2.

    In a block attention reads x as it is, and adds to it; the feed-forward map reads a
    norm of the sum, adds to the sum, and the new sum is normalised:
    ``y = x + attend(x)``, ``norm1(y + map(norm0(y)))``. Embeddings are normalised.

    Args:
      vocabulary: V, how many tokens there are.
      features, layers, heads: D, blocks and N; N divides D.
      hidden: default ``4 * features``.
      length: how many places have a vector.
      activation: of the feed-forward maps, with the error function.
      mask, is_causal: of `Backbone`.
      epsilon: of layer normalisation.
      dropout_rate: of the embeddings and of all that a block adds.
      deviation: of all kernels and embeddings, in the beginning.
      rngs: where the initial weights come from; it is not kept.

    Raises:
      ValueError: if there are no layers or tokens, or heads do not divide.

    Source: Zellers et al., https://arxiv.org/abs/1905.12616 (Grover), as GPT2-ML and
      bert4keras have it; https://kexue.fm/archives/7292
    """
    if heads < 1 or features % heads:
        raise ValueError(f"heads must divide {features} features, got {heads}")
    draw = nnx.initializers.normal(deviation)
    norm = partial(nnx.LayerNorm, epsilon=epsilon, use_fast_variance=False)
    model = Backbone(
        features,
        layers=layers,
        length=length,
        embeddings=partial(
            Embeddings,
            vocabulary,
            position=partial(LearnedPositions, length=length, scale=deviation),
            norm=norm,
            dropout_rate=dropout_rate,
            kernel_init=draw,
        ),
        mixer=partial(
            Attention, heads=heads, head_size=features // heads, kernel_init=draw
        ),
        feed_forward=partial(
            NormedFeedForward,
            norm=norm,
            hidden=4 * features if hidden is None else hidden,
            activation=activation,
            kernel_init=draw,
        ),
        norm=norm,
        mask=mask,
        is_causal=is_causal,
        dropout_rate=dropout_rate,
        rngs=rngs,
    )
    for block in model.blocks:
        block.mixer_norm = Unchanged()
    return model
