"""What can go wrong in the simulated protocol, and how often."""

from msgspec import Struct


class Faults(Struct, frozen=True):
    """How likely each fault is: a run has a random subset of them."""

    kill_at_effect: float = 0.0
    kill: float = 0.0
    disconnect: float = 0.0
    time_out: float = 0.0
    refuse: float = 0.0
    lose_answer: float = 0.0
    stall: float = 0.0
    bad_body: float = 0.0
