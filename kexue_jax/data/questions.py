"""Questions whose answers are parts of a context: CMRC 2018 and DRCD."""

import json
import os
from collections import Counter
from collections.abc import Iterable

from kexue_jax.data.annotated import Answer, Question, check_annotations
from kexue_jax.data.corpora import Corpus, Form, Read, read_corpus
from kexue_jax.data.relations import places


def answer_at(context: str, text: str, start: int) -> Answer | None:
    """Returns an answer at its place in the context nearest to where it is said to be.

    Args:
      context, text: of the question and of the answer.
      start: where the file says that it starts; below 0 if it does not.

    Returns:
      None if the context does not have the answer.

    >>> answer_at("to be or not to be", "be", 14)
    Answer(start=16, text='be')
    """
    found = places(context, text)
    if not found:
        return None
    wanted = max(start, 0)
    return Answer(min(found, key=lambda place: (abs(place - wanted), place)), text)


def read_squad(lines: Iterable[str]) -> Read[Question]:
    """Returns what stands in a file in the form of SQuAD.

    Args:
      lines: together JSON, ``{"data": [{"paragraphs": [{"context", "qas": [{"id",
        "question", "answers": [{"text", "answer_start"}]}]}]}]}``.

    Returns:
      Examples; ``moved``, how many answers were not where the file says and were found
      elsewhere; ``lost``, how many are not in the context and left out; and
      ``unanswered``, how many questions were left out as they had no other.
    """
    examples, met = [], Counter(moved=0, lost=0, unanswered=0)
    articles = json.loads("".join(lines))["data"]
    for paragraph in (p for article in articles for p in article["paragraphs"]):
        context = paragraph["context"]
        for row in paragraph["qas"]:
            answers = []
            for stated in row["answers"]:
                start = int(stated["answer_start"])
                found = answer_at(context, str(stated["text"]), start)
                met["lost"] += found is None
                if found is not None:
                    met["moved"] += found.start != start
                    answers.append(found)
            if answers:
                question = str(row["id"]), row["question"], context, tuple(answers)
                examples.append(Question(*question))
            met["unanswered"] += not answers
    check_annotations(examples, [[a.text for a in e.answers] for e in examples])
    return Read(examples, met)


SETS = {
    "mrc_cmrc2018": Form(
        "mrc_cmrc2018",
        read_squad,
        ("cmrc2018_dev.json.gz",),
        test=("cmrc2018_trial.json.gz",),
    ),
    "mrc_drcd": Form("mrc_drcd", read_squad, ("DRCD_dev.json.gz",)),
}
"""What is published of CMRC 2018 to choose by is ``train``, and the trial ``test``."""


def questions(
    name: str, *, seed: int = 0, path: str | os.PathLike | None = None
) -> Corpus[Question]:
    """Returns the questions of a set.

    Parts that a set lacks are cut from ``train`` as in
    `kexue_jax.data.corpora.corpus`, by contexts: no context is of two of them.

    Args:
      name: one of `SETS`.
      seed: of the parts that are cut.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name, or a file of another form.
      DataNotFoundError: if the files are neither here nor to be fetched.
    """
    if name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}, got {name!r}")
    return read_corpus(SETS[name], seed=seed, path=path)
