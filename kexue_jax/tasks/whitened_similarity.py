"""Task: cosines of mean word vectors before and after whitening; nothing is trained."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.nearest import cosine_similarity
from kexue_jax.algorithms.whitening import apply, empty_moments, fit, update
from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.metrics.correlation import spearman
from kexue_jax.tasks.analysis import Analysis, Measured
from kexue_jax.tasks.text_similarity import Pairs


class WhitenedSimilarity(Analysis):
    r"""Rank correlation of cosines with the scores of people, by what is whitened.

    Sentences are the means of their words' vectors, and statistics are those of both
    sides of all pairs, without their scores. Scores, 100 times Spearman's correlation:
    ``plain/raw``; ``plain/centred`` (:math:`\beta = 1, \gamma = 0`);
    ``power/<gamma>`` with all components; ``kept/<k>`` of whitened components, the
    strongest ones, and ``turned/<k>`` of the same without whitening or centring.

    Args:
      pairs: sentences that have at least one word each.
      powers: :math:`\gamma`, from 0 to 1.
      kept: how many components are kept.
    """

    def __init__(
        self,
        *,
        pairs: Pairs,
        powers: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        kept: Sequence[int] = (8, 12, 16, 20, 25),
    ):
        size = pairs.first.shape[-1]
        if not kept or min(kept) < 1 or max(kept) > size:
            raise ValueError(f"kept must be from 1 to {size}, got {tuple(kept)}")
        self._pairs, self.powers, self.kept = pairs, tuple(powers), tuple(kept)

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the pairs are."""
        return super().fingerprint() | self._pairs.fingerprint()

    def _means(self) -> list[jax.Array]:
        pairs = self._pairs
        return [
            jnp.asarray(
                np.einsum("bm,bmd->bd", w, x) / np.maximum(w.sum(1, keepdims=True), 1.0)
            )
            for x, w in (
                (pairs.first, pairs.first_weight),
                (pairs.second, pairs.second_weight),
            )
        ]

    def measure(self, rng: jax.Array) -> Measured:
        """Returns correlations, a table and two diagrams; nothing is random."""
        del rng
        sides, gold = self._means(), jnp.asarray(self._pairs.score, jnp.float32)
        moments = empty_moments(sides[0].shape[1])
        for side in sides:
            moments = update(moments, side)

        def rank(*vectors):
            return 100 * float(spearman(cosine_similarity(*vectors), gold))

        def after(k, beta, gamma):
            made = fit(moments, k, beta=beta, gamma=gamma)
            return rank(*(apply(made, side) for side in sides))

        size = sides[0].shape[1]
        scores = {"plain/raw": rank(*sides), "plain/centred": after(size, 1.0, 0.0)}
        scores |= {f"power/{g:g}": after(size, 1.0, g) for g in self.powers}
        scores |= {f"kept/{k}": after(k, 1.0, 1.0) for k in self.kept}
        scores |= {f"turned/{k}": after(k, 0.0, 0.0) for k in self.kept}
        variance = np.asarray(fit(moments).variance)
        rows = [(name, round(value, 1)) for name, value in scores.items()]
        kept = np.array(self.kept)
        return Measured(
            scores,
            [
                Table("Rank correlation, times 100", ("vectors", "Spearman"), rows),
                Curves(
                    "By the components that are kept",
                    [
                        Series(
                            label, kept, np.array([scores[f"{kind}/{k}"] for k in kept])
                        )
                        for kind, label in (
                            ("kept", "whitened"),
                            ("turned", "as they are"),
                        )
                    ],
                    "components",
                    "Spearman, times 100",
                ),
                Curves(
                    "Variances of the components",
                    [Series("variance", np.arange(1, size + 1), variance)],
                    "component",
                    "variance",
                    log_y=True,
                ),
            ],
        )
