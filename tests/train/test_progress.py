import io
import re

import pytest

from kexue_jax.train.progress import Progress


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and knows what a person would see."""

    encoding = "utf-8"

    def isatty(self):
        return True

    def screen(self):
        lines = self.getvalue().split("\n")
        return [re.split(r"\r\x1b\[K", line)[-1] for line in lines]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_time_left_is_what_remains_over_the_rate(clock, terminal):
    progress = Progress(1000, stream=terminal, clock=clock)
    for step in range(1, 101):
        clock.now += 0.5
        progress.update(step, {"loss": 2.5})
    assert progress.rate == pytest.approx(2.0)
    assert "ETA 7:30" in terminal.screen()[-1]
    assert "loss 2.5" in terminal.screen()[-1]
    assert "2 steps/s" in terminal.screen()[-1]


def test_pauses_are_not_part_of_the_rate_even_when_nested(clock):
    progress = Progress(100, stream=io.StringIO(), clock=clock)
    for step in range(1, 11):
        with progress.pause():
            clock.now += 500
            with progress.pause():
                clock.now += 500
            clock.now += 500
        clock.now += 0.25
        progress.update(step)
    assert progress.rate == pytest.approx(4.0)


def test_a_pause_ends_when_what_it_holds_raises(clock):
    progress = Progress(100, stream=io.StringIO(), clock=clock)
    pause = progress.pause()
    pause.__enter__()
    clock.now += 50
    assert not pause.__exit__(KeyError, KeyError(), None)
    clock.now += 1
    progress.update(1)
    assert progress.rate == pytest.approx(1.0)


def test_the_rate_follows_a_change_and_forgets_a_slow_start(clock):
    progress = Progress(10**6, stream=io.StringIO(), clock=clock)
    clock.now += 60
    progress.update(1)
    for step in range(2, 2000):
        clock.now += 0.1
        progress.update(step)
    assert progress.rate == pytest.approx(10.0, rel=0.05)


def test_a_coarse_clock_loses_no_steps(clock):
    progress = Progress(1000, stream=io.StringIO(), clock=clock)
    for step in range(1, 101):
        clock.now += 1.0 if step % 10 == 0 else 0.0
        progress.update(step)
    assert progress.rate == pytest.approx(10.0)


def test_a_clock_that_jumps_back_gives_no_negative_rate_or_time(clock, terminal):
    progress = Progress(100, stream=terminal, clock=clock)
    for step, jump in enumerate([1, -500, 1, -3, 0, 1e9, -1e9, 1], 1):
        clock.now += jump
        progress.update(step, {"loss": 1.0})
        assert progress.rate >= 0
    progress.close()
    assert "ETA -" not in terminal.getvalue().replace("ETA -:--", "")


@pytest.mark.parametrize("total", [0, 1, 7])
def test_nothing_is_divided_by_zero_when_no_time_passes(total, clock, terminal):
    progress = Progress(total, stream=terminal, clock=clock)
    assert progress.rate == 0.0
    for step in range(total + 1):
        progress.update(step, {"loss": float("nan")})
    progress.close()
    assert "100%" in terminal.screen()[-2]


def test_a_resumed_run_counts_only_its_own_steps(clock):
    stream = io.StringIO()
    progress = Progress(1000, start=900, stream=stream, every_seconds=0, clock=clock)
    clock.now += 10
    progress.update(910)
    assert progress.rate == pytest.approx(1.0)
    assert "910/1000" in stream.getvalue()
    assert "ETA 1:30" in stream.getvalue()


def test_more_steps_than_the_total_stay_at_a_hundred_percent(clock):
    stream = io.StringIO()
    progress = Progress(10, start=12, stream=stream, every_seconds=0, clock=clock)
    clock.now += 1
    progress.update(13)
    assert stream.getvalue().startswith("100%")
    assert "ETA 0:00" in stream.getvalue()


def test_a_file_gets_whole_lines_every_so_many_seconds(clock):
    stream = io.StringIO()
    progress = Progress(1000, stream=stream, every_seconds=10, clock=clock)
    for step in range(1, 101):
        clock.now += 1
        progress.update(step, {"loss": 1 / step})
    progress.close()
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert "100/1000" in lines[-1]


def test_close_writes_the_last_step_of_a_file_once(clock):
    stream = io.StringIO()
    progress = Progress(3, stream=stream, clock=clock)
    progress.update(3, {"loss": 0.5})
    progress.close()
    progress.update(3)
    assert stream.getvalue().count("3/3") == 1


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_an_evaluation_leaves_a_line_of_its_own(kind, clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = kind()
    progress = Progress(100, stream=stream, clock=clock)
    clock.now += 1
    progress.update(50, {"loss": 1.5})
    progress.update(50, {"valid/nll": 1.25, "valid/accuracy": 0.5})
    progress.close()
    lines = Terminal.screen(stream)
    assert "step 50  valid/nll 1.25  valid/accuracy 0.5" in lines
    assert any("50/100" in line and "loss 1.5" in line for line in lines)


def test_a_message_does_not_break_the_bar(clock, terminal):
    progress = Progress(10, stream=terminal, clock=clock)
    clock.now += 1
    progress.update(5)
    progress.line("保存 checkpoint 5")
    assert terminal.screen()[0] == "保存 checkpoint 5"
    assert "5/10" in terminal.screen()[1]
    progress.close()
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize("columns", [1, 12, 20, 40, 80, 200])
def test_the_bar_is_narrower_than_the_terminal(columns, clock, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    progress = Progress(123456, stream=terminal, clock=clock)
    scores = {"loss": 1.2345678, "gradient_norm": 3.3, "learning_rate": 1e-3}
    for step in range(0, 123456, 12345):
        clock.now += 3
        progress.update(step, scores)
    progress.close()
    shown = re.split(r"\r\x1b\[K|\n", terminal.getvalue())
    assert max(map(len, shown)) < max(columns, 2)
    if columns >= 80:
        assert "━" in terminal.getvalue()


def test_a_terminal_without_unicode_gets_letters_it_has(clock, terminal):
    terminal.encoding = "ascii"
    progress = Progress(10, stream=terminal, clock=clock)
    clock.now += 1
    progress.update(5, {"loss": 1.0})
    progress.close()
    assert terminal.getvalue().isascii()
    assert "#" in terminal.getvalue()


def test_a_dumb_terminal_gets_plain_lines(clock, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    progress = Progress(10, stream=terminal, every_seconds=0, clock=clock)
    clock.now += 1
    progress.update(5)
    progress.close()
    assert "\x1b" not in terminal.getvalue()


def test_a_terminal_is_not_redrawn_at_every_step(clock, terminal):
    progress = Progress(10000, stream=terminal, clock=clock)
    for step in range(10000):
        clock.now += 0.001
        progress.update(step)
    assert terminal.getvalue().count("\r") <= 101


def test_other_processes_write_nothing(clock):
    stream = io.StringIO()
    progress = Progress(10, stream=stream, enabled=False, every_seconds=0, clock=clock)
    clock.now += 1
    progress.update(5, {"valid/nll": 1.0})
    progress.line("hello")
    progress.close()
    assert stream.getvalue() == ""
    assert progress.rate == pytest.approx(5.0)


def test_scores_become_floats_only_when_a_line_is_drawn(clock):
    class Lazy:
        read = 0

        def __float__(self):
            Lazy.read += 1
            return 1.0

    stream = io.StringIO()
    progress = Progress(1000, stream=stream, every_seconds=10, clock=clock)
    for step in range(1, 101):
        clock.now += 1
        progress.update(step, {"loss": Lazy()})
    assert Lazy.read == 10


def test_slow_steps_are_told_in_seconds_a_step(clock):
    stream = io.StringIO()
    progress = Progress(10**6, stream=stream, every_seconds=0, clock=clock)
    clock.now += 4
    progress.update(1)
    assert "4 s/step" in stream.getvalue()
    assert "ETA 46d 07h" in stream.getvalue()


@pytest.mark.parametrize("name", ["total", "start", "every_seconds"])
def test_a_negative_number_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} must be >= 0, got -1"):
        Progress(**({"total": 1} | {name: -1}))


def test_steps_of_an_earlier_process_are_shown_and_not_in_the_rate(clock, terminal):
    progress = Progress(1000, stream=terminal, clock=clock)
    clock.now += 3
    progress.go_on_from(900)
    for step in range(901, 921):
        clock.now += 1.0
        progress.update(step)
    assert progress.rate == pytest.approx(1.0)
    assert "920/1000" in terminal.screen()[-1]
    assert "ETA 1:20" in terminal.screen()[-1]
