"""Optax transforms, usable without the rest of the house."""

from kexue_jax.optim.adax import adax, adaxw, scale_by_adax
from kexue_jax.optim.averaging import average_weights
from kexue_jax.optim.clipping import (
    clip_by_loss_change,
    scale_by_l0l1,
    smooth_clip_by_global_norm,
    smooth_clip_by_norm,
)
from kexue_jax.optim.surgery import sum_gradients, sum_unit_gradients
from kexue_jax.optim.tiger import scale_by_sign_momentum, tiger

__all__ = [
    "adax",
    "adaxw",
    "average_weights",
    "clip_by_loss_change",
    "scale_by_adax",
    "scale_by_l0l1",
    "scale_by_sign_momentum",
    "smooth_clip_by_global_norm",
    "smooth_clip_by_norm",
    "sum_gradients",
    "sum_unit_gradients",
    "tiger",
]
