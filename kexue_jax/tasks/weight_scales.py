"""Task: classification by a homogeneous network, and what its layers' scales do."""

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.weight_scales import Layer, balancing_factors, scale_layers
from kexue_jax.exhibits import Bars, Exhibit
from kexue_jax.tasks.robust_classification import RobustClassification


def _squares(params):
    """Squared norms of the kernels, from the input to the output: ``[L]``."""
    return jnp.stack([jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params)])


class WeightScales(RobustClassification):
    r"""Classification by kernels alone, which it finds in params in their order.

    Scores beside those of `RobustClassification`, of ``weights``: ``gap_<l>``, the
    difference of the squared norms of layers l and l + 1 by that at the start, which a
    gradient flow keeps; ``square``, the sum of the squared norms, and
    ``balanced_square``, that after scale has moved between layers until all are alike;
    ``moved``, the largest change of a held-out score, by the largest score, that this
    makes.
    """

    def __init__(self, **options):
        """Takes the options of `RobustClassification`."""
        super().__init__(**options)
        plain = self.init

        def init(rng):
            params, extras = plain(rng)
            return params, {"model": extras, "start": _squares(params)}

        self.init = init
        self._sizes = jax.jit(self._measure_sizes)

    def _all(self, params, extras, inputs, rng=None):
        found, model = super()._all(params, extras["model"], inputs, rng)
        return found, extras | {"model": model}

    def _measure_sizes(self, params, extras, inputs):
        kernels, tree = jax.tree.flatten(params)
        layers = [Layer(kernel) for kernel in kernels]
        layers = scale_layers(layers, balancing_factors(layers))
        even = jax.tree.unflatten(tree, [layer.kernel for layer in layers])
        own, other = (self.apply(x, extras["model"], inputs)[0] for x in (params, even))
        moved = jnp.max(jnp.abs(own - other)) / jnp.max(jnp.abs(own))
        now, start = _squares(params), extras["start"]
        gaps = (now[:-1] - now[1:]) / (start[:-1] - start[1:])
        return now, gaps, jnp.sum(_squares(even)), moved

    def _weights(self, params, extras):
        inputs = self.data.held_out[0]["inputs"]
        return jax.device_get(self._sizes(params, extras, inputs))

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns how well it classifies and what the scales are."""
        now, gaps, even, moved = self._weights(params, extras)
        scores = {f"gap_{place + 1}": gap for place, gap in enumerate(gaps)}
        scores |= {"square": now.sum(), "balanced_square": even, "moved": moved}
        named = {f"weights/{name}": float(value) for name, value in scores.items()}
        return super().evaluate(params, extras) | named

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns the squared norms of layers, and what else is shown."""
        now, *_ = self._weights(params, extras)
        start = np.asarray(extras["start"])
        bars = Bars(
            "Squared norms of the layers",
            [f"layer {place + 1}" for place in range(len(now))],
            ["at the start", "now"],
            np.stack([start, now], axis=1),
            "squared norm",
        )
        return [bars, *super().exhibits(params, extras)]
