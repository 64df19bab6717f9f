"""Memory that a step has freed stays with the process, for the next step to take."""

import ctypes
import os
import sys

# Of glibc's <malloc.h>: no block of its own from the system for a large array, nothing
# back from the top of the heap, and one heap, as those of threads hold 64 MiB at most.
_SETTINGS = {
    "M_MMAP_MAX": (-4, 0),
    "M_TRIM_THRESHOLD": (-1, -1),
    "M_ARENA_MAX": (-8, 1),
}


def keep_freed_memory() -> bool:
    """Keeps large freed blocks from going back to the system, where glibc is used.

    A training step on a CPU frees and takes the same hundreds of megabytes each time;
    given back, every page of them is cleared by the kernel anew, which is a fifth of
    the time of a small model. The process then holds what it needed at most, until it
    ends. Nothing is changed where ``MALLOC_*`` variables or another allocator say
    otherwise.

    Returns:
      Whether it was set.
    """
    if not sys.platform.startswith("linux") or any(
        name.startswith("MALLOC_") and name.endswith("_") for name in os.environ
    ):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version") or not hasattr(libc, "mallopt"):
        return False
    return all([libc.mallopt(number, value) for number, value in _SETTINGS.values()])
