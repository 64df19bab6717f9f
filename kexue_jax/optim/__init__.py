"""Optax transforms, usable without the rest of the house."""

from kexue_jax.optim.accumulation import accumulate_in_momentum
from kexue_jax.optim.adax import adax, adaxw, scale_by_adax
from kexue_jax.optim.averaging import average_weights
from kexue_jax.optim.child_tuning import (
    child_tuning_driven,
    child_tuning_free,
    largest_fraction,
)
from kexue_jax.optim.clipping import (
    clip_by_loss_change,
    scale_by_l0l1,
    smooth_clip_by_global_norm,
    smooth_clip_by_norm,
)
from kexue_jax.optim.exponentiated_rates import scale_by_exponentiated_rates
from kexue_jax.optim.layerwise import lamb, scale_by_name
from kexue_jax.optim.lazy_rows import lazy_rows
from kexue_jax.optim.lookahead import lookahead
from kexue_jax.optim.roles import by_role
from kexue_jax.optim.schedules import piecewise_linear, relative_step
from kexue_jax.optim.surgery import sum_gradients, sum_unit_gradients
from kexue_jax.optim.tiger import scale_by_sign_momentum, tiger

__all__ = [
    "accumulate_in_momentum",
    "adax",
    "adaxw",
    "average_weights",
    "by_role",
    "child_tuning_driven",
    "child_tuning_free",
    "clip_by_loss_change",
    "lamb",
    "largest_fraction",
    "lazy_rows",
    "lookahead",
    "piecewise_linear",
    "relative_step",
    "scale_by_adax",
    "scale_by_exponentiated_rates",
    "scale_by_l0l1",
    "scale_by_name",
    "scale_by_sign_momentum",
    "smooth_clip_by_global_norm",
    "smooth_clip_by_norm",
    "sum_gradients",
    "sum_unit_gradients",
    "tiger",
]
