"""The head with which BERT tells hidden tokens."""

from collections.abc import Callable
from functools import partial

import jax
from flax import nnx

from kexue_jax.algorithms.activations import gelu
from kexue_jax.nn.heads import VocabularyHead


def token_head(
    features: int,
    *,
    vocabulary: int,
    size: int | None = None,
    activation: Callable[[jax.Array], jax.Array] = gelu,
    epsilon: float = 1e-12,
    rngs: nnx.Rngs,
) -> VocabularyHead:
    """Returns a map, an activation and a norm before the vectors of tokens, and biases.

    Args:
      features: D, of the states.
      vocabulary: V.
      size: E, of the vectors of tokens; None is D.
      activation: behind the map.
      epsilon: of the norm.
      rngs: where the initial weights come from; it is not kept.

    Source: Devlin et al., https://arxiv.org/abs/1810.04805
    """
    norm = partial(nnx.LayerNorm, epsilon=epsilon, use_fast_variance=False)
    return VocabularyHead(
        features,
        vocabulary=vocabulary,
        size=size,
        activation=activation,
        norm=norm,
        rngs=rngs,
    )
