"""Optax transforms, usable without the rest of the house."""

from kexue_jax.optim.averaging import average_weights
from kexue_jax.optim.gradient_weights import db_mtl, gradnorm
from kexue_jax.optim.gram_directions import (
    aligned_mtl,
    cagrad,
    constrained_mgda,
    imtl_g,
    main_objective,
    mgda,
    mgda_by_averaging,
    mgda_by_frank_wolfe,
    nash_mtl,
    upgrad,
)
from kexue_jax.optim.loss_weights import (
    dynamic_weight_average,
    famo,
    generalized_mean_weights,
    imtl_l,
    initial_loss_weights,
    prior_loss_weights,
    random_loss_weights,
    real_time_loss_weights,
    uncertainty_weights,
)
from kexue_jax.optim.pairwise_projections import gradvac, pcgrad
from kexue_jax.optim.surgery import sum_gradients, sum_unit_gradients

__all__ = [
    "aligned_mtl",
    "average_weights",
    "cagrad",
    "constrained_mgda",
    "db_mtl",
    "dynamic_weight_average",
    "famo",
    "generalized_mean_weights",
    "gradnorm",
    "gradvac",
    "imtl_g",
    "imtl_l",
    "initial_loss_weights",
    "main_objective",
    "mgda",
    "mgda_by_averaging",
    "mgda_by_frank_wolfe",
    "nash_mtl",
    "pcgrad",
    "prior_loss_weights",
    "random_loss_weights",
    "real_time_loss_weights",
    "sum_gradients",
    "sum_unit_gradients",
    "uncertainty_weights",
    "upgrad",
]
