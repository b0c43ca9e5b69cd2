"""numpy's cache of small blocks: filled at the start, and not over hours."""

import subprocess
import sys

import pytest

from actors.system.small_arrays import BLOCKS_A_SIZE

# It prints by how many bytes the heap grows while arrays of all small sizes come and go.
_GROWTH = f"""
import ctypes, sys
import numpy as np
from actors.system.small_arrays import fill_cache

class Info(ctypes.Structure):
    names = "arena ord sm hblks hblkhd usm fsm used free keep"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
if sys.argv[1] == "filled":
    fill_cache()
before = mallinfo2().used
for size in range(1, 1024):
    blocks = [np.empty(size, np.uint8) for _ in range({BLOCKS_A_SIZE})]
    del blocks
print(mallinfo2().used - before)
"""


def growth(how):
    ran = subprocess.run([sys.executable, "-c", _GROWTH, how], capture_output=True, text=True)
    if "undefined symbol" in ran.stderr:
        # Only glibc has it, from 2.33 on. It can't be installed, so this is skipped in CI too.
        pytest.skip("this C library has no mallinfo2")
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


def test_a_filled_cache_does_not_grow_any_more():
    assert growth("empty") > 1_000_000
    assert growth("filled") < 10_000
