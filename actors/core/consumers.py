"""The consumers of a service: their child ids, and the share of `nsq.max_in_flight` that each has. Pure.

A lone consumer is "consumer". Of several, each has a number, as counters have: "consumer-0", "consumer-1".
"""

ALONE = "consumer"


def consumers_of(consumers: int) -> list[str]:
    """The child ids of so many consumers (1 or more), in their order."""
    return [ALONE] if consumers == 1 else [f"{ALONE}-{number}" for number in range(consumers)]


def is_consumer(child_id: str) -> bool:
    """Whether a child is a consumer."""
    return child_id == ALONE or child_id.startswith(f"{ALONE}-")


def share_of(child_id: str, consumers: int, max_in_flight: int) -> int:
    """How many messages one of so many consumers may have in flight; all together `max_in_flight`.

    The first ones have one message more if it can't be divided.
    """
    share, rest = divmod(max_in_flight, consumers)
    return share + (consumers_of(consumers).index(child_id) < rest)
