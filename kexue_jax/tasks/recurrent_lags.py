"""Task: how many steps a recurrent cell learns to remember, and what comes back."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Curves, Exhibit, Series, Table
from kexue_jax.nn.functional import functional

SOLVED = 0.95
"""From this accuracy on, a lag counts as solved."""

COLUMNS = ("accuracy", "first", "last")


class Delayed(Protocol):
    """Batches with ``tokens``, ``kept`` ``[B, L, T]`` and ``label`` ``[B, L]``."""

    @property
    def lags(self) -> Sequence[int]: ...
    @property
    def symbols(self) -> int: ...
    @property
    def others(self) -> int: ...
    @property
    def source(self) -> Callable[[int], dict[str, np.ndarray]]: ...
    @property
    def held_out(self) -> dict[str, np.ndarray]: ...
    def fingerprint(self) -> dict[str, Any]: ...


class RecurrentLags:
    """The sum of the losses of nets that share nothing, some for each lag.

    Under an optimizer that treats each parameter alone, such as Adam, every net is
    trained as if it were alone.
    """

    def __init__(self, *, data: Delayed, model: Callable[..., Any], repeats: int = 2):
        """Makes the task.

        Args:
          data: sequences of several lags.
          model: called as ``model(columns, classes, rngs=...)``; takes ``[B, T, D]``
            and a mask ``[B, T]``, and has a method ``gradients``.
          repeats: nets of each lag, which read the same batches.

        Raises:
          ValueError: if `repeats` is below 1.
        """
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        self.data, self.batch, self.repeats = data, data.source, repeats
        self.columns = data.symbols + data.others
        self._make, self._apply = functional(partial(model, self.columns, data.symbols))
        self._each = jax.jit(self._nets)
        self._hits = jax.jit(lambda *args: self._losses(*args)[1])
        self._sizes = jax.jit(self._gradients)

    def _nets(self, rng):
        """Nets with axes of lags and repeats in front."""
        shape = (len(self.data.lags), self.repeats)
        params, extras = jax.vmap(jax.vmap(self._make))(jax.random.split(rng, shape))
        if extras:
            raise ValueError(f"a net must keep nothing but weights, got {extras}")
        return params

    def init(self, rng):
        """Returns the nets, and the key that they were drawn with."""
        return self._each(rng), {"rng": rng}

    def _losses(self, params, batch):
        """Losses in nats and whether right, ``[L, R, B]``."""

        def one(params, tokens, kept, label):
            inputs = jax.nn.one_hot(tokens, self.columns)
            scores, _ = self._apply(params, {}, inputs, kept)
            nll = optax.softmax_cross_entropy_with_integer_labels(scores, label)
            return nll, jnp.argmax(scores, axis=-1) == label

        repeated = jax.vmap(one, (0, None, None, None))
        return jax.vmap(repeated, (0, 1, 1, 1))(
            params, batch["tokens"], batch["kept"], batch["label"]
        )

    def loss(self, params, extras, batch, rng):
        """Sum over nets of the mean cross-entropy in nats; nothing is drawn."""
        del rng
        nll, right = self._losses(params, batch)
        scores = {"loss": jnp.mean(nll), "accuracy": jnp.mean(right)}
        return jnp.sum(jnp.mean(nll, axis=-1)), (extras, scores)

    def _gradients(self, params, batch):
        """Mean sizes by state, ``[R, T + 1]``, of the nets of one lag."""

        def one(params, tokens, label):
            inputs = jax.nn.one_hot(tokens, self.columns)
            sizes, _ = self._apply(params, {}, inputs, label, method="gradients")
            return jnp.mean(sizes, axis=0)

        return jax.vmap(one, (0, None, None))(params, batch["tokens"], batch["label"])

    def _decays(self, params):
        """For each lag, ``[R, lag + 1]``: the gradient by distance, over its first."""
        found, batch = [], self.data.held_out
        for place, lag in enumerate(self.data.lags):
            rows = {
                "tokens": batch["tokens"][:, place, -lag - 1 :],
                "label": batch["label"][:, place],
            }
            own = jax.tree.map(lambda x, place=place: x[place], params)
            sizes = np.asarray(self._sizes(own, rows), np.float64)[:, :0:-1]
            found.append(sizes / sizes[:, :1])
        return found

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns scores of each lag, and the longest that every net of it solves.

        ``lag_<lag>/accuracy`` is a mean over nets. ``lag_<lag>/first`` and ``/last``
        are how much of the gradient by the last state reaches the state that has just
        read the symbol, before training and now: decimal logarithms of the median over
        nets, at least -30. ``all/solved`` is the longest lag with at least `SOLVED` in
        each of its nets, of those below which none fails; 0 if none.
        """
        right = np.asarray(self._hits(params, self.data.held_out)).mean(axis=-1)
        lags = list(self.data.lags)
        scores = {f"lag_{lag}/accuracy": right[i].mean() for i, lag in enumerate(lags)}
        for name, nets in (("first", self._each(extras["rng"])), ("last", params)):
            for lag, sizes in zip(lags, self._decays(nets), strict=True):
                reached = max(float(np.median(sizes[:, lag])), 1e-30)
                scores[f"lag_{lag}/{name}"] = np.log10(reached)
        solved = 0
        for place in np.argsort(lags):
            if right[place].min() < SOLVED:
                break
            solved = lags[place]
        scores["all/solved"] = solved
        return {name: float(value) for name, value in scores.items()}

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns scores by lag, and the gradient by distance at first and at last."""
        scores, shown = self.evaluate(params, extras), []
        rows = [
            (lag, *(round(scores[f"lag_{lag}/{x}"], 3) for x in COLUMNS))
            for lag in self.data.lags
        ]
        shown.append(Table("Lags", ("lag", *COLUMNS), rows))
        for title, nets in (
            ("Gradient by distance, before training", self._each(extras["rng"])),
            ("Gradient by distance, after training", params),
        ):
            series = []
            for lag, sizes in zip(self.data.lags, self._decays(nets), strict=True):
                sizes = np.maximum(sizes, 1e-30)
                line = Series(
                    f"lag {lag}",
                    np.arange(sizes.shape[1], dtype=float),
                    np.median(sizes, axis=0),
                    sizes.min(axis=0),
                    sizes.max(axis=0),
                )
                series.append(line)
            shown.append(
                Curves(
                    title,
                    series,
                    x_label="steps before the end",
                    y_label="size over that at the end",
                    log_y=True,
                )
            )
        return shown

    def fingerprint(self) -> dict[str, Any]:
        """Returns what the data are."""
        return self.data.fingerprint()
