"""The greatest totals of many, a column at a time. Pure."""

import numpy as np

from .columns import Int64s


def greatest(videos: Int64s, totals: Int64s, count: int) -> Int64s:
    """The places of the `count` greatest totals, in any order. Of equal totals, those of the least GUIDs.

    `videos`: two words each. The same totals always give the same videos, however they are divided.
    """
    first, second = videos.view(">u8").astype(np.uint64).T
    places, found = np.arange(len(totals)), []
    for column in (-totals, first, second):
        if len(places) <= count:
            break
        values = column[places]
        limit = np.partition(values, count - 1)[count - 1]
        found.append(places[values < limit])
        count -= len(found[-1])
        places = places[values == limit]
    return np.concatenate([*found, places[:count]])


def greatest_first(videos: Int64s, totals: Int64s) -> Int64s:
    """All places, the greatest total first; of equal totals, the least GUID first."""
    first, second = videos.view(">u8").astype(np.uint64).T
    order = np.argsort(first)
    in_order = first[order]
    if (in_order[1:] == in_order[:-1]).any():
        order = np.lexsort((second, first))  # five times as slow
    return order[np.argsort(-totals[order], kind="stable")]
