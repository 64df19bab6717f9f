"""How far apart two distributions are."""

from kexue_jax.metrics.gaussian import (
    kl_to_standard_normal,
    optimal_map,
    wasserstein2_squared,
)

__all__ = ["kl_to_standard_normal", "optimal_map", "wasserstein2_squared"]
