"""An n-gram model of bytes: interpolated Kneser-Ney with three discounts."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """How often each n-gram counts, and what its context keeps for shorter ones.

    `count` and `discount` are ``[U]``, one an n-gram; `total` and `reserve` are
    ``[C]``, one a context, its sums of counts and of discounts.
    """

    count: np.ndarray
    discount: np.ndarray
    total: np.ndarray
    reserve: np.ndarray


class Level(NamedTuple):
    """All n-grams of one length.

    `keys` are ``[U]`` int64, sorted: 256 times the place, one level below, of what
    comes before the last byte, plus that byte. `raw` counts occurrences and serves
    where this is the longest length; `lower` counts different bytes to the left.
    """

    keys: np.ndarray
    raw: Table
    lower: Table


class NGrams(NamedTuple):
    """One level for each length from 1 to the order."""

    levels: tuple[Level, ...]


def _table(keys, contexts, count):
    found = np.maximum(np.bincount(np.minimum(count, 5), minlength=6)[1:5], 1).tolist()
    share = found[0] / (found[0] + 2 * found[1])
    steps = [n - (n + 1) * share * found[n] / found[n - 1] for n in (1, 2, 3)]
    # Above its count a discount makes probabilities negative; at 0 it leaves nothing
    # for unseen bytes.
    steps = [min(max(step, 0.05), n) for n, step in enumerate(steps, 1)]
    discounts = np.array([0.0, *steps])
    discount = discounts[np.minimum(count, 3)]
    owner = keys // 256
    total = np.bincount(owner, count, minlength=contexts)
    reserve = np.bincount(owner, discount, minlength=contexts)
    return Table(count.astype(float), discount, total, reserve)


def fit(text: bytes, *, order: int) -> NGrams:
    """Counts all n-grams of a text up to a length.

    Args:
      text: at least `order` + 1 bytes.
      order: the longest length counted, in bytes, at least 1.

    Returns:
      The levels that `log2_probabilities` reads.

    Raises:
      ValueError: if the text is too short or `order` is less than 1.

    Numerics: exact integers; n-grams are ranks, so nothing collides.
    Source: Chen and Goodman, An empirical study of smoothing techniques for language
      modeling, 1998, https://dash.harvard.edu/handle/1/25104739 (modified Kneser-Ney).
    """
    if order < 1 or len(text) <= order:
        raise ValueError(
            f"order must be at least 1 and below the length of the text, got {order} "
            f"for {len(text)} bytes"
        )
    found = list(_grams(np.frombuffer(text, np.uint8), order))
    levels = []
    for length, (keys, count, _) in enumerate(found, 1):
        contexts = 1 if length == 1 else len(found[length - 2][0])
        raw = lower = _table(keys, contexts, count)
        if length < order:
            left = np.bincount(found[length][2], minlength=len(keys))
            # the one at the start of the text has no left
            lower = _table(keys, contexts, np.maximum(left, 1))
        levels.append(Level(keys, raw, lower))
    return NGrams(tuple(levels))


def _grams(
    symbols: np.ndarray, order: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Gives the keys, the counts and the suffixes' places of each length in turn.

    One sort serves all lengths: where the places of a text are in the order of the
    bytes that follow them, equal n-grams of any length lie side by side, and what two
    neighbours have in common says at which lengths they differ.
    """
    size = len(symbols)
    padded = np.concatenate([symbols, np.zeros(order + 7, np.uint8)])
    start = _sorted_places(padded, size, order)
    rank = np.empty(size + 1, np.int32)
    rank[start], rank[size] = np.arange(size, dtype=np.int32), 0
    common = _common(padded, start, order)
    shorter = np.zeros(size, np.int32)  # places one level below, by the rank
    for length in range(1, order + 1):
        new = common < length  # whether an n-gram differs from the one before it
        short = rank[max(size - length + 1, 0) : size]  # the text ends inside them
        for place in np.sort(short):
            new[place + 1 : place + 2] |= new[place]
            new[place] = False
        firsts = np.flatnonzero(new)
        some = start[firsts]
        keys = shorter[firsts].astype(np.int64) * 256 + padded[some + length - 1]
        count = np.diff(firsts, append=size)
        owner = np.searchsorted(firsts, short, "right") - 1
        np.subtract.at(count, owner[owner >= 0], 1)
        yield keys, count, shorter[rank[some + 1]]
        shorter = np.cumsum(new, dtype=np.int32) - 1


def _sorted_places(padded: np.ndarray, size: int, order: int) -> np.ndarray:
    """Returns the places of a text by the bytes from there on, at least `order` many.

    The ranks of the first 8 bytes and of the next 8 make those of 16, and so on.
    """
    eights = np.lib.stride_tricks.sliding_window_view(padded, 8)[:size]
    key = eights.copy().view(">u8")[:, 0].astype(np.uint64)
    start, known = np.argsort(key), 8
    while known < order:
        ordered = key[start]
        rank, behind = np.empty((2, size), np.uint64)
        rank[start] = np.cumsum(np.append(True, ordered[1:] != ordered[:-1]))
        behind[:] = 0  # where the text has ended
        behind[: max(size - known, 0)] = rank[known:]
        key = rank << np.uint64(32) | behind
        start, known = np.argsort(key), 2 * known
    return start


def _common(padded: np.ndarray, start: np.ndarray, order: int) -> np.ndarray:
    """Returns how many first bytes each place shares with the one before it."""
    common = np.zeros(len(start), np.uint8 if order < 256 else np.int64)
    same, last = np.ones(len(start), bool), padded[start]
    same[:1] = False
    for length in range(1, order + 1):
        same[1:] &= last[1:] == last[:-1]
        common += same
        last = padded[start + length]
    return common


def _mixed(table, shorter, place, hit, context, known):
    """One step of the interpolation; unknown contexts leave it to shorter ones."""
    own = np.where(hit, np.maximum(table.count[place] - table.discount[place], 0.0), 0)
    total = np.where(known, table.total[context], 1.0)
    total = np.maximum(total, 1e-300)
    mixed = (own + table.reserve[context] * shorter) / total
    return np.where(known, mixed, shorter)


def log2_probabilities(model: NGrams, text: bytes, history: bytes = b"") -> np.ndarray:
    """Returns what each order gives the bytes of a text, each after all before it.

    Args:
      model: of `fit`; it does not learn from `text`.
      text: T bytes.
      history: bytes before the text, seen but not scored.

    Returns:
      ``[order, T]`` float64, logarithms to base 2; row n - 1 belongs to the model
      whose longest n-grams have n bytes. For any history the probabilities of the 256
      bytes sum to 1, and none is 0.
    """
    symbols = np.frombuffer(history + text, np.uint8).astype(np.int64)
    start, shorter = len(history), np.full(len(text), 1.0 / 256)
    before = np.zeros(len(symbols), np.int64)  # place of the context, -1 if unknown
    rows = []
    for level in model.levels:
        spelled = before * 256 + symbols
        place = np.minimum(np.searchsorted(level.keys, spelled), len(level.keys) - 1)
        hit = (before >= 0) & (level.keys[place] == spelled)
        known = before >= 0
        # A context that only ends the training text was never followed by anything.
        context = np.where(known, before, 0)
        view = [array[start:] for array in (place, hit, context)]
        seen = known[start:] & (level.raw.total[context[start:]] > 0)
        rows.append(np.log2(_mixed(level.raw, shorter, *view, seen)))
        shorter = _mixed(level.lower, shorter, *view, seen)
        before = np.concatenate([[-1], np.where(hit, place, -1)[:-1]])
    return np.stack(rows)


def best_order(text: bytes, *, longest: int, share: float = 0.1) -> int:
    """Returns the order that best predicts the end of a text from its beginning.

    Args:
      text: the training text; what is held out must not be in it.
      longest: the longest n-grams to try, in bytes.
      share: the part of `text`, at its end, that is predicted.
    """
    cut = len(text) - max(1, round(share * len(text)))
    start, end = text[:cut], text[cut:]
    bits = log2_probabilities(fit(start, order=longest), end, start[-longest:])
    return 1 + int(np.argmax(bits.mean(axis=1)))


def bits_per_byte(train: bytes, text: bytes, *, order: int) -> float:
    """Returns the mean bits that the n-grams of one text need for a byte of another.

    Args:
      train: what is counted.
      text: what is predicted, as if it began after an empty line.
      order: the longest n-grams, in bytes.
    """
    model = fit(train, order=order)
    return float(-log2_probabilities(model, text, b"\n\n")[-1].mean())
