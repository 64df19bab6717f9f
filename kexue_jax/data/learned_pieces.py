"""A vocabulary of WordPiece that is learned from texts."""

from collections.abc import Iterable

from kexue_jax.data.wordpiece import MARKS, WordPiece


def learned_pieces(
    texts: Iterable[str],
    *,
    vocabulary: int,
    lowercase: bool = True,
    length: int | None = 512,
) -> WordPiece:
    """Returns a `WordPiece` whose pieces are learned, the same on every machine.

    Pieces are merged by the counts of their pairs, as those of byte-pair encoding.

    Args:
      texts: those to learn from, alone.
      vocabulary: V, the most pieces, marks included.
      lowercase, length: of `WordPiece`.

    Raises:
      ValueError: if `vocabulary` has no room for the marks and each sign of the texts.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    texts = [*texts]
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words: set[str] = set()
    for text in texts:
        plain = learner.normalizer.normalize_str(text)
        words |= {word for word, _ in learner.pre_tokenizer.pre_tokenize_str(plain)}
    signs = sorted({sign for word in words for sign in word})
    others = sorted({f"##{sign}" for word in words for sign in word[1:]})
    # Single signs come first, in order: ties are broken by the numbers of pieces, and
    # the trainer would number them in an order that differs from run to run.
    given = [*MARKS, *signs, *others]
    if vocabulary < len(given):
        raise ValueError(
            f"vocabulary must have room for {len(given)} marks and signs, got "
            f"{vocabulary}"
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=given, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    row_of = learner.get_vocab()
    pieces = sorted(row_of, key=lambda piece: row_of[piece])
    return WordPiece(pieces, lowercase=lowercase, length=length)
