"""Task: how the products of sinusoidal positions fall with their distance."""

from collections.abc import Sequence

import jax
import numpy as np

from kexue_jax.exhibits import Curves, Series
from kexue_jax.position.decay import mean_cosine, mean_cosine_limit, rotary_bound
from kexue_jax.position.frequencies import rotary_frequencies
from kexue_jax.tasks.analysis import Analysis, Measured


class SinusoidDecay(Analysis):
    r"""The mean cosine at a distance, its limit for many features and its asymptote.

    Scores, for each base: ``<base>/limit_<d>`` and ``<base>/finite_<d>`` at some
    distances; ``<base>/log_error``, the greatest relative difference of the limit from
    :math:`1 - (\gamma + \ln d) / \ln b` for d from 32 to a tenth of the base;
    ``<base>/beyond``, the greatest limit at distances above the base, in size; and
    ``<base>/bound_ratio``, the bound of rotary scores at 256 over that at 0.

    Args:
      size: D of the finite sum, even.
      bases: of the frequencies.
      distances: those that are scored.
    """

    def __init__(
        self,
        *,
        size: int = 128,
        bases: Sequence[float] = (1000.0, 10000.0),
        distances: Sequence[int] = (1, 8, 32, 128, 512, 4096),
    ):
        self.size = size
        self.bases, self.distances = tuple(bases), tuple(distances)

    def measure(self, rng: jax.Array) -> Measured:
        """Returns the scores and three diagrams; nothing is random."""
        del rng
        scores, near, bounds = {}, [], []
        line = np.unique(np.geomspace(1, 30000, 400).astype(int))
        for base in self.bases:
            group, theta = f"{base:g}", rotary_frequencies(self.size, base=base)
            places = np.array(self.distances)
            limit = mean_cosine_limit(places, base=base)
            finite = mean_cosine(places, theta)
            for d, a, b in zip(self.distances, limit, finite, strict=True):
                scores[f"{group}/limit_{d}"] = float(a)
                scores[f"{group}/finite_{d}"] = float(b)
            middle = np.arange(32, max(33, int(base / 10)))
            exact = mean_cosine_limit(middle, base=base)
            about = 1.0 - (np.euler_gamma + np.log(middle)) / np.log(base)
            error = np.abs(about / exact - 1.0)
            scores[f"{group}/log_error"] = float(error.max())
            far = np.arange(int(base), int(4 * base), max(1, int(base / 500)))
            beyond = np.abs(mean_cosine_limit(far, base=base))
            scores[f"{group}/beyond"] = float(beyond.max())
            bound = rotary_bound(np.array([0, 256]), theta)
            scores[f"{group}/bound_ratio"] = float(bound[1] / bound[0])
            near += [
                Series(f"base {group}", line, mean_cosine_limit(line, base=base)),
                Series(
                    f"base {group}, D = {self.size}", line, mean_cosine(line, theta)
                ),
            ]
            bounds.append(
                Series(
                    f"base {group}", np.arange(512), rotary_bound(np.arange(512), theta)
                )
            )
        return Measured(
            scores,
            [
                Curves(
                    "Mean cosine of two positions",
                    near,
                    "distance in tokens",
                    "mean cosine",
                    log_x=True,
                ),
                Curves("Bound of rotary scores", bounds, "distance in tokens", "B(d)"),
            ],
        )
