"""Position encodings: pure functions of features and positions, and biases of scores.

Distances are query minus key, i - j, everywhere. Those that need more than a bias, and
are attention functions of their own, live in `kexue_jax.attention`.
"""

from kexue_jax.position.alibi import alibi_bias, alibi_slopes
from kexue_jax.position.compatibility import check_compatible
from kexue_jax.position.complex_order import complex_order
from kexue_jax.position.decay import mean_cosine, mean_cosine_limit, rotary_bound
from kexue_jax.position.frequencies import (
    interpolated_frequencies,
    ntk_fixed_frequencies,
    ntk_frequencies,
    ntk_mixed_frequencies,
    rotary_frequencies,
    yarn_attention_factor,
    yarn_frequencies,
    yarn_frequencies_by_index,
)
from kexue_jax.position.kerple import kerple_log_bias, kerple_power_bias
from kexue_jax.position.learned import hierarchical_table, learned, multiplied
from kexue_jax.position.recursive import flow, recursive, rotation
from kexue_jax.position.relative import masked_positions, relative_positions
from kexue_jax.position.rotary import (
    halves_from_neighbours,
    neighbours_from_halves,
    partial_rotary,
    rotary,
    rotary_2d,
    rotary_halves,
)
from kexue_jax.position.sandwich import sandwich_bias
from kexue_jax.position.sinusoidal import sinusoidal, sinusoidal_halves
from kexue_jax.position.t5 import t5_bias, t5_bias_causal, t5_bucket, t5_bucket_causal
from kexue_jax.position.xpos import xpos_key, xpos_query
from kexue_jax.position.zero_padding import (
    circular_convolution,
    zero_padded_convolution,
)

__all__ = [
    "alibi_bias",
    "alibi_slopes",
    "check_compatible",
    "circular_convolution",
    "complex_order",
    "flow",
    "halves_from_neighbours",
    "hierarchical_table",
    "interpolated_frequencies",
    "kerple_log_bias",
    "kerple_power_bias",
    "learned",
    "masked_positions",
    "mean_cosine",
    "mean_cosine_limit",
    "multiplied",
    "neighbours_from_halves",
    "ntk_fixed_frequencies",
    "ntk_frequencies",
    "ntk_mixed_frequencies",
    "partial_rotary",
    "recursive",
    "relative_positions",
    "rotary",
    "rotary_2d",
    "rotary_bound",
    "rotary_frequencies",
    "rotary_halves",
    "rotation",
    "sandwich_bias",
    "sinusoidal",
    "sinusoidal_halves",
    "t5_bias",
    "t5_bias_causal",
    "t5_bucket",
    "t5_bucket_causal",
    "xpos_key",
    "xpos_query",
    "yarn_attention_factor",
    "yarn_frequencies",
    "yarn_frequencies_by_index",
    "zero_padded_convolution",
]
