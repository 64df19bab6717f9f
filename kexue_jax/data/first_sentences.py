"""First sentences of Chinese texts, each about as long as a headline."""

from collections.abc import Sequence
from typing import Protocol

from kexue_jax.data.annotated import Example, text_of

SHORTEST, LONGEST = 16, 48  # characters


class Learned(Protocol):
    """A corpus of texts in which a sentence ends with 。"""

    @property
    def train(self) -> Sequence[Example]: ...


def first_sentences(corpus: Learned, *, count: int) -> tuple[str, ...]:
    """Returns first sentences of 16 to 48 characters, without 。, each once.

    Those with spaces are passed over.

    Args:
      corpus: has ``train``.
      count: how many.

    Raises:
      ValueError: if there are not as many.
    """
    found = dict.fromkeys(text_of(e).partition("。")[0].strip() for e in corpus.train)
    fits = [s for s in found if SHORTEST <= len(s) <= LONGEST and " " not in s]
    if not 1 <= count <= len(fits):
        raise ValueError(f"count must be from 1 to {len(fits)}, got {count}")
    return tuple(fits[:count])
