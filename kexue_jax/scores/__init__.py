"""From what was predicted and what is right to numbers for people, and for rewards."""

from kexue_jax.scores.bleu import (
    BleuCounts,
    bleu_counts,
    bleu_of_counts,
    corpus_bleu,
    sentence_bleu,
)
from kexue_jax.scores.classification import (
    ClassScores,
    accuracy,
    binary_scores,
    class_scores,
    macro_scores,
)

__all__ = [
    "BleuCounts",
    "ClassScores",
    "accuracy",
    "binary_scores",
    "bleu_counts",
    "bleu_of_counts",
    "class_scores",
    "corpus_bleu",
    "macro_scores",
    "sentence_bleu",
]
