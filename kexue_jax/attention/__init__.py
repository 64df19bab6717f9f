"""Attention: pure functions of query, key, value and mask."""

from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.entropy_invariant import entropy_invariant_attention
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
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.attention.taylor import taylor_attention

__all__ = [
    "atrous_attention",
    "atrous_mask",
    "block_sparse_mask",
    "blocked_attention",
    "causal_mask",
    "entropy_invariant_attention",
    "length_mask",
    "local_attention",
    "local_mask",
    "padding_mask",
    "permutation_mask",
    "permutation_query_mask",
    "prefix_mask",
    "same_document_mask",
    "softmax_attention",
    "sparse_mask",
    "taylor_attention",
    "unilm_mask",
    "window_mask",
]
