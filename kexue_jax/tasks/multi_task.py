"""Task: several labels of one input, each with a loss of its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Exhibit, Images
from kexue_jax.nn.functional import functional


class ManyLabels:
    """One cross-entropy for each of K labels: the loss is ``[K]``.

    The first transform of the optimizer must merge the K gradients.

    Args:
      model: called as ``model(rngs=...)``; its output is K arrays ``[B, classes]``.
      source: gives batches with `inputs` and ``label`` ``[B, K]``.
      held_out: sources by name; `held_out_batches` of each are evaluated.
      scales: factors on the K losses, their units; evaluation is in units of 1.
      names: of the K labels.
      inputs: entry of a batch that the model takes; an ``image`` is shown, too.
    """

    def __init__(
        self,
        *,
        model: Callable,
        source: Callable[[int], Mapping[str, np.ndarray]],
        held_out: Mapping[str, Callable[[int], Mapping[str, np.ndarray]]],
        scales: Sequence[float],
        names: Sequence[str],
        held_out_batches: int = 20,
        inputs: str = "image",
    ):
        if len(scales) != len(names):
            raise ValueError(
                f"scales and names must be of one length, got {scales} and {names}"
            )
        self.init, self.apply = functional(model)
        self.batch, self.held_out = source, held_out
        self.scales, self.names = tuple(scales), tuple(names)
        self.held_out_batches, self.inputs = held_out_batches, inputs
        self._measure = jax.jit(self._terms)

    def _terms(self, params, extras, batch):
        """Cross-entropies ``[K]`` and accuracies ``[K]``."""
        outputs, extras = self.apply(params, extras, batch[self.inputs])
        if len(outputs) != len(self.names):
            raise ValueError(
                f"the model has {len(outputs)} outputs for {len(self.names)} labels"
            )
        logits = [logit.astype(jnp.float32) for logit in outputs]
        labels = [batch["label"][:, k] for k in range(len(logits))]
        crossed = map(optax.softmax_cross_entropy_with_integer_labels, logits, labels)
        nll = jnp.stack([jnp.mean(x) for x in crossed])
        right = [
            jnp.argmax(x, axis=-1) == y for x, y in zip(logits, labels, strict=True)
        ]
        accuracy = jnp.stack([jnp.mean(x.astype(jnp.float32)) for x in right])
        return nll, accuracy, extras

    def loss(self, params, extras, batch, rng):
        """Returns the K losses in their units; nothing is random."""
        del rng
        nll, accuracy, extras = self._terms(params, extras, batch)
        scores = {f"loss_{name}": nll[k] for k, name in enumerate(self.names)}
        scores |= {f"accuracy_{name}": accuracy[k] for k, name in enumerate(self.names)}
        return nll * jnp.asarray(self.scales), (extras, scores)

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns cross-entropy and accuracy of each label on each source."""
        scores = {}
        for source_name, source in self.held_out.items():
            rows = [
                self._measure(params, extras, source(i))[:2]
                for i in range(self.held_out_batches)
            ]
            nll, accuracy = np.mean([[np.asarray(x) for x in r] for r in rows], axis=0)
            for k, name in enumerate(self.names):
                scores[f"{source_name}/nll_{name}"] = float(nll[k])
                scores[f"{source_name}/accuracy_{name}"] = float(accuracy[k])
        return scores

    def exhibits(self, params: Any, extras: Any) -> list[Exhibit]:
        """Returns held-out pictures with what was read in them, if they are such."""
        if self.inputs != "image":
            return []
        source = next(iter(self.held_out.values()))
        batch = {name: rows[:24] for name, rows in source(0).items()}
        outputs, _ = self.apply(params, extras, batch["image"])
        read = np.stack([np.argmax(np.asarray(x), axis=-1) for x in outputs], axis=1)
        labels = [
            "".join(map(str, got)) + ("" if all(got == want) else " (wrong)")
            for got, want in zip(read, batch["label"], strict=True)
        ]
        return [Images("Held-out pictures and what is read", batch["image"], 8, labels)]

    def fingerprint(self) -> dict[str, Any]:
        """Returns what the data are."""
        return {"source": repr(self.batch)}
