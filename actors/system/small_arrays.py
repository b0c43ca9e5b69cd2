"""numpy's cache of small blocks, filled at the start, so that no memory seems to leak.

numpy keeps freed blocks of less than 1,024 bytes, up to seven of each size (NBUCKETS and NCACHE in its
alloc.c), and never gives them back. The sizes of our arrays vary from read to read. So a process goes on
keeping new ones for hours, scattered over its heap: a counter grew by 3 MB an hour. The forkserver fills it
(`first_imports.py`), so that no start of a child takes time for it.
"""

import numpy as np

CACHED_BYTES_BELOW = 1024
BLOCKS_A_SIZE = 3  # as many of one size as we use at once; all together 1.5 MB


def fill_cache() -> None:
    """Have numpy keep `BLOCKS_A_SIZE` blocks of each size that it keeps."""
    for size in range(1, CACHED_BYTES_BELOW):
        blocks = [np.empty(size, np.uint8) for _ in range(BLOCKS_A_SIZE)]
        del blocks
