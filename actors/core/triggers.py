"""Why a publish leaves: the words that the wire, the stores and the figures use. Pure."""

from enum import StrEnum


class Trigger(StrEnum):
    """Why a publish leaves."""

    REALTIME = "realtime"  # a video below realtime_below got a play
    DEADLINE = "deadline"  # the oldest unpublished play had to be published now
    OVERDUE = "overdue"  # plays were past their deadline when they were received
    DRAIN = "drain"  # the service is being stopped
    REPUBLISH = "republish"  # totals that the client had are published again, as somebody asked for
