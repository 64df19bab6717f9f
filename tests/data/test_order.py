"""The order of examples is a pure function of seed and step."""

import subprocess
import sys

import numpy as np
import pytest

from kexue_jax.data.order import Shuffled


def epoch_of(order, epoch):
    """Entries of one epoch, read through the batches that touch it."""
    first, n = epoch * order.examples, order.examples
    steps = range(first // order.batch_size, (first + n - 1) // order.batch_size + 1)
    stream = np.concatenate([order.indices(step) for step in steps])
    skip = first - steps[0] * order.batch_size
    return stream[skip : skip + n]


@pytest.mark.parametrize("examples", [1, 2, 3, 7, 64, 65, 100])
@pytest.mark.parametrize("batch_size", [1, 4, 150])
def test_every_epoch_holds_every_example_once(examples, batch_size):
    order = Shuffled(examples, batch_size, seed=3)
    for epoch in (0, 1, 5):
        np.testing.assert_array_equal(
            np.sort(epoch_of(order, epoch)), np.arange(examples)
        )


def test_two_epochs_have_different_orders():
    order = Shuffled(examples=50, batch_size=10, seed=0)
    orders = {tuple(epoch_of(order, epoch)) for epoch in range(8)}
    assert len(orders) == 8


def test_two_seeds_have_different_orders():
    orders = {tuple(Shuffled(50, 50, seed).indices(0)) for seed in range(8)}
    assert len(orders) == 8


def test_an_order_is_not_the_order_of_the_file():
    assert Shuffled(50, 50, seed=0).indices(0).tolist() != list(range(50))


def test_a_step_read_alone_equals_the_step_read_in_sequence():
    order = Shuffled(examples=13, batch_size=5, seed=1)
    walked = [order.indices(step) for step in range(40)]
    for step in (39, 7, 0, 22):
        alone = Shuffled(examples=13, batch_size=5, seed=1).indices(step)
        np.testing.assert_array_equal(alone, walked[step])


def test_the_batch_size_cuts_the_stream_but_does_not_change_it():
    small = Shuffled(examples=9, batch_size=2, seed=4)
    large = Shuffled(examples=9, batch_size=12, seed=4)
    streams = [
        np.concatenate([order.indices(step) for step in range(24 // order.batch_size)])
        for order in (small, large)
    ]
    np.testing.assert_array_equal(*streams)


def test_a_single_example_is_every_batch():
    assert Shuffled(1, 3, seed=0).indices(10**6).tolist() == [0, 0, 0]


def test_first_places_are_spread_evenly_over_seeds():
    first = [Shuffled(4, 1, seed).indices(0)[0] for seed in range(400)]
    counts = np.bincount(first, minlength=4)
    assert np.sum((counts - 100) ** 2 / 100) < 16.3  # chi squared, 3 degrees, 0.1%


def test_indices_are_int64_and_far_steps_are_reached():
    indices = Shuffled(1000, 4, seed=0).indices(10**12)
    assert indices.dtype == np.int64
    assert indices.shape == (4,)
    assert ((indices >= 0) & (indices < 1000)).all()


def test_numpy_integers_are_taken():
    order = Shuffled(np.int64(5), np.int32(5), seed=np.uint8(0))
    np.testing.assert_array_equal(
        order.indices(np.int64(0)), Shuffled(5, 5, seed=0).indices(0)
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("examples", 0),
        ("batch_size", 0),
        ("seed", -1),
        ("examples", 2.0),
        ("batch_size", "4"),
        ("seed", True),
        ("seed", None),
    ],
)
def test_a_bad_argument_is_named_with_its_value(name, value):
    arguments = dict(examples=5, batch_size=2, seed=0) | {name: value}
    with pytest.raises(ValueError, match=rf"{name} must be .*got {value!r}"):
        Shuffled(**arguments)


@pytest.mark.parametrize("examples", [4096, 4097])
def test_both_sides_of_the_size_where_the_method_changes_are_permutations(examples):
    order = Shuffled(examples, batch_size=1000, seed=2)
    np.testing.assert_array_equal(np.sort(epoch_of(order, 1)), np.arange(examples))
    assert not np.array_equal(epoch_of(order, 0), epoch_of(order, 1))


def test_far_epochs_of_a_large_set_are_reached_at_once():
    order = Shuffled(examples=60_000, batch_size=64, seed=0)
    indices = order.indices(10**9)
    assert len(set(indices.tolist())) == 64
    assert indices.max() < 60_000


@pytest.mark.parametrize("step", [-1, 0.5])
def test_a_bad_step_is_named_with_its_value(step):
    with pytest.raises(ValueError, match=rf"step must be .*got {step}"):
        Shuffled(5, 2, seed=0).indices(step)


def test_importing_the_module_imports_neither_grain_nor_jax():
    code = (
        "import sys, kexue_jax.data.order; "
        "assert not {'grain', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
