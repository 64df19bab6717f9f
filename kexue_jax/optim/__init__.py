"""Optax transforms, usable without the rest of the house."""

from kexue_jax.optim.averaging import average_weights
from kexue_jax.optim.surgery import sum_gradients, sum_unit_gradients

__all__ = ["average_weights", "sum_gradients", "sum_unit_gradients"]
