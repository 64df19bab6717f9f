"""The characters of a standard as tokens: a vocabulary that no text has to be read for.

Encoders that are to exchange weights need one vocabulary; `Characters` learns another
one from each text.
"""

from collections.abc import Sequence

from kexue_jax.data.characters import Characters
from kexue_jax.data.wordpiece import MARKS

_AS_WRITTEN = {"\u2015": "\u2014", "\u30fb": "\u00b7"}
"""The dash and the dot between names, which Python's table has as other signs."""


def simplified_characters() -> list[str]:
    """Returns the signs of ASCII and those of GB 2312, in the order of their codes.

    They are 6,763 Chinese characters in their simplified forms, and signs such as
    punctuation, wide letters, Greek and Japanese syllables. Upper case is left out.
    """
    signs = [chr(code) for code in range(32, 127)]
    for row in range(0xA1, 0xF8):
        for cell in range(0xA1, 0xFF):
            try:
                signs.append(bytes([row, cell]).decode("gb2312"))
            except UnicodeDecodeError:
                continue  # a place without a sign
    signs = [_AS_WRITTEN.get(sign, sign) for sign in signs]
    return [sign for sign in dict.fromkeys(signs) if sign == sign.lower()]


class StandardCharacters(Characters):
    """`Characters` whose tokens are those of a list, and learned from nothing."""

    def __init__(
        self,
        characters: Sequence[str] | None = None,
        *,
        length: int | None = 512,
    ):
        """Numbers the marks from 0 on, then the characters.

        Args:
          characters: of one sign each, in lower case, none twice; None for those of
            `simplified_characters`. Others are [UNK].
          length: the most tokens of a text, marks included, as in `Characters`.

        Raises:
          ValueError: if a character is not of this form, or `length` is below 4.
        """
        known = simplified_characters() if characters is None else [*characters]
        wrong = [sign for sign in known if len(sign) != 1 or sign != sign.lower()]
        if wrong or len({*known}) < len(known):
            raise ValueError(
                "characters must be single, in lower case and there once, got "
                f"{wrong[:3] or 'one twice'}"
            )
        super().__init__((), length=length)
        self._pieces = [*MARKS, *known]
        self._row_of = {piece: row for row, piece in enumerate(self._pieces)}
        self.vocabulary = len(self._pieces)
