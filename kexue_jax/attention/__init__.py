"""Attention: pure functions of query, key, value and mask."""

from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.deberta import deberta_attention, deberta_attention_as_released
from kexue_jax.attention.efficient import efficient_attention
from kexue_jax.attention.entropy_invariant import entropy_invariant_attention
from kexue_jax.attention.linear import linear_attention, linear_attention_step
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
from kexue_jax.attention.nystrom import landmark_attention, nystrom_attention
from kexue_jax.attention.performer import performer_attention
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
    "atrous_attention",
    "atrous_mask",
    "block_sparse_mask",
    "blocked_attention",
    "causal_mask",
    "deberta_attention",
    "deberta_attention_as_released",
    "efficient_attention",
    "entropy_invariant_attention",
    "landmark_attention",
    "leaky_rectified_rotary_attention",
    "length_mask",
    "linear_attention",
    "linear_attention_step",
    "local_attention",
    "local_mask",
    "nystrom_attention",
    "padding_mask",
    "performer_attention",
    "permutation_mask",
    "permutation_query_mask",
    "prefix_mask",
    "rectified_rotary_attention",
    "same_document_mask",
    "scored_attention",
    "shaw_attention",
    "softmax_attention",
    "sparse_mask",
    "taylor_attention",
    "transformer_xl_attention",
    "unilm_mask",
    "window_mask",
]
