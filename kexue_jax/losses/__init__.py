"""From predictions and targets to a scalar, or from a loss to a loss."""

from kexue_jax.losses.cosent import cosent, cosent_dense
from kexue_jax.losses.sentence_pairs import (
    cosine_embedding_loss,
    cosine_margins_loss,
    cosine_regression_loss,
    linear_cosine_loss,
    pair_classification_loss,
    pair_features,
    squared_cosine_loss,
    triplet_loss,
)
from kexue_jax.losses.units import in_units

__all__ = [
    "cosent",
    "cosent_dense",
    "cosine_embedding_loss",
    "cosine_margins_loss",
    "cosine_regression_loss",
    "in_units",
    "linear_cosine_loss",
    "pair_classification_loss",
    "pair_features",
    "squared_cosine_loss",
    "triplet_loss",
]
