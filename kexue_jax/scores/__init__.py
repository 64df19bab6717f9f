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
from kexue_jax.scores.extraction import (
    ExtractionScores,
    event_scores,
    fuzzy_argument_scores,
    scores_by_type,
    set_scores,
    triple_scores,
)
from kexue_jax.scores.language import bits_per_character, perplexity
from kexue_jax.scores.reading import (
    ReadingScores,
    cmrc_exact_match,
    cmrc_f1,
    reading_scores,
    squad_exact_match,
    squad_f1,
)
from kexue_jax.scores.rouge import (
    CharacterRouge,
    distinct_rouge_n,
    mean_character_rouge,
    rouge_l,
    rouge_n,
)
from kexue_jax.scores.text_bleu import (
    corpus_text_bleu,
    floored_bleu,
    mean_character_bleu,
)

__all__ = [
    "BleuCounts",
    "CharacterRouge",
    "ClassScores",
    "ExtractionScores",
    "ReadingScores",
    "accuracy",
    "binary_scores",
    "bits_per_character",
    "bleu_counts",
    "bleu_of_counts",
    "class_scores",
    "cmrc_exact_match",
    "cmrc_f1",
    "corpus_bleu",
    "corpus_text_bleu",
    "distinct_rouge_n",
    "event_scores",
    "floored_bleu",
    "fuzzy_argument_scores",
    "macro_scores",
    "mean_character_bleu",
    "mean_character_rouge",
    "perplexity",
    "reading_scores",
    "rouge_l",
    "rouge_n",
    "scores_by_type",
    "sentence_bleu",
    "set_scores",
    "squad_exact_match",
    "squad_f1",
    "triple_scores",
]
