import threading
import time

import numpy as np
import pytest

from kexue_jax.train.prefetch import Prefetch


def test_batches_come_in_order_from_any_step():
    ahead = Prefetch(lambda step: step**2, 3, 8, depth=2)
    assert [ahead.take(step) for step in range(3, 8)] == [9, 16, 25, 36, 49]
    ahead.close()


def test_no_more_than_depth_lie_ready():
    made = []
    ahead = Prefetch(lambda step: made.append(step), 0, 100, depth=3)
    time.sleep(0.3)
    assert made == [0, 1, 2]
    for step in range(20):
        ahead.take(step)
        assert len(made) <= step + 1 + 3
    ahead.close()


def test_by_default_small_batches_lie_ready_by_the_dozen_and_large_ones_in_pairs():
    def ready(size):
        made = []

        def make(step):
            made.append(step)
            return {"x": np.zeros(size, np.uint8)}

        ahead = Prefetch(make, 0, 100)
        time.sleep(0.3)
        ahead.close()
        return len(made)

    assert ready(1000) == 32
    assert ready(20 << 20) == 3
    assert ready(50 << 20) == 2


def test_an_error_is_raised_where_the_batch_is_wanted_with_its_step():
    def make(step):
        if step == 2:
            raise KeyError("no such file")
        return step

    ahead = Prefetch(make, 0, 5)
    assert [ahead.take(0), ahead.take(1)] == [0, 1]
    with pytest.raises(KeyError, match="no such file") as found:
        ahead.take(2)
    assert found.value.__notes__ == ["while making the batch of step 2"]
    ahead.close()


def test_a_step_out_of_order_is_refused():
    ahead = Prefetch(lambda step: step, 0, 5)
    with pytest.raises(RuntimeError, match="0 is next, not 1"):
        ahead.take(1)
    ahead.close()


def test_closing_ends_the_thread_but_does_not_wait_for_a_source_that_hangs():
    ahead = Prefetch(lambda step: step, 0, 100)
    ahead.close()
    assert not ahead._thread.is_alive()
    never = threading.Event()
    ahead = Prefetch(lambda step: never.wait(60), 0, 100)
    since = time.monotonic()
    ahead.close()
    assert time.monotonic() - since < 5
    never.set()


def test_a_depth_of_nothing_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        Prefetch(lambda step: step, 0, 1, depth=0)
