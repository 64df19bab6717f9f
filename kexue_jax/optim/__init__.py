"""Optax transforms, usable without the rest of the house."""

from kexue_jax.algorithms.roles import by_role
from kexue_jax.optim.accumulation import accumulate_in_momentum
from kexue_jax.optim.adafactor import adafactor, scale_by_adafactor
from kexue_jax.optim.adax import adax, adaxw, scale_by_adax
from kexue_jax.optim.amos import scale_by_amos_rates
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
from kexue_jax.optim.layerwise import lamb, scale_by_name
from kexue_jax.optim.lazy_rows import lazy_rows
from kexue_jax.optim.lookahead import lookahead
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
from kexue_jax.optim.schedules import piecewise_linear, relative_step
from kexue_jax.optim.surgery import sum_gradients, sum_unit_gradients
from kexue_jax.optim.tiger import scale_by_sign_momentum, tiger
from kexue_jax.optim.weight_scale import add_weissi, hold_norms

__all__ = [
    "accumulate_in_momentum",
    "adafactor",
    "adax",
    "adaxw",
    "add_weissi",
    "aligned_mtl",
    "average_weights",
    "by_role",
    "cagrad",
    "child_tuning_driven",
    "child_tuning_free",
    "clip_by_loss_change",
    "constrained_mgda",
    "db_mtl",
    "dynamic_weight_average",
    "famo",
    "generalized_mean_weights",
    "gradnorm",
    "gradvac",
    "hold_norms",
    "imtl_g",
    "imtl_l",
    "initial_loss_weights",
    "lamb",
    "largest_fraction",
    "lazy_rows",
    "lookahead",
    "main_objective",
    "mgda",
    "mgda_by_averaging",
    "mgda_by_frank_wolfe",
    "nash_mtl",
    "pcgrad",
    "piecewise_linear",
    "prior_loss_weights",
    "random_loss_weights",
    "real_time_loss_weights",
    "relative_step",
    "scale_by_adafactor",
    "scale_by_adax",
    "scale_by_amos_rates",
    "scale_by_exponentiated_rates",
    "scale_by_l0l1",
    "scale_by_name",
    "scale_by_sign_momentum",
    "smooth_clip_by_global_norm",
    "smooth_clip_by_norm",
    "sum_gradients",
    "sum_unit_gradients",
    "tiger",
    "uncertainty_weights",
    "upgrad",
]
