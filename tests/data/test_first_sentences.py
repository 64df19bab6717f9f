import pytest

from kexue_jax.data.annotated import Entities
from kexue_jax.data.corpora import Corpus
from kexue_jax.data.first_sentences import first_sentences


def test_sentences_are_short_and_each_is_there_once():
    texts = ["短。", "一二三四五六七八九十一二三四五六。又", "长" * 60]
    examples = [Entities(text, ()) for text in [*texts, *texts]]
    corpus = Corpus(examples, [], [], notes={})
    assert first_sentences(corpus, count=1) == ("一二三四五六七八九十一二三四五六",)
    with pytest.raises(ValueError, match="count must be from 1 to 1, got 2"):
        first_sentences(corpus, count=2)
