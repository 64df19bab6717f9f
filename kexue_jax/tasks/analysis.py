"""Task: something is measured and shown; there is nothing to train."""

from typing import Any, NamedTuple

import jax

from kexue_jax.exhibits import Exhibit


class Measured(NamedTuple):
    """What an analysis found: `scores` by ``group/name``, and what shows them."""

    scores: dict[str, float]
    exhibits: list[Exhibit]


class Analysis:
    """A task for ``steps = 0``: one measurement, scored and shown.

    Those who inherit it set their numbers as attributes, which are the fingerprint, and
    give `measure`, in which all that is random comes from the key.
    """

    _last: tuple[bytes, Measured] | None = None

    def measure(self, rng: jax.Array) -> Measured:
        """Returns scores and exhibits, a function of the key and the settings."""
        raise NotImplementedError

    def init(self, rng: jax.Array) -> tuple[dict, dict[str, jax.Array]]:
        """Returns no params, and the key that everything is drawn from."""
        return {}, {"rng": rng}

    def batch(self, step: int) -> dict:
        """Nothing is trained."""
        raise NotImplementedError("this task has nothing to train: set steps to 0")

    def loss(self, params: Any, extras: Any, batch: Any, rng: Any) -> Any:
        """Nothing is trained."""
        raise NotImplementedError("this task has nothing to train: set steps to 0")

    def _measured(self, extras) -> Measured:
        """Measures once for each key."""
        key = jax.device_get(jax.random.key_data(extras["rng"])).tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self.measure(extras["rng"])
        return self._last[1]

    def evaluate(self, params: Any, extras: Any) -> dict[str, float]:
        """Returns the scores."""
        return {k: float(v) for k, v in self._measured(extras).scores.items()}

    def exhibits(self, params: Any, extras: Any) -> list[Exhibit]:
        """Returns what the measurement shows."""
        return self._measured(extras).exhibits

    def fingerprint(self) -> dict[str, Any]:
        """Returns the settings: all plain attributes with public names."""
        plain = (bool, int, float, str, tuple)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in sorted(vars(self).items())
            if not name.startswith("_") and isinstance(value, plain)
        }
