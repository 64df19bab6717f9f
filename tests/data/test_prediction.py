import numpy as np
import pytest

from kexue_jax.data.prediction import Hider, Prediction, causal_text, masked_text
from kexue_jax.data.prose import Prose
from kexue_jax.data.tokenization import byte_tokens

TEXT = Prose(
    ("the cat sat on the mat. " * 20, "a rat ran. " * 20), "the rat sat. " * 30
)


def rows(batches, key):
    return np.concatenate([batch[key].reshape(-1) for batch in batches])


def test_targets_of_a_causal_text_are_the_next_tokens():
    made = causal_text(TEXT, byte_tokens, length=8, batch=3, lengths=(4, 16))
    batch = made.source(5)
    assert batch["tokens"].shape == batch["targets"].shape == (3, 8)
    np.testing.assert_array_equal(batch["tokens"][:, 1:], batch["targets"][:, :-1])
    np.testing.assert_array_equal(made.source(5)["tokens"], batch["tokens"])
    assert (made.source(6)["tokens"] != batch["tokens"]).any()
    valid = np.frombuffer(TEXT.valid.encode(), np.uint8)
    for size in (4, 16):
        batches = made.held_out[f"valid_{size}"]
        assert {b["tokens"].shape[1] for b in batches} == {size}
        asked = rows(batches, "weight") == 1.0
        targets = rows(batches, "targets")[asked]
        np.testing.assert_array_equal(np.sort(targets), np.sort(valid[1:]))


def test_hidden_tokens_are_the_same_whatever_the_length():
    made = masked_text(TEXT, byte_tokens, length=8, batch=3, lengths=(13, 39))
    assert made.vocabulary == 257
    one, two = (made.held_out[f"valid_{size}"] for size in (13, 39))
    for key in ("tokens", "targets", "weight"):
        count = len(TEXT.valid)
        np.testing.assert_array_equal(rows(one, key)[:count], rows(two, key)[:count])
    batch, weight = made.source(0), made.source(0)["weight"]
    assert (batch["tokens"] == batch["targets"])[weight == 0].all()


def test_a_hider_keeps_to_its_shares():
    tokens = np.full(200_000, 7)
    hide = Hider(vocabulary=50, rate=0.2)
    batch = hide(tokens, np.random.default_rng(0))
    asked = batch["weight"] == 1.0
    assert abs(asked.mean() - 0.2) < 0.005
    hidden = batch["tokens"][asked]
    assert abs((hidden == 50).mean() - 0.8) < 0.01
    assert abs((hidden == 7).mean() - (0.1 + 0.1 / 50)) < 0.01
    assert hidden.min() >= 0
    assert (batch["tokens"][~asked] == 7).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(rate=0.0), "rate"),
        (dict(rate=1.5), "rate"),
        (dict(masked=0.9, replaced=0.2), "masked and replaced"),
    ],
)
def test_impossible_shares_are_refused_by_name(options, named):
    with pytest.raises(ValueError, match=named):
        Hider(vocabulary=5, **options)


def test_lengths_beyond_the_text_are_refused():
    with pytest.raises(ValueError, match="lengths must be 1 to"):
        causal_text(TEXT, byte_tokens, length=8, batch=2, lengths=(8, 10_000))


def test_the_fingerprint_tells_data_apart():
    def found(seed, **options):
        made = masked_text(TEXT, byte_tokens, length=8, batch=2, seed=seed, **options)
        assert isinstance(made, Prediction)
        return made.fingerprint()

    assert found(0) == found(0)
    assert found(0) != found(1)
    assert found(0) != found(0, rate=0.3)
