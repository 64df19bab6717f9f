"""A corpus of triples without its rare predicates, for small models and machines."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from kexue_jax.data.annotated import Relations
from kexue_jax.data.corpora import Corpus


def frequent_relations(corpus: Any, *, most: int) -> Corpus[Relations]:
    """Returns the triples of the most frequent predicates, and texts that have some.

    Args:
      corpus: with `train`, `valid` and `test` of `Relations`; how frequent a predicate
        is counts in `train`, and the first of two as frequent is taken.
      most: how many predicates.

    Returns:
      A corpus whose notes add ``predicates left out`` and ``texts left out``.

    Raises:
      ValueError: if `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    count = Counter(t.predicate for e in corpus.train for t in e.triples)
    kept = {predicate for predicate, _ in count.most_common(most)}

    def fewer(part: Iterable[Relations]) -> list[Relations]:
        own = [tuple(t for t in e.triples if t.predicate in kept) for e in part]
        return [
            example._replace(triples=triples)
            for example, triples in zip(part, own, strict=True)
            if triples
        ]

    old = (corpus.train, corpus.valid, corpus.test)
    parts = [fewer(part) for part in old]
    notes = {
        **corpus.notes,
        "predicates left out": len(count) - len(kept),
        "texts left out": sum(map(len, old)) - sum(map(len, parts)),
    }
    return Corpus(*parts, notes=notes)
