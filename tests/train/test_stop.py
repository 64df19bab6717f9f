import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from kexue_jax.train.stop import Interrupted, StopRequest


@pytest.mark.parametrize("number", StopRequest.signals)
def test_a_signal_asks_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.at(3)
        os.kill(os.getpid(), number)
        assert stop.at(3)
    assert signal.getsignal(number) is before


def test_a_signal_interrupts_only_where_it_may():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)  # raises nothing here
        with pytest.raises(Interrupted), stop.interruptible():
            raise AssertionError("entered although a stop was asked for")
    with StopRequest() as stop:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted), stop.interruptible():
            time.sleep(5)
        with pytest.raises(Interrupted), stop.interruptible():
            pass


def test_a_second_signal_ends_the_process_at_once():
    code = (
        "import os, signal, time\n"
        "from kexue_jax.train.stop import StopRequest\n"
        "with StopRequest():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM


def test_another_thread_installs_no_handlers():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter():
        with StopRequest():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
