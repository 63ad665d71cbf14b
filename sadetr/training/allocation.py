"""What the C library does with memory that a training step frees."""

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``, from glibc's ``malloc.h``."""
LARGEST_THRESHOLD = 32 << 20
"""Bytes: more is refused for blocks that are mapped one by one."""
NEVER = (1 << 31) - 1
"""Bytes at the heap's end that are kept: the largest number it takes."""


def keep_freed_memory() -> None:
    """Have this process keep what it frees: the next step needs as much again.

    By default glibc gives the heap's end back after every backward pass, and the kernel clears it page by page in the
    next step. Other C libraries stay as they are.
    """
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        return
    library = ctypes.CDLL(None)
    # Setting one ends the adaptation of both.
    library.mallopt(MMAP_THRESHOLD, LARGEST_THRESHOLD)
    library.mallopt(TRIM_THRESHOLD, NEVER)
