"""What somebody pauses and sets while a simulated service runs, and the orders of its children."""

from typing import Any

from actors.config import with_values
from actors.core import calls
from actors.core.calls import Orders

from .plan import Fault, Kind, Plan

AGAIN_MS = 100
SECOND_MS = 1000


class Changes:
    """The orders of the consumers and the dispatcher, and what the limits were lately."""

    def __init__(self, world: Any, plan: Plan):
        self._world = world
        self._orders = {"consumer": Orders(), "dispatcher": Orders()}
        self._pauses = dict.fromkeys(self._orders, 0)
        self.in_flight_max = plan.in_flight_max
        self._rates = [(-SECOND_MS, plan.rate_max_per_s)]  # each with the time from which on it holds

    def orders_of(self, name: str) -> bytes:
        """What a child starts with."""
        orders = self._orders.get(name.partition("-")[0])
        return calls.encode(orders) if orders else b""

    def strike(self, fault: Fault) -> None:
        """Pause for a while, or set."""
        if fault.kind is Kind.PAUSE:
            self._pause(fault.who, 1)
            self._world.clock.after(fault.lasts_ms, self._pause, fault.who, -1)
        else:
            values = {**self._orders["dispatcher"].values, fault.who: fault.amount}
            self._tell("dispatcher", Orders(self._orders["dispatcher"].paused, values))

    def rate_max_per_s(self, now_ms: int) -> int:
        """The highest limit of the last second; 0 if there was none for a moment."""
        ends_ms = [at_ms for at_ms, _ in self._rates[1:]] + [now_ms + 1]
        rates = [
            rate
            for (_, rate), end_ms in zip(self._rates, ends_ms, strict=True)
            if end_ms > now_ms - SECOND_MS
        ]
        return 0 if 0 in rates else max(rates)

    def _pause(self, name: str, more: int) -> None:
        self._pauses[name] += more
        self._tell(name, Orders(self._pauses[name] > 0, self._orders[name].values))

    def _tell(self, name: str, orders: Orders) -> None:
        self._orders[name] = orders
        self._world.log("orders:", f"{name} {orders}")
        for process in list(self._world.processes.values()):
            if process.name.partition("-")[0] == name:
                self._world.run(process, self._obey, process)

    def _obey(self, process: Any) -> None:
        """Let a process hold to the newest orders. What its disk holds up was begun under the older ones."""
        if process.name == "dispatcher" and process.actor.effects._todo:
            self._world.clock.after(AGAIN_MS, self._world.run, process, self._obey, process)
            return
        self.begun_with(process)
        process.actor.handle_call(self.orders_of(process.name), lambda reply: None)

    def begun_with(self, process: Any) -> None:
        """Note the limits that a dispatcher holds to from now on."""
        if process.name == "dispatcher":
            publish = with_values(process.actor.options, self._orders["dispatcher"].values).publish
            self.in_flight_max = publish.in_flight_max
            self._rates.append((self._world.clock.now_ms, int(publish.rate_max_per_s)))
