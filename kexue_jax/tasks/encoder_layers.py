"""Task: which layer of an encoder, and which pooling, makes vectors of sentences."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.nearest import cosine_similarity
from kexue_jax.algorithms.pooling import first_token, mean_of_tokens
from kexue_jax.algorithms.whitening import apply, empty_moments, fit, update
from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.metrics.correlation import spearman
from kexue_jax.tasks.analysis import Analysis, Measured
from kexue_jax.tasks.encoded_pairs import EncodedTexts


@jax.jit
def poolings(
    layers: tuple[jax.Array, ...], kept: jax.Array, pooled: jax.Array
) -> dict[str, jax.Array]:
    """Returns vectors ``[B, D]`` of sentences by the name of their pooling.

    ``mean_0`` is the mean of the embeddings of all tokens, ``mean_1`` that of the first
    block's states and so on; ``first_last`` half of the first and the last block's;
    ``first_token`` the last state of [CLS]; ``pooler`` its map without activation.

    Source: https://kexue.fm/archives/8321, there P3, P4, P1 and P2
    """
    means = [mean_of_tokens(states, kept) for states in layers]
    found = {f"mean_{layer}": mean for layer, mean in enumerate(means)}
    return found | {
        "first_last": 0.5 * (means[1] + means[-1]),
        "first_token": first_token(layers[-1], kept),
        "pooler": pooled,
    }


class EncoderLayers(Analysis):
    """Rank correlation of cosines with the scores of people, by layer and pooling.

    Statistics of whitening are those of both sides of all pairs, without their scores.
    Scores, 100 times Spearman's correlation, for each of `poolings`: ``raw/<pooling>``,
    ``centred/<pooling>``, ``whitened/<pooling>`` and, of the k strongest whitened
    components, ``kept_<k>/<pooling>``. ``apart/<pooling>`` is the mean cosine of
    sentences that are not a pair, times 100.

    Args:
      texts: sentences and the encoder.
      kept: how many components are kept.
    """

    def __init__(self, *, texts: EncodedTexts, kept: Sequence[int] = (64, 256)):
        size = texts.features
        if not kept or min(kept) < 1 or max(kept) > size:
            raise ValueError(f"kept must be from 1 to {size}, got {tuple(kept)}")
        self._texts, self.kept = texts, tuple(kept)

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the sentences and the encoder are."""
        texts = self._texts
        about = {"pairs": len(texts.score), "texts_sha256": texts.digest}
        return super().fingerprint() | about

    def _vectors(self) -> dict[str, np.ndarray]:
        """Vectors ``[N, D]`` of all sentences by the name of their pooling."""
        found: dict[str, np.ndarray] = {}
        for batch in self._texts.batches():
            for name, rows in poolings(batch.layers, batch.kept, batch.pooled).items():
                if name not in found:
                    shape = self._texts.size, rows.shape[1]
                    found[name] = np.zeros(shape, np.float32)
                found[name][batch.texts] = np.asarray(rows)[: len(batch.texts)]
        return found

    def measure(self, rng: jax.Array) -> Measured:
        """Returns correlations, a table and two diagrams; nothing is random."""
        del rng
        texts, gold = self._texts, jnp.asarray(self._texts.score, jnp.float32)
        groups = ["raw", "centred", "whitened", *(f"kept_{k}" for k in self.kept)]
        found, rows = {}, []
        for name, vectors in self._vectors().items():
            sides = [jnp.asarray(vectors[side]) for side in (texts.first, texts.second)]
            for group, value in self._ranks(*sides, gold).items():
                found[group, name] = value
            other = jnp.roll(sides[1], len(sides[1]) // 2, axis=0)
            near = cosine_similarity(sides[0], other)
            found["apart", name] = 100 * float(jnp.mean(near))
            rows.append((name, *(round(found[g, name], 1) for g in (*groups, "apart"))))
        means = [name for _, name in found if name.startswith("mean_")]
        layers = np.arange(len(dict.fromkeys(means)))
        return Measured(
            {f"{group}/{name}": value for (group, name), value in found.items()},
            [
                Table(
                    "Rank correlation, and mean cosine of other pairs, times 100",
                    ("pooling", *groups, "apart"),
                    rows,
                ),
                *(
                    Curves(
                        title,
                        [
                            Series(
                                group,
                                layers,
                                np.array([found[group, f"mean_{n}"] for n in layers]),
                            )
                            for group in shown
                        ],
                        "layer",
                        label,
                    )
                    for title, label, shown in (
                        ("Means of tokens by layer", "Spearman, times 100", groups),
                        ("How near are others", "cosine, times 100", ["apart"]),
                    )
                ),
            ],
        )

    def _ranks(self, x, y, gold) -> dict[str, float]:
        size = x.shape[1]
        moments = empty_moments(size)
        for side in (x, y):
            moments = update(moments, side)

        def after(k, gamma):
            made = fit(moments, k, gamma=gamma)
            near = cosine_similarity(apply(made, x), apply(made, y))
            return 100 * float(spearman(near, gold))

        return {
            "raw": 100 * float(spearman(cosine_similarity(x, y), gold)),
            "centred": after(size, 0.0),
            "whitened": after(size, 1.0),
            **{f"kept_{k}": after(k, 1.0) for k in self.kept},
        }
