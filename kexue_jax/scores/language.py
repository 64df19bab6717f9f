"""How well a language model predicts a text, in units that people compare."""

import math


def perplexity(nats: float, tokens: float) -> float:
    r"""Returns :math:`\exp` of the mean negative log-likelihood of a token.

    Models with other tokens are compared by `bits_per_character`.

    Args:
      nats: the sum of the negative log-likelihoods.
      tokens: how many were predicted, without padding and what opens a text.

    Returns:
      float, inf where it is beyond all floats.

    Raises:
      ValueError: if `tokens` is not positive.

    >>> round(perplexity(20 * math.log(8.0), 20), 12)
    8.0
    """
    if not tokens > 0:
        raise ValueError(f"tokens must be positive, got {tokens}")
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


def bits_per_character(nats: float, characters: float) -> float:
    """Returns how many bits a character of the text takes, whatever the tokens are.

    Args:
      nats: the sum of the negative log-likelihoods of the text.
      characters: how many it has; with bytes, bits of a byte.

    Raises:
      ValueError: if `characters` is not positive.

    >>> bits_per_character(math.log(16.0), 2)
    2.0
    """
    if not characters > 0:
        raise ValueError(f"characters must be positive, got {characters}")
    return nats / math.log(2.0) / characters
