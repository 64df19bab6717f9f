"""Task: how far approximations of softmax attention are from it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.attention.nystrom import (
    landmark_attention,
    landmark_means,
    nystrom_attention,
)
from kexue_jax.attention.performer import (
    hyperbolic_features,
    iid_projection,
    orthogonal_projection,
    performer_attention,
    positive_features,
    trigonometric_features,
)
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.exhibits import Curves, Series
from kexue_jax.tasks.analysis import Analysis, Measured

WAYS = {
    "iid": (iid_projection, positive_features),
    "orthogonal": (orthogonal_projection, positive_features),
    "hyperbolic": (orthogonal_projection, hyperbolic_features),
    "trigonometric": (orthogonal_projection, trigonometric_features),
}
"""From a name to what draws a projection and what makes features with it."""


def _relative(found: jax.Array, exact: jax.Array) -> jax.Array:
    return jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)


def _mean_of_values(value: jax.Array) -> jax.Array:
    mean = jnp.mean(value.astype(jnp.float32), axis=1, keepdims=True)
    return jnp.broadcast_to(mean, value.shape)


def _bands(errors: Mapping[str, np.ndarray], x: Sequence[float]) -> list[Series]:
    """Medians and quartiles over draws of ``[draws, X]``, by name."""
    series = []
    for name, values in errors.items():
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
        series.append(Series(name, np.asarray(x, float), middle, low, high))
    return series


class RandomFeatureError(Analysis):
    """The error of FAVOR+ by the number of features, beside the mean of all values.

    Queries, keys and values are drawn anew, as is the projection. Scores, of medians
    over draws: ``<deviation>/<way>_<features>`` with the ways of `WAYS`, and
    ``<deviation>/mean``, the error of answering with the mean of the values.

    Args:
      length, head_size: of the sequence and of its heads.
      deviations: of the entries of queries and keys; those of values are 1.
      features: numbers of random features; hyperbolic and trigonometric ones make two
        numbers of each.
      draws: how many.
    """

    def __init__(
        self,
        *,
        length: int = 1024,
        head_size: int = 16,
        deviations: Sequence[float] = (0.5, 1.0),
        features: Sequence[int] = (16, 64, 256),
        draws: int = 20,
    ):
        if min(length, head_size, draws, *features) < 1:
            raise ValueError(
                "length, head_size, draws and features must be at least 1, got "
                f"{length}, {head_size}, {draws}, {tuple(features)}"
            )
        self.length, self.head_size, self.draws = length, head_size, draws
        self.deviations, self.features = tuple(deviations), tuple(features)
        self._errors = jax.jit(self._one)

    def _one(self, rng, deviation):
        """Errors of one draw by name; those of features are in their order."""
        *inputs, last = jax.random.split(rng, 4)
        shape = (1, self.length, 1, self.head_size)
        query, key, value = (jax.random.normal(draw, shape) for draw in inputs)
        query, key = deviation * query, deviation * key
        exact = softmax_attention(query, key, value)
        found = {"mean": _relative(_mean_of_values(value), exact)}
        for place, (name, (project, make)) in enumerate(WAYS.items()):
            errors = []
            for count in self.features:
                own = jax.random.fold_in(jax.random.fold_in(last, place), count)
                drawn = project(own, features=count, head_size=self.head_size)
                about = performer_attention(
                    query, key, value, projection=drawn, features=make
                )
                errors.append(_relative(about, exact))
            found[name] = jnp.stack(errors)
        return found

    def measure(self, rng: jax.Array) -> Measured:
        """Returns medians over draws, and curves by the number of features."""
        scores, exhibits = {}, []
        for place, deviation in enumerate(self.deviations):
            keys = jax.random.split(jax.random.fold_in(rng, place), self.draws)
            rows = [jax.device_get(self._errors(key, deviation)) for key in keys]
            found = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
            group = f"{deviation:g}"
            scores[f"{group}/mean"] = float(np.median(found["mean"]))
            for name in WAYS:
                middle = np.median(found[name], axis=0)
                for count, value in zip(self.features, middle, strict=True):
                    scores[f"{group}/{name}_{count}"] = float(value)
            mean = np.tile(found.pop("mean")[:, None], (1, len(self.features)))
            series = _bands(found | {"mean of the values": mean}, self.features)
            exhibits.append(
                Curves(
                    f"Error of FAVOR+, queries and keys of deviation {group}",
                    series,
                    "random features",
                    "relative error of the output",
                    log_x=True,
                    log_y=True,
                    note=f"Medians and quartiles of {self.draws} draws.",
                )
            )
        return Measured(scores, exhibits)


def _wandering(rng: jax.Array, length: int, size: int, correlation: float):
    """A stationary sequence ``[length, size]`` of variance 1, each token like the last.

    :math:`x_t = r x_{t-1} + (1 - r^2)^{1/2} e_t`.
    """
    noise = jax.random.normal(rng, (length, size))
    fresh = (1.0 - correlation**2) ** 0.5

    def advance(last, drawn):
        now = correlation * last + fresh * drawn
        return now, now

    _, rest = jax.lax.scan(advance, noise[0], noise[1:])
    return jnp.concatenate([noise[:1], rest])


def _with_exact_inverse(query, key, value, landmarks):
    """Nystrom attention with the pseudo-inverse by singular values, and no filter."""
    scale = query.shape[-1] ** -0.5
    near = [landmark_means(x, landmarks=landmarks)[0, :, 0] for x in (query, key)]
    query, key, value = (x[0, :, 0] for x in (query, key, value))

    def weights(left, right):
        return jax.nn.softmax(scale * jnp.matmul(left, right.T), axis=-1)

    middle = jnp.linalg.pinv(weights(*near), rtol=1e-6)
    found = jnp.matmul(weights(near[0], key), value)
    found = jnp.matmul(weights(query, near[1]), jnp.matmul(middle, found))
    return found[None, :, None]


class LandmarkError(Analysis):
    """The error of Nystrom attention by its iterations, on smooth and rough sequences.

    Sequences are ``same`` (one smooth sequence is query, key and value), ``smooth``
    (three random projections of it) and ``rough`` (independent tokens). Scores, of
    medians over draws: ``<sequence>/pinv_<iterations>``, ``<sequence>/exact`` with the
    true pseudo-inverse, ``<sequence>/none`` without the middle matrix and
    ``<sequence>/mean`` for the mean of the values.

    Args:
      length, head_size: of the sequence and of its head.
      landmarks: how many.
      correlation: of neighbouring tokens of the smooth sequence.
      iterations: those of the inverse that are tried.
      draws: how many.
    """

    def __init__(
        self,
        *,
        length: int = 512,
        head_size: int = 64,
        landmarks: int = 64,
        correlation: float = 0.98,
        iterations: Sequence[int] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        draws: int = 8,
    ):
        if draws < 1 or not iterations:
            raise ValueError(
                f"draws and iterations must not be empty, got {draws}, {iterations}"
            )
        self.length, self.head_size, self.landmarks = length, head_size, landmarks
        self.correlation, self.draws = correlation, draws
        self.iterations = tuple(iterations)
        self._errors = jax.jit(self._one, static_argnums=1)

    def _inputs(self, rng, kind):
        keys = jax.random.split(rng, 4)
        shape = (self.length, self.head_size)
        if kind == "rough":
            found = [jax.random.normal(key, shape) for key in keys[:3]]
        else:
            whole = _wandering(keys[3], *shape, self.correlation)
            found = [whole] * 3
        if kind == "smooth":
            size = self.head_size
            maps = (
                jax.random.normal(key, (size, size)) * size**-0.5 for key in keys[:3]
            )
            found = [jnp.matmul(whole, project) for project in maps]
        return [x[None, :, None] for x in found]

    def _one(self, rng, kind):
        query, key, value = self._inputs(rng, kind)
        exact = softmax_attention(query, key, value)
        near = partial(nystrom_attention, query, key, value, landmarks=self.landmarks)
        errors = [_relative(near(iterations=n), exact) for n in self.iterations]
        none = landmark_attention(query, key, value, landmarks=self.landmarks)
        return {
            "pinv": jnp.stack(errors),
            "exact": _relative(
                _with_exact_inverse(query, key, value, self.landmarks), exact
            ),
            "none": _relative(none, exact),
            "mean": _relative(_mean_of_values(value), exact),
        }

    def measure(self, rng: jax.Array) -> Measured:
        """Returns medians over draws, and curves by the number of iterations."""
        scores: dict[str, float] = {}
        shown: dict[str, Any] = {}
        for place, kind in enumerate(("same", "smooth", "rough")):
            keys = jax.random.split(jax.random.fold_in(rng, place), self.draws)
            rows = [jax.device_get(self._errors(key, kind)) for key in keys]
            found = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
            shown[kind] = found["pinv"]
            for name in ("exact", "none", "mean"):
                scores[f"{kind}/{name}"] = float(np.median(found[name]))
            middle = np.median(found["pinv"], axis=0)
            for count, value in zip(self.iterations, middle, strict=True):
                scores[f"{kind}/pinv_{count}"] = float(value)
        curves = Curves(
            "Error of Nystrom attention by the iterations of its inverse",
            _bands(shown, self.iterations),
            "iterations",
            "relative error of the output",
            log_y=True,
            note=f"Medians and quartiles of {self.draws} draws.",
        )
        return Measured(scores, [curves])
