"""Task: the same outputs under several conventions of ROUGE and BLEU."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from kexue_jax.exhibits import Bars, Table, Text
from kexue_jax.scores.bleu import corpus_bleu, sentence_bleu
from kexue_jax.scores.rouge import (
    distinct_rouge_n,
    mean_character_rouge,
    rouge_l,
    rouge_n,
)
from kexue_jax.scores.text_bleu import mean_character_bleu
from kexue_jax.tasks.analysis import Analysis, Measured

SHOWN = 2


def cut(text: str, draws: np.random.Generator, signs: str) -> str:
    """What stops half way."""
    del draws, signs
    return text[: len(text) // 2]


def loops(text: str, draws: np.random.Generator, signs: str) -> str:
    """What says two thirds and then its last four characters over and over."""
    del draws, signs
    kept, size = text[: 2 * len(text) // 3], 3 * len(text) // 2
    return (kept + kept[-4:] * len(text))[:size]


def swapped(text: str, draws: np.random.Generator, signs: str) -> str:
    """The second half, and then the first."""
    del draws, signs
    half = len(text) // 2
    return text[half:] + text[:half]


def replaced(text: str, draws: np.random.Generator, signs: str) -> str:
    """What has another character in every fifth place or so."""
    other = draws.choice(list(signs), len(text))
    hit = draws.random(len(text)) < 0.2
    return "".join(np.where(hit, other, list(text)))


SYSTEMS: Mapping[str, Callable[[str, np.random.Generator, str], str]] = {
    "cut": cut,
    "loops": loops,
    "swapped": swapped,
    "replaced": replaced,
}


def _rouge(outputs, golds):
    """ROUGE-1, -2 and -L by the posts, by counts and by distinct n-grams, mean F1."""
    pairs = list(zip(outputs, golds, strict=True))

    def mean(score):
        return float(np.mean([score(own, gold).f1 for own, gold in pairs]))

    counts = [mean(lambda a, b, n=n: rouge_n(a, b, order=n)) for n in (1, 2)]
    distinct = [mean(lambda a, b, n=n: distinct_rouge_n(a, b, order=n)) for n in (1, 2)]
    posts = mean_character_rouge(outputs, golds)
    return {
        "posts": list(posts),
        "counts": [*counts, mean(rouge_l)],
        "distinct": [*distinct, posts.rouge_l],
    }


def _rows(texts, numbers):
    width = max(map(len, texts))
    rows = np.zeros((len(texts), width), np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = [numbers[sign] for sign in text]
    return rows, np.array([len(text) for text in texts])


def _bleu(outputs, golds):
    """BLEU by the posts, of the corpus, and the mean of smoothed sentences."""
    signs = dict.fromkeys("".join([*outputs, *golds]))
    numbers = {sign: place + 1 for place, sign in enumerate(signs)}
    own, gold = _rows(outputs, numbers), _rows(golds, numbers)
    arrays = *own, gold[0][:, None], gold[1][:, None]
    return {
        "posts": mean_character_bleu(outputs, golds),
        "corpus": float(jax.jit(corpus_bleu)(*arrays)),
        "sentences": float(np.mean(jax.jit(sentence_bleu)(*arrays))),
    }


class ScoreConventions(Analysis):
    """Four ways to spoil sentences, scored under three ROUGE and three BLEU.

    The tokens are characters. Scores from 0 to 1, of ``cut``, ``loops``, ``swapped``
    and ``replaced``, and of ``all`` their outputs together:

    - ``<way>/rouge_<n>_<convention>``, n being 1, 2 and l: ``posts``, counted n-grams
      and distinct tokens on the longest common subsequence; ``counts``, both counted,
      as ROUGE is defined; ``distinct``, distinct n-grams, as later versions of the
      posts' package have it;
    - ``<way>/bleu_<convention>``: ``posts``, the mean of sentences with a floor under
      precisions; ``corpus``, of counts of all sentences; ``sentences``, the mean of
      sentences as sacrebleu smooths them.
    """

    def __init__(self, *, texts: Sequence[str]):
        """Takes texts, at least one, that are not empty.

        Raises:
          ValueError: if there are none, or one is empty.
        """
        if not texts or not all(texts):
            raise ValueError(
                "texts must be at least one, none of them empty, got "
                f"{len(texts)} with {sum(not text for text in texts)} empty"
            )
        self._golds = tuple(texts)
        self.texts_sha256 = hashlib.sha256("\n".join(texts).encode()).hexdigest()

    def measure(self, rng: jax.Array) -> Measured:
        """Returns the scores, and bars and outputs that show them."""
        draws = np.random.default_rng(np.asarray(jax.random.key_data(rng)))
        signs, golds = "".join(self._golds), list(self._golds)
        outputs = {
            name: [spoil(gold, draws, signs) for gold in golds]
            for name, spoil in SYSTEMS.items()
        }
        every = [text for texts in outputs.values() for text in texts]
        sides = {name: (texts, golds) for name, texts in outputs.items()}
        sides["all"] = every, golds * len(SYSTEMS)
        scores: dict[str, float] = {}
        for name, side in sides.items():
            for convention, found in _rouge(*side).items():
                for n, value in zip("12l", found, strict=True):
                    scores[f"{name}/rouge_{n}_{convention}"] = value
            for convention, value in _bleu(*side).items():
                scores[f"{name}/bleu_{convention}"] = value
        return Measured(scores, self._shown(scores, outputs))

    def _shown(self, scores, outputs):
        def bars(title, kind, conventions):
            values = [[scores[f"{s}/{kind}_{c}"] for c in conventions] for s in SYSTEMS]
            return Bars(title, tuple(SYSTEMS), conventions, np.array(values))

        rouge = ("posts", "counts", "distinct")
        columns = sorted({key.partition("/")[2] for key in scores})
        return [
            bars("ROUGE-1", "rouge_1", rouge),
            bars("ROUGE-L", "rouge_l", rouge),
            bars("BLEU", "bleu", ("posts", "corpus", "sentences")),
            Table(
                "All scores",
                ("way", *columns),
                [
                    (way, *(round(scores[f"{way}/{c}"], 4) for c in columns))
                    for way in (*SYSTEMS, "all")
                ],
            ),
            Text(
                "Some outputs",
                [(way, text) for way, some in outputs.items() for text in some[:SHOWN]],
            ),
        ]
