"""The states of a child process, and what can happen in each. An event that the table lacks is refused."""

from enum import StrEnum


class State(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Event(StrEnum):
    """What changes that."""

    START = "start"
    READY = "ready"
    STOP = "stop"
    EXIT = "exit"


NEXT = {
    (State.STOPPED, Event.START): State.STARTING,
    (State.STARTING, Event.READY): State.RUNNING,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.RUNNING, Event.STOP): State.STOPPING,
    (State.STARTING, Event.EXIT): State.STOPPED,
    (State.RUNNING, Event.EXIT): State.STOPPED,
    (State.STOPPING, Event.EXIT): State.STOPPED,
    (State.STOPPING, Event.READY): State.STOPPING,  # it was on its way when it was told to stop
    (State.STOPPING, Event.STOP): State.STOPPING,
    (State.STOPPED, Event.STOP): State.STOPPED,
}
