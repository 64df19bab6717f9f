import os
import subprocess
import sys

import pytest

TAKEN = """
import resource, threading
from experiments.memory import keep_freed_memory
SIZE = 2**28
print(keep_freed_memory())
def taken():
    b"x" * SIZE
def faults():
    taken()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    taken()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
faults()
thread = threading.Thread(target=faults)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux alone")
def test_what_was_freed_is_taken_again_unless_variables_say_otherwise():
    def lines(**variables):
        done = subprocess.run(
            [sys.executable, "-c", TAKEN],
            capture_output=True,
            check=True,
            text=True,
            env={**os.environ, **variables},
        )
        return done.stdout.split()

    kept = lines()
    if kept[0] == "False":
        pytest.skip("the allocator is not glibc's, or was set by a variable")
    assert max(map(int, kept[1:])) < 100
    plain = lines(MALLOC_TOP_PAD_="131072")
    assert plain[0] == "False"
    assert min(map(int, plain[1:])) > 10_000
