"""Task: name a picture that is read row by row, and read no more rows than it takes."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Bars, Exhibit, Images
from kexue_jax.losses.score_function import score_function_loss
from kexue_jax.nn.functional import functional

Source = Callable[[int], dict[str, np.ndarray]]


class SkipReading:
    """Cross-entropy of the label, and a price for every row that is read.

    The net learns by its own gradient, with the gates as they fell. Gates have none:
    they learn by score-function gradients of the reward, which is 1 for a right answer
    less the price; or, with the likeliest gates, by what the config's ``wrap`` makes
    of the loss, such as `zeroth_order` with ``others="gradient"``.
    """

    def __init__(
        self,
        *,
        model: Callable[..., Any],
        source: Source,
        held_out: Source,
        classes: int,
        price: float = 0.3,
        gates: Literal["drawn", "likeliest", "open"] = "drawn",
        samples: int = 4,
        baseline: Literal["none", "mean", "leave_one_out"] = "leave_one_out",
    ):
        """Makes the task.

        Args:
          model: called as ``model(classes, rngs=...)``, such as `SkipReader`.
          source: of batches with ``image`` ``[B, T, D]`` and ``label`` ``[B]``.
          held_out: likewise; its batch 0 is all that is held out.
          classes: C.
          price: of all rows together, in right answers.
          gates: those of training; evaluation has the likeliest, or all ``"open"`` if
            training had.
          samples: how often the gates of every picture are drawn.
          baseline: as in `score_function_loss`.

        Raises:
          ValueError: if the price is negative or there is no sample.
        """
        if price < 0 or samples < 1:
            raise ValueError(
                "price must not be negative and samples at least 1, got "
                f"{price} and {samples}"
            )
        self.batch, self.held_out, self.price = source, held_out, price
        self.gates, self.samples, self.baseline = gates, samples, baseline
        self.init, self.apply = functional(partial(model, classes))
        evaluated = "open" if gates == "open" else "likeliest"
        self._read = jax.jit(
            lambda params, extras, image: self.apply(
                params, extras, image, gates=evaluated
            )[0]
        )

    def _answers(self, found, label):
        """Cross-entropy, whether right, and the share of rows read, by picture."""
        nll = optax.softmax_cross_entropy_with_integer_labels(found.scores, label)
        right = jnp.argmax(found.scores, axis=-1) == label
        return nll, right.astype(jnp.float32), jnp.mean(found.read, axis=-1)

    def loss(self, params, extras, batch, rng):
        """Mean cross-entropy and what makes the gates learn; see the class."""
        image, label = batch["image"], batch["label"]
        if self.gates != "drawn":
            found, extras = self.apply(params, extras, image, gates=self.gates)
            nll, right, read = self._answers(found, label)
            loss = jnp.mean(nll) + self.price * jnp.mean(read)
        else:
            image = jnp.repeat(image, self.samples, axis=0)
            label = jnp.repeat(label, self.samples)
            found, extras = self.apply(params, extras, image, gates="drawn", rng=rng)
            nll, right, read = self._answers(found, label)
            reward = right - self.price * read
            log_p, reward = (
                x.reshape(-1, self.samples) for x in (found.log_probability, reward)
            )
            loss = jnp.mean(nll)
            loss += score_function_loss(log_p, reward, baseline=self.baseline)
        scores = {
            "nll": jnp.mean(nll),
            "accuracy": jnp.mean(right),
            "read": jnp.mean(read),
        }
        return loss, (extras, scores)

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns accuracy, the share of rows read, and the reward of both."""
        batch = self.held_out(0)
        found = self._read(params, extras, batch["image"])
        _, right, read = self._answers(found, batch["label"])
        accuracy, share = float(jnp.mean(right)), float(jnp.mean(read))
        return {
            "test/accuracy": accuracy,
            "test/read": share,
            "test/reward": accuracy - self.price * share,
        }

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns pictures without the rows that were skipped, and how many read each.

        Rows that were not read are grey.
        """
        batch = self.held_out(0)
        found = self._read(params, extras, batch["image"])
        read = np.asarray(found.read)
        seen = np.where(read[..., None], batch["image"], 0.5)
        chosen = np.argmax(np.asarray(found.scores), axis=-1)
        labels = [f"{a} for {b}" for a, b in zip(chosen, batch["label"], strict=True)]
        places = [str(place) for place in range(read.shape[1])]
        share = read.mean(axis=0)[:, None]
        return [
            Images("What was read", seen[:40], 10, labels[:40]),
            Bars("Pictures whose row was read, by row", places, ["read"], share),
        ]
