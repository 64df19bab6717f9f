"""Task: attention over more keys, and distributions brought to an entropy."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.entropy_normalization import (
    entropy_normalized,
    softmax_entropy,
)
from kexue_jax.attention.entropy_invariant import entropy_scale
from kexue_jax.exhibits import Bars, Curves, Series
from kexue_jax.tasks.analysis import Analysis, Measured


class RetrievalByLength(Analysis):
    r"""The weight of one related key among n, with the usual scale and that of log n.

    A query is compared with one key at a given cosine and n - 1 unrelated ones, all of
    length :math:`\sqrt H`; each scale of the scores is tried on the same draws. Scores
    are means over draws, for the scales ``usual`` and ``log``:

    - ``<scale>/target_<n>``: the weight of the related key;
    - ``<scale>/entropy_<n>``: the entropy of all weights;
    - ``<scale>/unrelated_<n>``: the entropy where no key is related;
    - ``<scale>/target_range``: the difference over n of the first;
    - ``<scale>/unrelated_slope``: the growth of the last by that of log n.

    Args:
      head_size: H.
      cosine: of the query and the related key.
      lengths: numbers of keys.
      base: number of keys at which both scales agree.
      draws: how many.
    """

    def __init__(
        self,
        *,
        head_size: int = 64,
        cosine: float = 0.9,
        lengths: Sequence[int] = (64, 128, 256, 512, 1024, 4096),
        base: float = 512.0,
        draws: int = 200,
    ):
        if not 0.0 < cosine < 1.0 or min(lengths) < 2 or draws < 1:
            raise ValueError(
                "cosine must lie in (0, 1), lengths be at least 2 and draws at least "
                f"1; got {cosine}, {tuple(lengths)}, {draws}"
            )
        self.head_size, self.cosine, self.base = head_size, cosine, base
        self.lengths, self.draws = tuple(lengths), draws
        self._found = jax.jit(self._one, static_argnums=1)

    def _one(self, rng, length):
        """Weight of the related key and two entropies, by scale, over all draws."""
        keys = jax.random.normal(rng, (self.draws, length, self.head_size))
        # The query is the first axis, so a cosine is the first entry of a unit vector.
        cosines = keys[..., 0] / jnp.linalg.norm(keys, axis=-1)
        related = cosines.at[:, 0].set(self.cosine)
        usual = self.head_size**0.5
        factors = {
            "usual": usual,
            "log": usual * entropy_scale(jnp.float32(length), base=self.base),
        }
        found = {}
        for name, factor in factors.items():
            weights = jax.nn.softmax(factor * related, axis=-1)
            found[name] = {
                "target": jnp.mean(weights[:, 0]),
                "entropy": jnp.mean(softmax_entropy(factor * related)),
                "unrelated": jnp.mean(softmax_entropy(factor * cosines)),
            }
        return found

    def measure(self, rng: jax.Array) -> Measured:
        """Returns means over draws, and curves by the number of keys."""
        rows = [
            jax.device_get(self._found(jax.random.fold_in(rng, i), length))
            for i, length in enumerate(self.lengths)
        ]
        scores, series = {}, {"target": [], "unrelated": []}
        x, logs = np.array(self.lengths, float), np.log(self.lengths)
        for scale in ("usual", "log"):
            found = {
                name: np.array([row[scale][name] for row in rows], np.float64)
                for name in ("target", "entropy", "unrelated")
            }
            for name, values in found.items():
                for length, value in zip(self.lengths, values, strict=True):
                    scores[f"{scale}/{name}_{length}"] = float(value)
            scores[f"{scale}/target_range"] = float(np.ptp(found["target"]))
            slope = np.polyfit(logs, found["unrelated"], 1)[0] if len(x) > 1 else 0.0
            scores[f"{scale}/unrelated_slope"] = float(slope)
            for name, lines in series.items():
                lines.append(Series(f"{scale} scale", x, found[name]))
        limit = Series("log n", x, logs)
        return Measured(
            scores,
            [
                Curves(
                    "Weight of the one related key",
                    series["target"],
                    "keys",
                    "weight",
                    log_x=True,
                ),
                Curves(
                    "Entropy where no key is related",
                    [*series["unrelated"], limit],
                    "keys",
                    "nats",
                    log_x=True,
                ),
            ],
        )


def newton_from_one(logits: np.ndarray, target: float, steps: int) -> np.ndarray:
    r"""The iteration of the post, which begins anew at the power 1 in each step.

    .. math:: g = 1 + \frac{H^* - H}{H^2 - \mathbb{E} \log^2 p}, \quad
              p \leftarrow p^g / \textstyle\sum p^g

    Args:
      logits: ``[..., S]``.
      target: the entropy that is wanted.
      steps: how many.

    Returns:
      ``[..., S]`` float64, p; it can have lost the order of the logits, or be nan.

    Source: https://kexue.fm/archives/8829
    """

    def normalized(logs):
        logs = logs - logs.max(axis=-1, keepdims=True)
        return logs - np.log(np.exp(logs).sum(axis=-1, keepdims=True))

    logs = normalized(np.asarray(logits, np.float64))
    with np.errstate(all="ignore"):
        for _ in range(steps):
            weights = np.exp(logs)
            entropy = -np.sum(weights * logs, axis=-1)
            square = np.sum(weights * logs**2, axis=-1)
            power = 1.0 + (target - entropy) / (entropy**2 - square)
            logs = normalized(power[..., None] * logs)
    return np.exp(logs)


class EntropyTargets(Analysis):
    """How often a distribution reaches an entropy with its order kept.

    Distributions are softmaxes of normal logits. The bracketed solver and the iteration
    of the post get the same ones. Scores, shares over the grid: ``solver/right`` and
    ``iteration/right``; ``<way>/reversed``, right in entropy and wrong in order; and
    ``<way>/mild_right`` over deviations 1 to 2 and targets from half of the greatest.

    Args:
      size: entries of a distribution.
      deviations: of the logits.
      targets: shares of the greatest entropy.
      draws: distributions for each pair.
      steps: of the iteration of the post.
    """

    def __init__(
        self,
        *,
        size: int = 100,
        deviations: Sequence[float] = (0.1, 1.0, 2.0, 3.0, 4.0, 10.0),
        targets: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9, 0.99),
        draws: int = 200,
        steps: int = 30,
    ):
        if size < 2 or draws < 1 or steps < 1:
            raise ValueError(
                f"size must be at least 2, draws and steps 1; got {size}, {draws}, "
                f"{steps}"
            )
        self.size, self.draws, self.steps = size, draws, steps
        self.deviations, self.targets = tuple(deviations), tuple(targets)

    def _one(self, rng, deviation, share):
        """Whether right and whether reversed, ``[draws]`` each, by way."""
        logits = deviation * jax.random.normal(rng, (self.draws, self.size))
        target = share * float(np.log(self.size))
        given = np.asarray(logits)
        ways = {
            "solver": np.asarray(entropy_normalized(logits, target).weights),
            "iteration": newton_from_one(given, target, self.steps),
        }
        order, found = np.argsort(given, axis=-1), {}
        for name, weights in ways.items():
            weights = weights.astype(np.float64)
            logs = np.log(np.where(weights > 0, weights, 1.0))
            right = np.abs(-np.sum(weights * logs, axis=-1) - target) < 1e-3
            rising = np.diff(np.take_along_axis(weights, order, axis=-1), axis=-1)
            kept = np.all(rising >= 0.0, axis=-1)
            found[name] = {"right": right & kept, "reversed": right & ~kept}
        return found

    def measure(self, rng: jax.Array) -> Measured:
        """Returns shares over the grid, and bars by the deviation of the logits."""
        ways, kinds = ("solver", "iteration"), ("right", "reversed")
        shape = (len(self.deviations), len(self.targets))
        found = {(way, kind): np.zeros(shape) for way in ways for kind in kinds}
        for i, j in np.ndindex(*shape):
            key = jax.random.fold_in(jax.random.fold_in(rng, i), j)
            got = self._one(key, self.deviations[i], self.targets[j])
            for way, kind in found:
                found[way, kind][i, j] = got[way][kind].mean()
        scores = {f"{way}/{kind}": float(v.mean()) for (way, kind), v in found.items()}
        spread = np.array(self.deviations)
        mild = np.ix_((spread >= 1.0) & (spread <= 2.0), np.array(self.targets) >= 0.5)
        for way in ways:
            scores[f"{way}/mild_right"] = float(found[way, "right"][mild].mean())
        names = [f"{way}, {kind}" for way, kind in found]
        values = np.stack([v.mean(axis=1) for v in found.values()], axis=1)
        bars = Bars(
            "Distributions brought to their entropy",
            [f"deviation {s:g}" for s in self.deviations],
            names,
            values,
            "share",
        )
        return Measured(scores, [bars])
