"""Whether the queue, the ledgers and the client agree, while plays come. Pure: callers read the figures.

The queue counts the messages that it put on our channel, and those that are not finished. The ledgers count
the messages that they know: plays and dead letters. Each message is put, then counted, then finished. So

    counted - put  <=  k  <=  counted - finished

where `k` is what the ledgers had counted when the queue began to count. `k` never changes. If less is counted
after some kills than `k` asks for, messages were finished and not counted: they are lost. If more is counted,
messages were counted twice.
"""

from typing import Any, NamedTuple


class Sample(NamedTuple):
    """The figures of one status, in which the queue was asked before the ledgers."""

    put: int
    unfinished: int
    counted: int
    started_s: tuple[int, ...]


class Bounds(NamedTuple):
    """The least and the greatest that `k` can be."""

    low: int
    high: int

    @property
    def width(self) -> int:
        """How many messages could be missing, or be there twice, without being noticed."""
        return self.high - self.low


class Verdict(NamedTuple):
    """What the kills did. `unsure`: that many more messages may be lost, or counted twice."""

    lost: int
    doubled: int
    unsure: int


def sample_of(status: dict[str, Any]) -> Sample | str:
    """Return the figures of a status, or why it has none that can be compared."""
    nsq, plays = status["nsq"], status["plays"]
    silent = [reason for reason in status["why_not_caught_up"] if reason.endswith("did not answer")]
    if silent:
        return str(silent[0])
    if not nsq["nsqds"]:
        return "no nsqd is known"
    for nsqd in nsq["nsqds"]:
        if nsqd["messages"] is None:
            return (
                f"nsqd {nsqd['address']} does not answer GET /stats, expected it at nsq.nsqd_http_addresses"
            )
    if nsq["others_on_channel"]:
        return f"consumers of others on our channel: {nsq['others_on_channel']}, expected none"
    return Sample(
        put=sum(one["messages"] for one in nsq["nsqds"]),
        unfinished=sum(one["unfinished"] for one in nsq["nsqds"]),
        counted=plays["counted"] + plays["dead_lettered"],
        started_s=tuple(sorted(one["started_s"] for one in nsq["nsqds"])),
    )


def bounds(first: Sample, second: Sample) -> Bounds:
    """Return the bounds that two samples, one after the other, give `k`: exact if nothing moved between them.

    An nsqd does not read its figures at one moment: a message that moves meanwhile may be missing among those
    that are not finished. As many messages as moved, or may have moved, are therefore allowed for.
    """
    moved = second.put - first.put + abs(second.counted - first.counted) + second.unfinished
    finished = first.put - 2 * first.unfinished - moved
    return Bounds(first.counted - second.put, first.counted - finished)


def narrowed(one: Bounds | None, other: Bounds) -> Bounds:
    """Return what both bounds allow."""
    return other if one is None else Bounds(max(one.low, other.low), min(one.high, other.high))


def judge(before: Bounds, after: Bounds) -> Verdict:
    """Compare `k` as it was before the kills with `k` as it is after them."""
    return Verdict(
        lost=max(0, before.low - after.high),
        doubled=max(0, after.low - before.high),
        unsure=max(0, before.width) + max(0, after.width),
    )


class Told(NamedTuple):
    """The client's totals beside the ledgers': the plays that it lacks, and those that it has too many."""

    videos: int
    missing: int
    too_many: int


def compare(
    before: dict[str, tuple[int, int]], told: dict[str, int], after: dict[str, tuple[int, int]]
) -> Told:
    """Compare the client's totals with the ledgers' (total, published), read before and after them.

    The client has what a ledger knew to be published before, and no more than a ledger has counted since.
    """
    videos = before.keys() | told.keys()
    return Told(
        len(videos),
        missing=sum(max(0, published - told.get(video, 0)) for video, (_, published) in before.items()),
        too_many=sum(max(0, plays - after.get(video, (0, 0))[0]) for video, plays in told.items()),
    )
