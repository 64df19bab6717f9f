import threading
import time

import pytest

from kexue_jax.train.watchdog import EXIT_HANG, Watchdog


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def dog_of(tmp_path, seconds=10.0, **options):
    clock, left = Clock(), threading.Event()
    codes = []

    def leave(code):
        codes.append(code)
        left.set()

    stream = open(tmp_path / "log", "w+", encoding="utf-8")  # noqa: SIM115
    dog = Watchdog(seconds, stream=stream, leave=leave, clock=clock, **options)
    return dog, clock, left, codes


def test_a_step_that_never_ends_ends_the_process_with_all_stacks(tmp_path):
    dog, clock, left, codes = dog_of(tmp_path, 0.1)
    with dog:
        dog.beat()
        clock.now = 0.09
        assert not left.wait(0.1)
        clock.now = 0.5
        assert left.wait(5)
    assert codes == [EXIT_HANG]
    text = (tmp_path / "log").read_text()
    assert "no progress for 0 s while training" in text
    assert text.count("hread 0x") >= 2


@pytest.mark.parametrize(("step", "limit"), [(0.1, 10.0), (0.5, 10.0), (2.0, 40.0)])
def test_slow_steps_get_twenty_medians(tmp_path, step, limit):
    dog, clock, *_ = dog_of(tmp_path)
    for _ in range(9):
        clock.now += step
        dog.beat()
    clock.now += 1000  # one outlier does not move a median
    dog.beat()
    assert dog.limit() == pytest.approx(limit)


def test_other_phases_have_their_own_limit_and_are_no_steps(tmp_path):
    dog, clock, *_ = dog_of(tmp_path, slow_seconds=99.0)
    assert dog.limit() == 99.0  # setting up
    dog.beat()
    assert dog.limit() == 10.0
    with dog.phase("compiling"):
        assert dog.limit() == 99.0
        clock.now += 50
    assert dog.limit() == 10.0
    clock.now += 0.1
    dog.beat()
    assert dog.limit() == 10.0


def test_leaving_waits_for_a_dog_that_has_barked(tmp_path):
    dog, clock, _, codes = dog_of(tmp_path, 0.05, grace_seconds=0.3)
    with dog:
        dog.beat()
        clock.now = 1.0
        until = time.monotonic() + 5
        while not (tmp_path / "log").read_text():
            assert time.monotonic() < until
            time.sleep(0.01)
    assert codes == [EXIT_HANG]


def test_a_run_that_ends_in_time_is_left_alone(tmp_path):
    dog, clock, left, _ = dog_of(tmp_path, 0.05)
    with dog:
        dog.beat()
    clock.now = 100.0
    assert not left.wait(0.2)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_limit_must_be_positive(seconds):
    with pytest.raises(ValueError, match="seconds must be positive"):
        Watchdog(seconds)
