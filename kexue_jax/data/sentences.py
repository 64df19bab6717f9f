"""Pairs of sentences as text, for what reads them by a tokeniser of its own."""

import os

from kexue_jax.data.sentence_pairs import ScoredPair, drawn_pairs, scored_pairs


def scored_sentences(
    name: str, *, path: str | os.PathLike | None = None
) -> list[ScoredPair]:
    """Returns sentences in pairs, with the mean score of several people.

    Args:
      name: as in `scored_pairs`, or ``drawn`` for those of `drawn_pairs`.
      path: folder of the file; None looks in the usual places.

    Raises:
      ValueError: for another name.
      DataNotFoundError: if the file is neither here nor to be fetched.
    """
    return drawn_pairs()[0] if name == "drawn" else scored_pairs(name, path=path)
