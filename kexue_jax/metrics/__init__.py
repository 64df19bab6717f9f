"""How far apart two distributions are, and how alike two lists of numbers."""

from kexue_jax.metrics.correlation import average_ranks, kendall, pearson, spearman
from kexue_jax.metrics.costs import (
    cosine_costs,
    euclidean_costs,
    squared_euclidean_costs,
)
from kexue_jax.metrics.gaussian import (
    gaussian_bhattacharyya,
    gaussian_hellinger_squared,
    gaussian_jeffreys,
    gaussian_kl,
    gaussian_renyi,
    kl_to_standard_normal,
)
from kexue_jax.metrics.gaussian_transport import (
    optimal_map,
    wasserstein2_barycentre,
    wasserstein2_geodesic,
    wasserstein2_squared,
)
from kexue_jax.metrics.knn_entropy import knn_entropy
from kexue_jax.metrics.one_dimensional import optimal_transport_1d
from kexue_jax.metrics.sinkhorn import sinkhorn, sinkhorn_divergence
from kexue_jax.metrics.text_search import nearest_texts
from kexue_jax.metrics.thresholds import (
    accuracy_at,
    best_accuracy_threshold,
    best_f1_threshold,
    f1_at,
)
from kexue_jax.metrics.transport import optimal_transport
from kexue_jax.metrics.word_movers import (
    relaxed_bound,
    rotators_centroid_bound,
    word_centroid_bound,
    word_movers_distance,
    word_rotators_distance,
)

__all__ = [
    "accuracy_at",
    "average_ranks",
    "best_accuracy_threshold",
    "best_f1_threshold",
    "cosine_costs",
    "euclidean_costs",
    "f1_at",
    "gaussian_bhattacharyya",
    "gaussian_hellinger_squared",
    "gaussian_jeffreys",
    "gaussian_kl",
    "gaussian_renyi",
    "kendall",
    "kl_to_standard_normal",
    "knn_entropy",
    "nearest_texts",
    "optimal_map",
    "optimal_transport",
    "optimal_transport_1d",
    "pearson",
    "relaxed_bound",
    "rotators_centroid_bound",
    "sinkhorn",
    "sinkhorn_divergence",
    "spearman",
    "squared_euclidean_costs",
    "wasserstein2_barycentre",
    "wasserstein2_geodesic",
    "wasserstein2_squared",
    "word_centroid_bound",
    "word_movers_distance",
    "word_rotators_distance",
]
