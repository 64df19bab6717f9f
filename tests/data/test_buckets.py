import numpy as np
import pytest

from kexue_jax.data.buckets import Axes, Bucketed

AXES = {
    "tokens": Axes(("T",)),
    "spans": Axes((None, "K", None), fill=-1),
    "label": Axes(()),
}


def examples(count=53):
    draws = np.random.default_rng(0)
    sizes = draws.integers(1, 60, count)
    return [
        {
            "tokens": draws.integers(1, 9, size).astype(np.int32),
            "spans": draws.integers(0, 9, (3, size % 7, 2)).astype(np.int32),
            "label": np.array(place, np.int32),
        }
        for place, size in enumerate(sizes)
    ]


def made(**changes):
    options = dict(batch=4, lengths=(16, 32, 64), pool=5) | changes
    return Bucketed(examples(), AXES, **options)


def test_every_epoch_has_every_example_once():
    source = made()
    assert source.steps == 14
    for epoch in range(3):
        batches = [source(14 * epoch + place) for place in range(14)]
        found = np.concatenate([b["example"][b["weight"] > 0] for b in batches])
        assert sorted(found) == list(range(53))
    orders = [
        [source(14 * e + p)["example"].tolist() for p in range(14)] for e in (0, 1)
    ]
    assert orders[0] != orders[1]
    assert made(seed=1)(0)["example"].tolist() != source(0)["example"].tolist()


def test_a_batch_is_a_function_of_its_step_alone():
    for step in (0, 13, 14, 200):
        for name, array in made()(step).items():
            np.testing.assert_array_equal(array, made()(step)[name])


def test_rows_are_the_examples_and_what_fills_them_up():
    source, whole = made(), examples()
    for step in range(14):
        batch = source(step)
        length = batch["tokens"].shape[1]
        assert length in (16, 32, 64)
        longest = max(len(whole[i]["tokens"]) for i in batch["example"] if i >= 0)
        assert length == next(n for n in (16, 32, 64) if n >= longest)
        assert batch["spans"].shape[2] in (4, 8)
        for row, place in enumerate(batch["example"]):
            if place < 0:
                assert not batch["kept"][row].any()
                assert (batch["spans"][row] == -1).all()
                assert batch["weight"][row] == 0.0
                continue
            example = whole[place]
            size, count = len(example["tokens"]), example["spans"].shape[1]
            assert batch["kept"][row].sum() == size == batch["kept"][row, :size].sum()
            np.testing.assert_array_equal(
                batch["tokens"][row, :size], example["tokens"]
            )
            assert not batch["tokens"][row, size:].any()
            spans = batch["spans"][row]
            np.testing.assert_array_equal(spans[:, :count], example["spans"])
            assert (spans[:, count:] == -1).all()
            assert batch["label"][row] == place


def test_texts_of_one_length_stand_together_and_few_shapes_occur():
    source = made()
    sizes = [len(example["tokens"]) for example in examples()]
    spread = [
        np.ptp([sizes[i] for i in source(step)["example"] if i >= 0])
        for step in range(source.steps)
    ]
    assert np.mean(spread) < 0.5 * np.ptp(sizes)
    shapes = {tuple(source(s)["tokens"].shape) for s in range(3 * source.steps)}
    assert len(shapes) <= 3
    rows = np.concatenate([b["example"] for b in source.all_batches()])
    assert sorted(rows[rows >= 0]) == list(range(53))


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(ValueError, match="examples must be at least one"):
        Bucketed([], AXES)
    with pytest.raises(ValueError, match="lengths must reach 58"):
        made(lengths=(16, 32))
    with pytest.raises(ValueError, match="axes must name all arrays, got none for"):
        Bucketed(examples(), {k: v for k, v in AXES.items() if k != "label"})
    with pytest.raises(ValueError, match="batch and pool must be at least 1"):
        made(batch=0)
    assert made().fingerprint() == made(batch=8).fingerprint()
    other = examples()
    other[0]["tokens"][0] += 1
    assert Bucketed(other, AXES, lengths=(64,)).fingerprint() != made().fingerprint()
