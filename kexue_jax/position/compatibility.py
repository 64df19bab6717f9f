"""Which position goes with which attention: a table, and a check that reads it.

A position acts at one of four places, and an attention offers some of them:

- features: vectors added to or multiplied with the input of a layer;
- rotation: queries and keys turned before their product;
- bias: a number added to the score of each pair;
- own: the position is an attention function of its own and needs no other.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

PLACES = {
    "sinusoidal": "features",
    "sinusoidal_halves": "features",
    "learned": "features",
    "multiplied": "features",
    "hierarchical_table": "features",
    "recursive": "features",
    "flow": "features",
    "complex_order": "features",
    "zero_padded_convolution": "features",
    "rotary": "rotation",
    "rotary_halves": "rotation",
    "partial_rotary": "rotation",
    "rotary_2d": "rotation",
    "TrainedRotary": "rotation",
    "alibi_bias": "bias",
    "t5_bias": "bias",
    "t5_bias_causal": "bias",
    "kerple_log_bias": "bias",
    "kerple_power_bias": "bias",
    "sandwich_bias": "bias",
    "untied_bias": "bias",
    "AlibiBias": "bias",
    "BucketBias": "bias",
    "UntiedBias": "bias",
}
"""Where each position acts; xPos is not here, it has a function for queries alone.

Names with capitals are modules of `kexue_jax.nn.positions`.
"""

NO_MATRIX = "it never has the matrix of scores that a bias is added to"
OWN = "it has relative positions of its own"
FEATURE_MAP = (
    "a rotation before its feature map is not relative; pass it to the attention, "
    "which turns the features"
)

REFUSALS = {
    "linear_attention": {"bias": NO_MATRIX, "rotation": FEATURE_MAP},
    "efficient_attention": {"bias": NO_MATRIX, "rotation": FEATURE_MAP},
    "performer_attention": {"bias": NO_MATRIX},
    "nystrom_attention": {"bias": NO_MATRIX},
    "shaw_attention": {"bias": OWN, "rotation": OWN},
    "transformer_xl_attention": {"bias": OWN, "rotation": OWN},
    "deberta_attention": {"bias": OWN, "rotation": OWN},
    "deberta_attention_as_released": {"bias": OWN, "rotation": OWN},
    "rectified_rotary_attention": {"bias": OWN, "rotation": OWN},
    "leaky_rectified_rotary_attention": {"bias": OWN, "rotation": OWN},
    "NezhaAttention": {"bias": OWN, "rotation": OWN},
    "ShawAttention": {"bias": OWN, "rotation": OWN},
    "TransformerXLAttention": {"bias": OWN, "rotation": OWN},
    "DebertaAttention": {"bias": OWN, "rotation": OWN},
}
"""What an attention cannot take, and why; those that are not here take everything.

Names with capitals are the modules of `kexue_jax.nn.relative`.
"""


def check_compatible(
    position: Callable[..., Any], attention: Callable[..., Any]
) -> None:
    """Refuses a position that the attention cannot honour; call it at construction.

    Args:
      position: a function of this room, or a partial function of one.
      attention: an attention function, or a partial function of one; one that is given
        another as ``attention=`` is as that other. Functions that the tables do not
        name, such as a user's own, are let through.

    Raises:
      ValueError: if the two do not go together; it says why.
    """
    position_name, attention_name = _name(position), _name(attention)
    refusals = REFUSALS.get(attention_name, {})
    reason = refusals.get(PLACES.get(position_name, ""))
    if reason is not None:
        raise ValueError(f"{position_name} does not go with {attention_name}: {reason}")


def has_own_positions(attention: Callable[..., Any]) -> bool:
    """Returns whether an attention counts distances itself, from 0, 1, 2, ...

    Args:
      attention: as in `check_compatible`.
    """
    return REFUSALS.get(_name(attention), {}).get("rotation") == OWN


def _name(function):
    while isinstance(function, partial):
        function = function.keywords.get("attention", function.func)
    return getattr(function, "__name__", "")
