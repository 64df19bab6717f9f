"""Task: what sparse masks cost, and in how many layers they reach everything."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.attention import masks
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.exhibits import Curves, Images, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured


def _square(mask) -> np.ndarray:
    return np.asarray(mask)[0, 0]


def _layers(seen: np.ndarray) -> int:
    """How many layers let every place reach every place; 0 if none do."""
    reached = seen
    for layer in range(1, len(seen) + 1):
        if reached.all():
            return layer
        further = (reached.astype(np.float32) @ seen.astype(np.float32)) > 0
        if (further == reached).all():
            return 0
        reached = further
    return 0


def _pairs_of_union(length: int, rate: int) -> int:
    """How many pairs `sparse_mask` keeps, counted by distance and not in a matrix."""
    distance = np.arange(length)
    kept = (distance <= rate) | (distance % rate == 0)
    pairs = kept * (length - distance) * np.where(distance > 0, 2, 1)
    return int(pairs.sum())


class MaskReach(Analysis):
    """Local, atrous and joined masks: pairs, layers, and what gradients really reach.

    Scores, for ``local``, ``atrous`` and ``union`` at `length` and `rate`:
    ``<mask>/pairs``, those it keeps; ``<mask>/layers``, how many layers of it reach
    every place from every place (0: never). ``chain/layers`` is 2 if a local layer and
    an atrous one do. ``gradient/wrong`` counts pairs whose derivative through two
    layers of attention is zero although the masks connect them, or not although they
    do not. ``union/best_rate`` is the cheapest rate at the greatest of `lengths`, and
    ``union/exponent`` the growth of the least number of pairs.

    Args:
      length: T of the masks that are drawn and tried.
      rate: k, radius of the neighbourhood and step of the comb.
      lengths: for which the cheapest rate is sought.
    """

    def __init__(
        self,
        *,
        length: int = 48,
        rate: int = 6,
        lengths: Sequence[int] = (256, 1024, 4096, 16384),
    ):
        self.length, self.rate, self.lengths = length, rate, tuple(lengths)

    def _connected(self, rng, layers):
        """Which places have a derivative through random layers with these masks."""
        size, (*keys, last) = 8, jax.random.split(rng, len(layers) + 1)
        start = jax.random.normal(last, (self.length, size))

        def network(stream):
            for key, mask in zip(keys, layers, strict=True):
                kernels = jax.random.normal(key, (3, size, size)) / size**0.5
                query, keyed, value = (
                    (stream @ kernel)[None, :, None] for kernel in kernels
                )
                mixed = softmax_attention(query, keyed, value, mask[None, None])
                stream = stream + mixed[0, :, 0]
            return stream

        slope = jax.jit(jax.jacrev(network))(start)
        return np.asarray(jnp.abs(slope).max(axis=(1, 3)) > 0)

    def measure(self, rng: jax.Array) -> Measured:
        """Returns the scores, the masks as pictures, and what the cheapest costs."""
        n, k = self.length, self.rate
        kinds = {
            "local": _square(masks.local_mask(n, n, radius=k)),
            "atrous": _square(masks.atrous_mask(n, n, rate=k)),
            "union": _square(masks.sparse_mask(n, n, rate=k)),
        }
        scores = {}
        for name, seen in kinds.items():
            scores[f"{name}/pairs"] = int(seen.sum())
            scores[f"{name}/layers"] = _layers(seen)
        chain = (kinds["local"].astype(int) @ kinds["atrous"].astype(int)) > 0
        scores["chain/layers"] = 2 if chain.all() else 0
        wrong = 0
        for first, second in (
            ("local", "local"),
            ("atrous", "atrous"),
            ("local", "atrous"),
        ):
            layers = [kinds[first], kinds[second]]
            found = self._connected(rng, [jnp.asarray(x) for x in layers])
            reach = np.eye(n, dtype=int)
            for seen in layers:  # the stream goes on beside the attention
                reach = (np.eye(n, dtype=int) + seen) @ reach
            wrong += int((found != (reach > 0)).sum())
        scores["gradient/wrong"] = wrong
        cheapest = []
        for length in self.lengths:
            rates = np.arange(1, 4 * int(length**0.5))
            costs = [_pairs_of_union(length, int(rate)) for rate in rates]
            cheapest.append((int(rates[np.argmin(costs)]), min(costs)))
        x, y = np.log(self.lengths), np.log([cost for _, cost in cheapest])
        scores["union/exponent"] = float(np.polyfit(x, y, 1)[0])
        scores["union/best_rate"] = cheapest[-1][0]
        return Measured(scores, [self._gallery(rng), *self._costs(scores, cheapest)])

    def _gallery(self, rng) -> Images:
        n, k = min(self.length, 24), 4
        half = jnp.arange(n)[None] >= n // 2
        document = jnp.repeat(jnp.arange(3), n // 3)[None]
        order = jax.random.permutation(rng, n)[None]
        every = {
            "causal": masks.causal_mask(n, n),
            "prefix": masks.prefix_mask(n, n // 3),
            "UniLM": masks.unilm_mask(half.astype(jnp.int32)),
            "permutation": masks.permutation_mask(order),
            "packed documents": masks.same_document_mask(document, document),
            "local": masks.local_mask(n, n, radius=k),
            "atrous": masks.atrous_mask(n, n, rate=k),
            "local and atrous": masks.sparse_mask(n, n, rate=k),
            "window, causal": masks.window_mask(n, n, window=k),
            "Big Bird": masks.block_sparse_mask(
                n, rng, block=3, window=1, global_blocks=1, random_blocks=1
            ),
        }
        return Images(
            "Masks",
            np.stack([np.where(_square(m), 0.2, 0.88) for m in every.values()]),
            columns=5,
            labels=tuple(every),
            note="Rows are queries and columns keys; what is dark is seen.",
        )

    def _costs(self, scores, cheapest):
        lengths = np.array(self.lengths)
        rows = [
            (name, scores[f"{name}/pairs"], scores[f"{name}/layers"] or "never")
            for name in ("local", "atrous", "union")
        ]
        costs = np.array([cost for _, cost in cheapest], np.float64)
        return (
            Table(
                f"At {self.length} tokens and rate {self.rate}",
                ("mask", "pairs", "layers to reach all"),
                rows,
            ),
            Curves(
                "The cheapest mask that reaches everything in two layers",
                [
                    Series("local and atrous, best rate", lengths, costs),
                    Series("all pairs", lengths, lengths.astype(np.float64) ** 2),
                ],
                "tokens",
                "pairs",
                log_x=True,
                log_y=True,
            ),
        )
