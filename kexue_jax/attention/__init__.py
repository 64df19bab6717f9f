"""Attention: pure functions of query, key, value and mask."""

from kexue_jax.attention.block_sparse import block_sparse_attention
from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.deberta import deberta_attention, deberta_attention_as_released
from kexue_jax.attention.efficient import efficient_attention
from kexue_jax.attention.entropy_invariant import entropy_invariant_attention
from kexue_jax.attention.feature_maps import (
    ScaledFeatures,
    cosine_features,
    elu_plus_one,
    exp_features,
    relu_features,
    taylor_features,
)
from kexue_jax.attention.grouped import grouped_attention
from kexue_jax.attention.linear import (
    LinearState,
    linear_attention,
    linear_attention_init,
    linear_attention_parallel,
    linear_attention_step,
)
from kexue_jax.attention.local import atrous_attention, local_attention
from kexue_jax.attention.masks import (
    atrous_mask,
    block_sparse_mask,
    causal_mask,
    length_mask,
    local_mask,
    padding_mask,
    permutation_mask,
    permutation_query_mask,
    prefix_mask,
    same_document_mask,
    sparse_mask,
    unilm_mask,
    window_mask,
)
from kexue_jax.attention.nystrom import (
    depthwise_convolution,
    iterative_pinv,
    landmark_attention,
    landmark_means,
    nystrom_attention,
    nystrom_matrix,
)
from kexue_jax.attention.performer import (
    chi_norms,
    hyperbolic_features,
    iid_projection,
    orthogonal_projection,
    performer_attention,
    positive_features,
    redrawn,
    sqrt_norms,
    stratified_norms,
    trigonometric_features,
)
from kexue_jax.attention.rectified_rotary import (
    leaky_rectified_rotary_attention,
    rectified_rotary_attention,
)
from kexue_jax.attention.scored import scored_attention
from kexue_jax.attention.shaw import shaw_attention
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.attention.taylor import taylor_attention
from kexue_jax.attention.transformer_xl import transformer_xl_attention

__all__ = [
    "LinearState",
    "ScaledFeatures",
    "atrous_attention",
    "atrous_mask",
    "block_sparse_attention",
    "block_sparse_mask",
    "blocked_attention",
    "causal_mask",
    "chi_norms",
    "cosine_features",
    "deberta_attention",
    "deberta_attention_as_released",
    "depthwise_convolution",
    "efficient_attention",
    "elu_plus_one",
    "entropy_invariant_attention",
    "exp_features",
    "grouped_attention",
    "hyperbolic_features",
    "iid_projection",
    "iterative_pinv",
    "landmark_attention",
    "landmark_means",
    "leaky_rectified_rotary_attention",
    "length_mask",
    "linear_attention",
    "linear_attention_init",
    "linear_attention_parallel",
    "linear_attention_step",
    "local_attention",
    "local_mask",
    "nystrom_attention",
    "nystrom_matrix",
    "orthogonal_projection",
    "padding_mask",
    "performer_attention",
    "permutation_mask",
    "permutation_query_mask",
    "positive_features",
    "prefix_mask",
    "rectified_rotary_attention",
    "redrawn",
    "relu_features",
    "same_document_mask",
    "scored_attention",
    "shaw_attention",
    "softmax_attention",
    "sparse_mask",
    "sqrt_norms",
    "stratified_norms",
    "taylor_attention",
    "taylor_features",
    "transformer_xl_attention",
    "trigonometric_features",
    "unilm_mask",
    "window_mask",
]
