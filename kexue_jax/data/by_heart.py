"""A few examples of a corpus as all its parts, to see whether they can be learned."""

from typing import NamedTuple, Protocol

from kexue_jax.data.annotated import Example, text_of


class Learned(Protocol):
    """A corpus with something to learn from."""

    @property
    def train(self) -> tuple[Example, ...]: ...


class ByHeart(NamedTuple):
    """The same examples in all parts."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    test: tuple[Example, ...]


def by_heart(corpus: Learned, *, count: int, longest: int | None = None) -> ByHeart:
    """Returns the first examples to learn from, as those that are held out as well.

    What decodes them without fault after training on them can be trusted to have labels
    and decoding that belong together, which scores of other texts do not tell.

    Args:
      corpus: has ``train``.
      count: how many.
      longest: characters of a text, longer ones being passed over; None takes all.

    Raises:
      ValueError: if there are not as many.
    """
    found = [e for e in corpus.train if longest is None or len(text_of(e)) <= longest]
    if not 1 <= count <= len(found):
        raise ValueError(f"count must be from 1 to {len(found)}, got {count}")
    few = tuple(found[:count])
    return ByHeart(few, few, few)
