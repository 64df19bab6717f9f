"""Rows of a census with two labels each: a high income, and never married."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from kexue_jax.data import fetch
from kexue_jax.data.order import Shuffled
from kexue_jax.data.registry import DataSet

COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)
NUMBERS = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
WORDS = ("workclass", "education", "occupation", "race", "sex", "native-country")
TRAINING = 20_000  # rows to learn from; the others are held out


def read_census(lines: Iterable[str]) -> list[dict[str, str]]:
    r"""Returns the rows of a file of UCI Adult, by the names of `COLUMNS`.

    Raises:
      ValueError: if a line has not as many entries.

    >>> row = ", ".join(["39", *"abcdefghijklm", "<=50K"])
    >>> read_census([row + "\n", "\n"])[0]["income"]
    '<=50K'
    """
    rows = []
    for number, line in enumerate(lines):
        entries = line.strip().split(", ")
        if entries == [""]:
            continue
        if len(entries) != len(COLUMNS):
            raise ValueError(
                f"line {number + 1} must have {len(COLUMNS)} entries, got {line!r:.80}"
            )
        rows.append(dict(zip(COLUMNS, entries, strict=True)))
    return rows


def drawn_census(count: int = 400, *, seed: int = 0) -> list[dict[str, str]]:
    """Returns rows of made-up people, for runs without any file."""
    draws = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        age, years = int(draws.integers(17, 80)), int(draws.integers(1, 17))
        row = dict.fromkeys(COLUMNS, "?")
        row |= {name: "0" for name in NUMBERS}
        row |= {"age": str(age), "education-num": str(years)}
        row["sex"] = str(draws.choice(["Female", "Male"]))
        rich = age / 40 + years / 8 + draws.normal() > 3.0
        single = age / 20 + draws.normal() < 1.8
        row["income"] = ">50K" if rich else "<=50K"
        row["marital-status"] = "Never-married" if single else "Divorced"
        rows.append(row)
    return rows


def _features(rows: Sequence[dict[str, str]], known: Sequence[dict[str, str]]):
    """Numbers scaled, and words as ones and zeros, by what is `known`: ``[N, D]``."""

    def numbers(of):
        table = np.array([[float(row[name]) for name in NUMBERS] for row in of])
        return np.log1p(table)  # gains reach 99,999 and are mostly 0

    centre, spread = numbers(known).mean(axis=0), numbers(known).std(axis=0)
    parts = [(numbers(rows) - centre) / np.where(spread > 0, spread, 1.0)]
    for name in WORDS:
        words = sorted({row[name] for row in known})
        own = np.array([row[name] for row in rows])[:, None]
        parts.append(own == np.array(words)[None])
    return np.concatenate(parts, axis=1).astype(np.float32)


@dataclass
class Census:
    """A source of people: ``inputs`` [B, D], ``label`` [B, 2] (income, never married).

    Labels are 1 for more than 50,000 dollars a year, and for never married. What tells
    the one or the other outright (relationship) is left out, as is the weight of a row.

    Args:
      train: the first 20,000 rows, to learn from, or the others.
      name: ``adult``, a `DataSet` of that form, or ``drawn`` for `drawn_census`.
      batch_size, seed: as for `kexue_jax.data.order.Shuffled`.
      path: folder of the file, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name, or a file of another form.
      DataNotFoundError: if the file is neither here nor to be fetched.

    Source: Becker and Kohavi, UCI Adult, 1996.
    """

    train: bool = True
    name: str | DataSet = "adult"
    batch_size: int = 256
    seed: int = 0
    path: str | os.PathLike | None = None
    inputs: np.ndarray = field(init=False, repr=False)
    label: np.ndarray = field(init=False, repr=False)
    order: Shuffled = field(init=False, repr=False)

    def __post_init__(self):
        if self.name == "drawn":
            rows = drawn_census()
            border = len(rows) * 3 // 4
        elif isinstance(self.name, DataSet) or self.name == "adult":
            with fetch.open_text(
                self.name, "adult_first26048.data.gz", self.path
            ) as lines:
                rows = read_census(lines)
            border = TRAINING
        else:
            raise ValueError(f"name must be 'adult' or 'drawn', got {self.name!r}")
        own = rows[:border] if self.train else rows[border:]
        label = [
            (row["income"] == ">50K", row["marital-status"] == "Never-married")
            for row in own
        ]
        self.inputs = _features(own, rows[:border])
        self.label = np.array(label, np.int32)
        self.order = Shuffled(len(own), self.batch_size, self.seed)

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step."""
        index = self.order.indices(step)
        return {"inputs": self.inputs[index], "label": self.label[index]}
