"""Task: which texts say the same, by similarities that are to be ordered."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Bars, Curves, Exhibit, Series, Table
from kexue_jax.losses.cosent import cosent
from kexue_jax.losses.sentence_pairs import pair_classification_loss
from kexue_jax.metrics.correlation import spearman
from kexue_jax.metrics.thresholds import accuracy_at, best_accuracy_threshold
from kexue_jax.nn.functional import functional

BINS = 40  # of the diagram of similarities


class MatchedPairs(Protocol):
    """Batches with ``first``, ``second`` and ``label``, in three parts."""

    @property
    def vectors(self) -> np.ndarray: ...
    @property
    def source(self) -> Callable[[int], dict[str, np.ndarray]]: ...
    @property
    def valid(self) -> Sequence[dict[str, np.ndarray]]: ...
    @property
    def test(self) -> Sequence[dict[str, np.ndarray]]: ...
    def fingerprint(self) -> dict[str, str | int]: ...


class SentencePairs:
    """A loss of similarities and labels, judged by the order of the similarities."""

    def __init__(
        self,
        *,
        data: MatchedPairs,
        model: Callable[..., Any],
        loss: Callable[[jax.Array, jax.Array], jax.Array] = cosent,
    ):
        """Makes the task.

        Args:
          data: pairs of texts, of two classes.
          model: called as ``model(vectors, rngs=...)``; the module takes ``first`` and
            ``second`` and gives `kexue_jax.nn.text_pairs.ReadPairs`.
          loss: of similarities and labels, ``[B]``; what has more than one entry is
            averaged.
        """
        self.data, self.batch, self._loss = data, data.source, loss
        self._init, self.apply = functional(partial(model, data.vectors))
        self._similar = jax.jit(self._similarities)

    def init(self, rng):
        """Returns the parameters of the model, below ``model``, and its extras."""
        params, extras = self._init(rng)
        return {"model": params}, extras

    def _read(self, params, extras, batch):
        return self.apply(params["model"], extras, batch["first"], batch["second"])

    def _similarities(self, params, extras, batch):
        return self._read(params, extras, batch)[0].similarity

    def _objective(self, params, read, label):
        """The loss ``[]`` of what the model says."""
        del params
        return jnp.mean(self._loss(read.similarity, label))

    def loss(self, params, extras, batch, rng):
        """The loss of the batch's similarities; nothing is drawn."""
        del rng
        read, extras = self._read(params, extras, batch)
        loss = self._objective(params, read, batch["label"])
        return loss, (extras, {"loss": loss})

    def _all(self, params, extras, batches):
        """Similarities and labels ``[N]`` of all pairs of a part."""
        found, labels = [], []
        for batch in batches:
            seen = batch["weight"] > 0
            found.append(np.asarray(self._similar(params, extras, batch))[seen])
            labels.append(batch["label"][seen])
        return np.concatenate(found), np.concatenate(labels)

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns rank correlation and accuracy, both times 100, of two parts.

        ``valid/spearman`` and ``test/spearman``; ``valid/accuracy``, at the threshold
        that is best there, and ``test/accuracy`` at the same threshold.
        """
        scores = {}
        threshold = None
        for name in ("valid", "test"):
            similarity, label = self._all(params, extras, getattr(self.data, name))
            scores[f"{name}/spearman"] = spearman(similarity, label.astype(float))
            if threshold is None:
                threshold = best_accuracy_threshold(similarity, label).threshold
            scores[f"{name}/accuracy"] = accuracy_at(similarity, label, threshold)
        return {name: 100 * float(value) for name, value in scores.items()}

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns similarities of both classes and accuracy by the threshold."""
        similarity, label = self._all(params, extras, self.data.valid)
        best = best_accuracy_threshold(similarity, label)
        edges = np.linspace(similarity.min(), similarity.max() + 1e-6, BINS + 1)
        counts = [np.histogram(similarity[label == c], edges)[0] for c in (0, 1)]
        by = [float(accuracy_at(similarity, label, edge)) for edge in edges]
        return [
            Bars(
                "Similarities",
                [f"{edge:.2f}" for edge in edges[:-1]],
                ["different", "the same"],
                np.stack(counts, axis=1),
                "pairs",
            ),
            Curves(
                "Accuracy by the threshold",
                [
                    Series("accuracy", edges, np.array(by)),
                    Series(
                        "the best, by sorting",
                        np.array([float(best.threshold)]),
                        np.array([float(best.value)]),
                    ),
                ],
                "threshold of the similarity",
                "share of pairs that are right",
            ),
            Table(
                "Pairs to choose by",
                ("class", "pairs", "mean similarity", "deviation"),
                [
                    (
                        name,
                        int(np.sum(label == c)),
                        round(float(similarity[label == c].mean()), 3),
                        round(float(similarity[label == c].std()), 3),
                    )
                    for c, name in enumerate(("different", "the same"))
                ],
            ),
        ]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the data is."""
        return self.data.fingerprint()


class ClassifiedPairs(SentencePairs):
    """The same model trained as InferSent and Sentence-BERT are, by classes.

    A linear map of ``[u; v; |u - v|]`` gives scores of classes in training; what is
    judged is the cosine all the same.
    """

    def __init__(self, *, data: MatchedPairs, model: Callable[..., Any]):
        """Makes the task; arguments as in `SentencePairs`."""
        super().__init__(data=data, model=model)

    def init(self, rng):
        """Returns the parameters of the model and ``kernel``, and the extras."""
        model_key, key = jax.random.split(rng)
        params, extras = super().init(model_key)
        batch = jax.tree.map(lambda x: x[:1], self.batch(0))
        read = jax.eval_shape(self._read, params, extras, batch)[0]
        if read.first is None:
            raise ValueError(
                "model must give a vector for each text, got one that reads both at "
                "once: train it with SentencePairs"
            )
        shape = (3 * read.first.shape[-1], 2)
        kernel = jax.nn.initializers.lecun_normal()(key, shape)
        return params | {"kernel": kernel}, extras

    def _objective(self, params, read, label):
        return pair_classification_loss(
            read.first, read.second, label, params["kernel"]
        )
