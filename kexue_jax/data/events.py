"""Texts with events, their triggers and arguments: FewFC."""

import json
import os
from collections.abc import Iterable

from kexue_jax.data.annotated import Event, Events, Span, check_annotations
from kexue_jax.data.corpora import Corpus, Form, Read, read_corpus

TRIGGER = "trigger"


def read_fewfc(lines: Iterable[str]) -> Read[Events]:
    """Returns what stands in a file of FewFC, whose spans are half-open already.

    Args:
      lines: JSON, ``{"content", "events": [{"type", "mentions": [{"word", "span",
        "role"}]}]}``; the role of a trigger is `TRIGGER`.

    Returns:
      Examples, whose arguments are in the order of their places; and
      ``repeated_arguments``, how many stand twice in an event and are one here.

    Raises:
      ValueError: if an event has two triggers, or words are not where the file says.
    """
    examples, mentions, repeated = [], [], 0
    for line in filter(str.strip, lines):
        row = json.loads(line)
        events, words = [], []
        for event in row["events"]:
            spans = {
                Span(*mention["span"], mention["role"]): mention["word"]
                for mention in event["mentions"]
            }
            repeated += len(event["mentions"]) - len(spans)
            order = sorted(spans, key=lambda span: (span.type != TRIGGER, span))
            count = sum(span.type == TRIGGER for span in order)
            if count > 1:
                raise ValueError(f"an event must have one trigger, got {order}")
            trigger = order[0] if count else None
            events.append(Event(event["type"], trigger, tuple(order[count:])))
            words += [spans[span] for span in order]
        examples.append(Events(row["content"], tuple(events)))
        mentions.append(words)
    check_annotations(examples, mentions)
    return Read(examples, {"repeated_arguments": repeated})


SETS = {
    "ee_fewfc": Form(
        "ee_fewfc", read_fewfc, ("train_base.json.gz",), test=("test_base.json.gz",)
    ),
}


def events(
    name: str = "ee_fewfc", *, seed: int = 0, path: str | os.PathLike | None = None
) -> Corpus[Events]:
    """Returns the texts of a set with their events.

    Args:
      name: one of `SETS`. FewFC has no part to choose by: a tenth of the distinct texts
        to learn from is cut as in `kexue_jax.data.corpora.corpus`.
      seed: of the cut.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name, or a file of another form.
      DataNotFoundError: if the files are neither here nor to be fetched.
    """
    if name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}, got {name!r}")
    return read_corpus(SETS[name], seed=seed, path=path)
