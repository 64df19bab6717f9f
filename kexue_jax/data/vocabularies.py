"""Published vocabularies: those of BERT and of WoBERT."""

import os

from kexue_jax.data import fetch
from kexue_jax.data.wordpiece import read_vocabulary

FILES = {
    "bert_base_chinese": "bert_base_chinese_vocab.txt",
    "bert_base_uncased": "bert_base_uncased_vocab.txt",
    "wobert_base": "wobert_base_vocab.txt",
    "wobert_plus": "wobert_plus_vocab.txt",
}


def vocabulary(name: str, *, path: str | os.PathLike | None = None) -> list[str]:
    """Returns the tokens of a published vocabulary, as they are numbered.

    Args:
      name: one of `FILES`.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name.
      DataNotFoundError: if the files are neither here nor to be fetched.
    """
    if name not in FILES:
        raise ValueError(f"name must be one of {', '.join(FILES)}, got {name!r}")
    file = FILES[name]
    return read_vocabulary(fetch.locate("vocab", path, files=[file]) / file)
