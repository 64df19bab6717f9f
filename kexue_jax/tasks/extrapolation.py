"""Task: one trained model, read at other lengths by models with the same parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kexue_jax.exhibits import Curves, Exhibit, Series
from kexue_jax.tasks.token_prediction import Prediction, TokenPrediction


@dataclass(frozen=True)
class Part:
    """One of the sets that a prediction holds out, as a prediction of its own."""

    whole: Prediction
    name: str

    @property
    def vocabulary(self) -> int:
        """That of the whole."""
        return self.whole.vocabulary

    @property
    def source(self) -> Callable[[int], dict[str, np.ndarray]]:
        """That of the whole."""
        return self.whole.source

    @property
    def held_out(self) -> Mapping[str, Sequence[dict[str, np.ndarray]]]:
        """The one set."""
        return {self.name: self.whole.held_out[self.name]}

    def fingerprint(self) -> dict[str, str | int]:
        """That of the whole."""
        return self.whole.fingerprint()


class Extrapolation(TokenPrediction):
    """Token prediction, with more models to read what is held out.

    They share the parameters that are trained and differ in what has none, such as the
    frequencies of rotary positions or the scale of attention.
    """

    def __init__(
        self,
        *,
        data: Prediction,
        model: Callable[..., Any],
        readers: Mapping[str, Mapping[str, Callable[..., Any]]],
    ):
        """Makes the task.

        Args:
          data: what there is to predict.
          model: the model to train, as in `TokenPrediction`.
          readers: for each held-out set that they are to read, models by name. What
            they need to know of a length is theirs to be bound to.

        Raises:
          ValueError: if there is no such set, or a model has other parameters.
        """
        super().__init__(data=data, model=model)
        unknown = set(readers) - set(data.held_out)
        if unknown:
            raise ValueError(
                f"readers must be of the sets {', '.join(data.held_out)}; "
                f"got {', '.join(sorted(unknown))}"
            )
        own = jax.eval_shape(self.init, jax.random.key(0))
        self.readers: dict[str, dict[str, TokenPrediction]] = {}
        for name, models in readers.items():
            self.readers[name] = {}
            for reader, other in models.items():
                task = TokenPrediction(data=Part(data, name), model=other)
                if jax.eval_shape(task.init, jax.random.key(0)) != own:
                    raise ValueError(
                        f"reader {reader} of {name} must have the parameters of the "
                        "model that is trained; it has others"
                    )
                self.readers[name][reader] = task

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns ``<set>/loss``, and ``<set>/<reader>/loss`` of each reader of a set.

        The losses are in nats; each has an ``accuracy`` beside it.
        """
        scores = super().evaluate(params, extras)
        for name, tasks in self.readers.items():
            for reader, task in tasks.items():
                found = task.evaluate(params, extras)
                for kind in ("loss", "accuracy"):
                    scores[f"{name}/{reader}/{kind}"] = found[f"{name}/{kind}"]
        return scores

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns for each set the loss by place in the row, of every reader."""
        curves = []
        for name, batches in self.data.held_out.items():
            tasks = {"as trained": self, **self.readers.get(name, {})}
            series = [
                Series(reader, *task._by_place(params, extras, batches))
                for reader, task in tasks.items()
            ]
            curves.append(
                Curves(
                    f"Loss by place in the row: {name}",
                    series,
                    x_label="place",
                    y_label="nats a target",
                )
            )
        return curves
