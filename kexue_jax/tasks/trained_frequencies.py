"""Task: what training does to frequencies of positions and to what they act on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Curves, Exhibit, Series
from kexue_jax.tasks.token_prediction import Prediction, TokenPrediction

FREQUENCIES = "log_frequencies"  # the parameter of nn.positions:TrainedRotary


def diagonal_dominance(matrices: np.ndarray) -> float:
    """Returns the mean size of the diagonal over that of all other entries.

    Args:
      matrices: ``[..., D, D]``, D at least 2; means are over leading axes, too.
    """
    diagonal = np.abs(np.diagonal(matrices, axis1=-2, axis2=-1))
    rest = np.abs(matrices).sum() - diagonal.sum()
    rest /= matrices.size - diagonal.size
    return float(diagonal.mean() / max(rest, np.finfo(np.float32).tiny))


class TrainedFrequencies(TokenPrediction):
    r"""Token prediction that watches frequencies, embeddings and pairs of places.

    More scores:

    - ``frequencies/moved``, the mean of :math:`|\ln\theta - \ln\theta_0|` over pairs of
      features and layers, and ``frequencies/moved_most``; absent if they are fixed;
    - ``embedding/dominance``, that of the covariance of the vectors of tokens that
      occur in text held out, and ``embedding/dominance_at_first``, of vectors as they
      are drawn before training;
    - ``pairs/dominance``, that of the derivatives by the vectors at two places of the
      loss of the last target, over windows held out; ``pairs/mean_dominance``, that of
      their mean over windows.
    """

    def __init__(
        self,
        *,
        data: Prediction,
        model: Callable[..., Any],
        windows: int = 16,
        read: int = 32,
    ):
        """Makes the task.

        Args:
          data: what there is to predict.
          model: a `Transformer` whose scores have a table of their own.
          windows: how many of those held out the pairs are taken from.
          read: tokens at the end of a window that are read for them.

        Raises:
          ValueError: if the model's scores are by the vectors of the tokens, or a
            window has fewer tokens.
        """
        super().__init__(data=data, model=model)
        self.windows, self.read = windows, read
        self.first = next(iter(data.held_out.values()))[0]
        params, _ = jax.eval_shape(self.init, jax.random.key(0))
        if "output" not in params["vocabulary"]:
            raise ValueError("model must not be tied: tokens' vectors are varied alone")
        if self.first["tokens"].shape[1] < read:
            raise ValueError(
                f"read must be at most the {self.first['tokens'].shape[1]} tokens of a "
                f"window, got {read}"
            )

    def _frequencies(self, params) -> np.ndarray | None:
        """Returns logarithms of frequencies ``[layers, H / 2]``; None if untrained."""
        found = [
            np.asarray(leaf, np.float64)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
            if FREQUENCIES in jax.tree_util.keystr(path)
        ]
        return np.stack(found) if found else None

    def _moved(self, params) -> np.ndarray | None:
        """Changes of the logarithms since the beginning, which no key changes."""
        now = self._frequencies(params)
        if now is None:
            return None
        return now - self._frequencies(self.init(jax.random.key(0))[0])

    def _interactions(self, params, extras) -> np.ndarray:
        """Returns ``[windows, pairs, D, D]`` of mixed second derivatives."""
        own = params["vocabulary"]
        places = np.arange(self.read)

        def loss(vectors, target):  # tokens 0, 1, 2, ... have these vectors
            varied = params | {"vocabulary": own | {"embedding": vectors}}
            logits, _ = self.apply(varied, extras, places[None])
            return -jax.nn.log_softmax(logits[0, -1])[target]

        def mixed(vectors, target, first, second):
            def of(one, other):
                moved = vectors.at[first].add(one).at[second].add(other)
                return loss(moved, target)

            zero = jnp.zeros(vectors.shape[-1])
            return jax.jacfwd(jax.grad(of, 0), 1)(zero, zero)

        half = self.read // 2  # pairs at distances 1, 2, 4, ... from the middle on
        seconds = half + 2 ** np.arange(int(np.ceil(np.log2(self.read - half))))
        pairs = jax.vmap(mixed, (None, None, None, 0))
        every = jax.jit(jax.vmap(pairs, (0, 0, None, None)))
        tokens = self.first["tokens"][: self.windows, -self.read :]
        targets = self.first["targets"][: self.windows, -1]
        vectors = own["embedding"][tokens]
        return np.asarray(every(vectors, targets, half, seconds), np.float64)

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns loss and accuracy, and what is watched."""
        scores, moved = super().evaluate(params, extras), self._moved(params)
        if moved is not None:
            scores["frequencies/moved"] = float(np.abs(moved).mean())
            scores["frequencies/moved_most"] = float(np.abs(moved).max())
        first, _ = self.init(jax.random.key(0))
        seen = np.unique(self.first["tokens"])
        now, then = (
            np.cov(np.asarray(p["vocabulary"]["embedding"])[seen], rowvar=False)
            for p in (params, first)
        )
        pairs = self._interactions(params, extras)
        return scores | {
            "embedding/dominance": diagonal_dominance(now),
            "embedding/dominance_at_first": diagonal_dominance(then),
            "pairs/dominance": diagonal_dominance(pairs),
            "pairs/mean_dominance": diagonal_dominance(pairs.mean(axis=0)),
        }

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns those of token prediction and how each frequency has moved."""
        found, moved = super().exhibits(params, extras), self._moved(params)
        if moved is None:
            return found
        start = np.exp(self._frequencies(params) - moved)
        series = [
            Series(f"layer {layer + 1}", theta, change)
            for layer, (theta, change) in enumerate(zip(start, moved, strict=True))
        ]
        return [
            *found,
            Curves(
                "Change of the logarithm of each frequency",
                series,
                x_label="radians a token at the beginning",
                y_label="change",
                log_x=True,
            ),
        ]
