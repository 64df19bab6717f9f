"""From predictions and targets to a scalar, or from a loss to a loss."""

from kexue_jax.losses.adversarial import adversarial, free_adversarial, uphill_change
from kexue_jax.losses.answer_spans import power_binary_cross_entropy, span_pointer_loss
from kexue_jax.losses.cosent import cosent, cosent_dense
from kexue_jax.losses.flooding import flooded, flooding
from kexue_jax.losses.gradient_penalty import gradient_penalty, input_gradient_penalty
from kexue_jax.losses.multilabel import (
    difference_multilabel_cross_entropy,
    log_subset_partition,
    multilabel_cross_entropy,
    soft_multilabel_cross_entropy,
    sparse_multilabel_cross_entropy,
    symmetric_multilabel_divergence,
)
from kexue_jax.losses.output_gradients import output_gradient_penalty
from kexue_jax.losses.score_function import (
    expected_reward_loss,
    optimal_baseline,
    score_function_loss,
    softmax_score_norms,
)
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
from kexue_jax.losses.sharpness import sharpness_aware
from kexue_jax.losses.units import in_units
from kexue_jax.losses.virtual_adversarial import virtual_adversarial_loss
from kexue_jax.losses.weight_penalties import l2_penalty, weissi_penalty
from kexue_jax.losses.zeroth_order import zeroth_order

__all__ = [
    "adversarial",
    "cosent",
    "cosent_dense",
    "cosine_embedding_loss",
    "cosine_margins_loss",
    "cosine_regression_loss",
    "difference_multilabel_cross_entropy",
    "expected_reward_loss",
    "flooded",
    "flooding",
    "free_adversarial",
    "gradient_penalty",
    "in_units",
    "input_gradient_penalty",
    "l2_penalty",
    "linear_cosine_loss",
    "log_subset_partition",
    "multilabel_cross_entropy",
    "optimal_baseline",
    "output_gradient_penalty",
    "pair_classification_loss",
    "pair_features",
    "power_binary_cross_entropy",
    "score_function_loss",
    "sharpness_aware",
    "soft_multilabel_cross_entropy",
    "softmax_score_norms",
    "span_pointer_loss",
    "sparse_multilabel_cross_entropy",
    "squared_cosine_loss",
    "symmetric_multilabel_divergence",
    "triplet_loss",
    "uphill_change",
    "virtual_adversarial_loss",
    "weissi_penalty",
    "zeroth_order",
]
