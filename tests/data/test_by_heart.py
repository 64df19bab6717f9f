import pytest

from kexue_jax.data.annotated import text_of
from kexue_jax.data.by_heart import by_heart
from kexue_jax.data.drawn_annotations import drawn


def test_the_first_that_are_short_enough_are_all_parts():
    corpus = drawn("mrc_cmrc2018", train=20, held_out=5)
    lengths = sorted(len(text_of(example)) for example in corpus.train)
    few = by_heart(corpus, count=3, longest=lengths[9])
    assert few.train == few.valid == few.test
    short = [e for e in corpus.train if len(text_of(e)) <= lengths[9]]
    assert few.train == tuple(short[:3])
    assert by_heart(corpus, count=20).train == tuple(corpus.train)
    for count in (0, 21):
        with pytest.raises(ValueError, match=f"from 1 to 20, got {count}"):
            by_heart(corpus, count=count)
