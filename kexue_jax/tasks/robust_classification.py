"""Task: classification, also of inputs that were moved against the model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Curves, Exhibit, Series
from kexue_jax.losses.adversarial import uphill_change
from kexue_jax.tasks.classification import Classification


class RobustClassification(Classification):
    """A `Classification` that reports accuracy under attacks of several radii."""

    def __init__(
        self,
        *,
        radii: tuple[float, ...],
        norm: str = "l2",
        attack_steps: int = 10,
        **options: Any,
    ):
        """Makes the task.

        Args:
          radii: of the attacks, each scored as ``valid/accuracy_at_<radius>``.
          norm: ``"l2"`` or ``"linf"``, in which they are measured.
          attack_steps: ascents of projected gradients for each example.
          options: of `Classification`.

        Raises:
          ValueError: if a radius is not positive or there is none.
        """
        if not radii or min(radii) <= 0:
            raise ValueError(f"radii must be some positive numbers, got {tuple(radii)}")
        super().__init__(**options)
        self.radii, self.norm, self.attack_steps = tuple(radii), norm, attack_steps
        self._withstood = jax.jit(self._under_attack, static_argnames="radius")

    def _under_attack(self, params, extras, batch, radius):
        """Whether each example is still told right: ``[B]``."""

        def loss(inputs):
            return self.loss(params, extras, batch | {"inputs": inputs}, None)[0]

        change = uphill_change(
            loss,
            jnp.asarray(batch["inputs"]),
            radius=radius,
            norm=self.norm,
            steps=self.attack_steps,
        )
        found, _ = self._all(params, extras, batch["inputs"] + change)
        return jnp.argmax(found, axis=-1) == batch["label"]

    def _accuracies(self, params, extras) -> dict[float, float]:
        found = {}
        for radius in self.radii:
            rows = []
            for batch in self.data.held_out:
                plain = {name: batch[name] for name in ("inputs", "label")}
                right = self._withstood(params, extras, plain, radius=radius)
                rows.append(np.asarray(right)[batch["weight"] > 0])
            found[radius] = float(np.concatenate(rows).mean())
        return found

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns the scores of `Classification` and accuracy at each radius."""
        found = self._accuracies(params, extras)
        return super().evaluate(params, extras) | {
            f"valid/accuracy_at_{radius:g}": value for radius, value in found.items()
        }

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns accuracy by radius, then what `Classification` shows."""
        found = self._accuracies(params, extras)
        plain = super().evaluate(params, extras)["valid/accuracy"]
        curve = Curves(
            "Accuracy under attack",
            [
                Series(
                    "held out",
                    np.array([0.0, *found]),
                    np.array([plain, *found.values()]),
                )
            ],
            f"radius ({self.norm})",
            "accuracy",
        )
        return [curve, *super().exhibits(params, extras)]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the data and the attacks are."""
        attacks = {
            "radii": str(self.radii),
            "norm": self.norm,
            "attack_steps": self.attack_steps,
        }
        return super().fingerprint() | attacks
