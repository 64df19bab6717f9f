"""ListOps: nested lists of digits under operations, to be worked out."""

import random
from collections.abc import Sequence
from statistics import median

import numpy as np

from kexue_jax.data.labelled import Labelled, labelled

PADDING, DIGIT, CLOSE = 0, 1, 15
"""Tokens: 0 fills rows up, 1 to 10 are the digits 0 to 9, 11 to 14 open a list under
an operation of `OPERATIONS`, 15 closes it."""

OPERATIONS = ("MIN", "MAX", "MED", "SM")
"""Least, greatest, median rounded down, and sum modulo 10 of a list."""

VOCABULARY = 16
SHARE = 0.25  # of lists among the entries


def worked_out(tokens: Sequence[int]) -> int:
    """Returns the value of an expression.

    Args:
      tokens: of one expression; padding behind it is passed over.

    Returns:
      A digit.

    Raises:
      ValueError: if the tokens are no expression.

    >>> read("[MAX 2 [SM 9 4 ] 1 ]")
    [12, 3, 14, 10, 5, 15, 2, 15]
    >>> worked_out(read("[MAX 2 [SM 9 4 ] 1 ]"))
    3
    """
    lists: list[tuple[int, list[int]]] = [(0, [])]
    for token in tokens:
        token = int(token)
        if DIGIT <= token < DIGIT + 10:
            lists[-1][1].append(token - DIGIT)
        elif DIGIT + 10 <= token < CLOSE:
            lists.append((token - DIGIT - 10, []))
        elif token == CLOSE and len(lists) > 1 and lists[-1][1]:
            operation, values = lists.pop()
            lists[-1][1].append(_value(operation, values))
        elif token != PADDING:
            raise ValueError(f"tokens must be an expression, got {tuple(tokens)}")
    if len(lists) != 1 or len(lists[0][1]) != 1:
        raise ValueError(f"tokens must be an expression, got {tuple(tokens)}")
    return lists[0][1][0]


def _value(operation: int, values: Sequence[int]) -> int:
    found = (min, max, lambda x: int(median(x)), lambda x: sum(x) % 10)
    return found[operation](values)


def read(text: str) -> list[int]:
    """Returns the tokens of an expression in the published notation."""
    names = {f"[{name}": DIGIT + 10 + i for i, name in enumerate(OPERATIONS)}
    names |= {str(digit): DIGIT + digit for digit in range(10)} | {"]": CLOSE}
    return [names[word] for word in text.split()]


def _drawn(draws: random.Random, depth: int, arguments: int, most: int) -> list[int]:
    """The tokens of one entry at `depth` from the bottom; cut once beyond `most`."""
    tokens: list[int] = []

    def entry(left: int) -> None:
        if len(tokens) > most:
            return
        if left > 1 and draws.random() <= SHARE:
            count = draws.randint(2, arguments)
            place = len(tokens)
            tokens.append(CLOSE)
            for _ in range(count):
                entry(left - 1)
            tokens[place] = DIGIT + 10 + draws.randrange(len(OPERATIONS))
            tokens.append(CLOSE)
        else:
            tokens.append(DIGIT + draws.randrange(10))

    entry(depth)
    return tokens


def listops(
    *,
    examples: int = 98_000,
    depth: int = 10,
    arguments: int = 10,
    shortest: int = 500,
    longest: int = 2000,
    batch: int = 32,
    held_out: int = 49,
    seed: int = 0,
    draw_seed: int = 0,
) -> Labelled:
    """Returns drawn expressions with their values, by the published grammar.

    An entry above the bottom is a list with probability 1/4 and else a digit; a list
    has 2 to `arguments` entries, its operation and their number being uniform. Of what
    is drawn so only expressions between the lengths are kept, each once.

    Args:
      examples: how many there are in all.
      depth: levels of entries, the outermost and the digits at the bottom included.
      arguments: most entries of a list.
      shortest, longest: lengths in tokens that an expression must lie between, both
        left out. Rows have `longest` - 1 places.
      batch, held_out, seed: as in `labelled`.
      draw_seed: of the expressions.

    Returns:
      Rows of tokens below `VOCABULARY`, 0 behind their end.

    Raises:
      ValueError: if a number is out of range.

    Source: Nangia and Bowman, https://arxiv.org/abs/1804.06028; Tay et al.,
      https://arxiv.org/abs/2011.04006, whose defaults these are. There brackets that
      pair operations with entries are written too, and lost when the text is read.
    """
    if depth < 2 or arguments < 2 or not 0 < shortest < longest - 1 or examples < 1:
        raise ValueError(
            "depth and arguments must be at least 2, examples at least 1 and lengths "
            f"0 < shortest < longest - 1; got {depth}, {arguments}, {examples}, "
            f"{shortest}, {longest}"
        )
    draws, found = random.Random(draw_seed), dict[tuple[int, ...], None]()
    while len(found) < examples:
        tokens = _drawn(draws, depth, arguments, longest)
        if shortest < len(tokens) < longest:
            found[tuple(tokens)] = None
    inputs = np.zeros((examples, longest - 1), np.int32)
    for place, tokens in enumerate(found):
        inputs[place, : len(tokens)] = tokens
    label = np.array([worked_out(tokens) for tokens in found])
    return labelled(inputs, label, batch=batch, held_out=held_out, seed=seed)
