"""Task: choices trained on the score they get, which has no gradient."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax import scores as scoring
from kexue_jax.exhibits import Exhibit, Table
from kexue_jax.losses.score_function import score_function_loss
from kexue_jax.nn.functional import functional

Batch = Mapping[str, Any]
Score = Callable[[jax.Array, Batch], jax.Array]


def accuracy(chosen: jax.Array, batch: Batch) -> jax.Array:
    """Returns the share of the batch, by weight, that was given its label: ``[]``."""
    return scoring.accuracy(chosen, batch["label"], batch.get("weight"))


def f1(chosen: jax.Array, batch: Batch) -> jax.Array:
    """Returns F1 of class 1 of the batch: ``[]``."""
    found = scoring.binary_scores(chosen == 1, batch["label"] == 1, batch.get("weight"))
    return found.f1


def row_bleu(chosen: jax.Array, batch: Batch) -> jax.Array:
    """Returns BLEU of each row, against its references: ``[B]``."""
    length = batch["length"]
    lengths = jnp.broadcast_to(length[:, None], batch["references"].shape[:2])
    return scoring.sentence_bleu(chosen, length, batch["references"], lengths)


def corpus_bleu(chosen: jax.Array, batch: Batch) -> jax.Array:
    """Returns BLEU of all rows together: ``[]``."""
    length = batch["length"]
    lengths = jnp.broadcast_to(length[:, None], batch["references"].shape[:2])
    return scoring.corpus_bleu(chosen, length, batch["references"], lengths)


class Labelled(Protocol):
    """Batches with ``inputs``, ``label`` ``[B, ...]`` and what scores read.

    ``weight``, shaped like the label, says which labels count, and how much.
    """

    @property
    def classes(self) -> int: ...
    @property
    def source(self) -> Callable[[int], dict[str, np.ndarray]]: ...
    @property
    def held_out(self) -> Sequence[dict[str, np.ndarray]]: ...
    def fingerprint(self) -> dict[str, str | int]: ...


class ScoreTraining:
    """Cross-entropy for some steps, and then the score of what the model chooses."""

    def __init__(
        self,
        *,
        data: Labelled,
        model: Callable[..., Any],
        score: Score,
        objective: Literal["likelihood", "policy", "score"] = "score",
        likelihood_steps: int = 0,
        estimator: Callable[[Callable], Callable] | None = None,
        samples: int = 8,
        baseline: Literal["none", "mean", "leave_one_out", "greedy"] = "leave_one_out",
        reported: Mapping[str, Score] | None = None,
    ):
        """Makes the task.

        Args:
          data: what there is to choose.
          model: called as ``model(classes, rngs=...)``; the module takes ``inputs``,
            ``train=`` and ``rng=`` and gives scores ``[B, ..., C]``, a class for every
            label.
          score: from choices ``[B, ...]`` and the batch to ``[]`` or one a row,
            ``[B]``; higher is better. This module has some.
          objective: what is descended after the first steps: ``"likelihood"``, the
            cross-entropy; ``"policy"``, by score-function gradients of what is drawn;
            or ``"score"``, 1 less the score of the likeliest, which is piecewise
            constant: something has to estimate its gradient, `estimator` or the
            config's ``wrap``.
          likelihood_steps: steps of cross-entropy before.
          estimator: from loss to loss, such as `zeroth_order`; of the score alone.
          samples: how often every row is drawn, for ``policy``.
          baseline: of ``policy``, as in `score_function_loss`; ``"greedy"`` is the
            score of the likeliest.
          reported: what is scored of all that is held out, by name; default `score`.

        Raises:
          ValueError: if there is no such objective or baseline, a number is too small,
            or an estimator is given for another objective than the score.
        """
        if objective not in ("likelihood", "policy", "score"):
            raise ValueError(
                f"objective must be likelihood, policy or score, got {objective!r}"
            )
        if baseline not in ("none", "mean", "leave_one_out", "greedy"):
            raise ValueError(f"there is no baseline {baseline!r}")
        if likelihood_steps < 0 or samples < 1:
            raise ValueError(
                "likelihood_steps must not be negative and samples at least 1, got "
                f"{likelihood_steps} and {samples}"
            )
        if estimator is not None and objective != "score":
            raise ValueError(f"an estimator is for the score, not for {objective}")
        self.data, self.batch, self.score = data, data.source, score
        self.likelihood_steps, self.samples = likelihood_steps, samples
        self.baseline = baseline
        reported = {"score": score} if reported is None else reported
        self.reported = {name: jax.jit(each) for name, each in reported.items()}
        self._make, self.apply = functional(partial(model, data.classes))
        plain = dict(
            likelihood=self._likelihood, policy=self._policy, score=self._score
        )
        self._after = plain[objective]
        if estimator is not None:
            self._after = estimator(self._after)
        self._found = jax.jit(self._likeliest)

    def init(self, rng):
        """Returns the model's parameters and extras, and how many steps were made."""
        params, extras = self._make(rng)
        return params, {"model": extras, "steps": jnp.zeros((), jnp.int32)}

    def _logits(self, params, extras, batch, rng):
        logits, extras = self.apply(
            params, extras, batch["inputs"], train=rng is not None, rng=rng
        )
        return logits.astype(jnp.float32), extras

    def _weights(self, batch):
        return batch.get("weight", jnp.ones(batch["label"].shape, jnp.float32))

    def _result(self, loss, logits, batch, extras):
        scored = jnp.mean(self.score(jnp.argmax(logits, axis=-1), batch))
        return loss, (extras, {"loss": loss, "score": scored})

    def _likelihood(self, params, extras, batch, rng):
        logits, extras = self._logits(params, extras, batch, rng)
        logs = jax.nn.log_softmax(logits)
        own = jnp.take_along_axis(logs, batch["label"][..., None], axis=-1)[..., 0]
        weight = self._weights(batch)
        loss = -jnp.sum(weight * own) / jnp.maximum(jnp.sum(weight), 1e-30)
        return self._result(loss, logits, batch, extras)

    def _score(self, params, extras, batch, rng):
        logits, extras = self._logits(params, extras, batch, rng)
        scored = jnp.mean(self.score(jnp.argmax(logits, axis=-1), batch))
        return self._result(1.0 - scored, logits, batch, extras)

    def _policy(self, params, extras, batch, rng):
        """The surrogate of one draw or many of the whole batch."""
        own, rng = (None, None) if rng is None else jax.random.split(rng)
        if rng is None:
            raise ValueError("the policy objective needs a key to draw with")
        logits, extras = self._logits(params, extras, batch, own)
        logs = jax.nn.log_softmax(logits)
        chosen = jax.random.categorical(
            rng, logits, shape=(self.samples, *logits.shape[:-1])
        )
        rewards = jax.vmap(self.score, in_axes=(0, None))(chosen, batch)
        taken = jax.vmap(
            lambda c: jnp.take_along_axis(logs, c[..., None], axis=-1)[..., 0]
        )(chosen)
        taken = taken * (self._weights(batch) > 0.0)[None]
        kept = rewards.ndim  # of [K] or [K, B]; a row is chosen as a whole
        log_p = jnp.sum(taken, axis=tuple(range(kept, taken.ndim)))
        baseline: Any = self.baseline
        if baseline == "greedy":
            likeliest = jnp.argmax(logits, axis=-1)
            baseline = jnp.asarray(self.score(likeliest, batch))[..., None]
        loss = score_function_loss(log_p.T, rewards.T, baseline=baseline)
        return self._result(loss, logits, batch, extras)

    def loss(self, params, extras, batch, rng):
        """The loss of the phase, with the score of the likeliest beside it."""
        steps, inner = extras["steps"], extras["model"]
        if not self.likelihood_steps:
            loss, (inner, scores) = self._after(params, inner, batch, rng)
        else:
            loss, (inner, scores) = jax.lax.cond(
                steps < self.likelihood_steps,
                self._likelihood,
                self._after,
                params,
                inner,
                dict(batch),
                rng,
            )
        return loss, ({"model": inner, "steps": steps + 1}, scores)

    def _likeliest(self, params, extras, batch):
        logits, _ = self._logits(params, extras["model"], batch, None)
        return jnp.argmax(logits, axis=-1)

    def _all(self, params, extras):
        """What is held out, as one batch, and the choices."""
        parts = list(self.data.held_out)
        whole = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        found = [np.asarray(self._found(params, extras, part)) for part in parts]
        return whole, np.concatenate(found)

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns each score of what is held out."""
        whole, chosen = self._all(params, extras)
        return {
            f"valid/{name}": float(np.mean(score(chosen, whole)))
            for name, score in self.reported.items()
        }

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns the first of what is held out, and what was chosen for it."""
        whole, chosen = self._all(params, extras)

        def words(row):
            return " ".join(str(int(token)) for token in np.atleast_1d(row))

        rows = [
            (words(label), words(own))
            for label, own in zip(whole["label"][:12], chosen[:12], strict=True)
        ]
        return [Table("What is held out", ("label", "chosen"), rows)]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the data is."""
        return self.data.fingerprint()
