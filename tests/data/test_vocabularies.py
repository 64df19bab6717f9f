import pytest

from kexue_jax.data.vocabularies import FILES, vocabulary
from kexue_jax.data.wordpiece import MARKS

SIZES = {
    "bert_base_chinese": 21_128,
    "bert_base_uncased": 30_522,
    "wobert_base": 33_586,
    "wobert_plus": 50_000,
}


@pytest.mark.parametrize("name", FILES)
def test_published_vocabularies_have_their_sizes_and_marks(name, real_set):
    found = vocabulary(name, path=real_set("vocab"))
    assert len(found) == SIZES[name]
    assert set(MARKS) <= set(found)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="name must be one of bert_base_chinese"):
        vocabulary("gpt")
