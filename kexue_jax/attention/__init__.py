"""Attention: pure functions of query, key, value and mask."""

from kexue_jax.attention.masks import causal_mask
from kexue_jax.attention.softmax import softmax_attention

__all__ = ["causal_mask", "softmax_attention"]
