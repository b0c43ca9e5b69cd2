"""A small model of OTP's supervisor, after `supervisor.erl`: one message after the other, nothing at once.

A child's `pid` is True while it runs, RESTARTING while its supervisor is to try again, None else. `story` has
every start and stop of a worker, in order. `outcomes` says how the next starts of a worker end: READY, FAILS,
or SLOWLY, which fails after `SLOWLY_MS`. Three rules are ours (see `restarts.py`): `same_event_ms`, that
tries in a row all count, and that workers which depend on nobody (`after`) start side by side.
"""

from collections import deque
from collections.abc import Iterable

from actors.supervision.restarts import ChildSpec, Restart, Strategy

READY, FAILS, SLOWLY = "ready", "fails", "fails slowly"
SLOWLY_MS = 3000
RESTARTING = "restarting"


class Refused(Exception):
    """OTP's {error, …}."""


class NotStarted(Exception):
    """A child's start failed."""


class World:
    """The time, the story, and how starts end."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.story: list[tuple[str, str]] = []
        self.outcomes: dict[str, deque[str]] = {}

    def begin(self, child_id: str) -> str:
        """A worker is started. Returns how that will end."""
        self.story.append(("start", child_id))
        outcomes = self.outcomes.get(child_id)
        return outcomes.popleft() if outcomes else READY


class OtpChild:
    """One child of a supervisor."""

    def __init__(self, spec: ChildSpec, world: World):
        self.spec, self._world = spec, world
        self.pid: bool | str | None = None
        self.below = OtpSupervisor(spec, world) if spec.supervisor else None

    def start(self) -> None:
        """Raises `NotStarted`."""
        if self.below is not None:
            self.below.start()
        else:
            outcome = self._world.begin(self.spec.id)
            if outcome == SLOWLY:
                self._world.now_ms += SLOWLY_MS
            if outcome != READY:
                raise NotStarted(self.spec.id)
        self.pid = True

    def stop(self) -> None:
        if self.pid is True:
            if self.below is not None:
                self.below.stop()
            else:
                self._world.story.append(("stop", self.spec.id))
        self.pid = None


class OtpSupervisor:
    """One supervisor. `alive` is false once it has ended; `gave_up` says why."""

    def __init__(self, spec: ChildSpec, world: World):
        assert spec.supervisor is not None
        self.rules, self._world = spec.supervisor, world
        self.children: dict[str, OtpChild] = {}
        self.alive = False
        self.gave_up = False
        # Those that count: of each event who was restarted, when, and whether in their present row of tries.
        self._events: list[dict[str, tuple[int, bool]]] = []

    # As a child

    def start(self) -> None:
        """Raises `NotStarted`, with all stopped again."""
        self.children = {spec.id: OtpChild(spec, self._world) for spec in self.rules.children}
        self._events, self.gave_up = [], False
        side_by_side = all(spec.after == () for spec in self.rules.children)
        try:
            self._start_side_by_side() if side_by_side else self._start_in_order()
        except NotStarted:
            self.stop()
            raise
        self.alive = True

    def _start_in_order(self) -> None:
        for child in self.children.values():
            child.start()

    def _start_side_by_side(self) -> None:
        """Start workers at one moment. If one fails, the others are ready before: they take no time."""
        ends = {child.spec.id: self._world.begin(child.spec.id) for child in self.children.values()}
        for child_id, outcome in ends.items():
            if outcome == READY:
                self.children[child_id].pid = True
        failed = {outcome: child_id for child_id, outcome in ends.items() if outcome != READY}
        if failed:
            if FAILS not in failed:
                self._world.now_ms += SLOWLY_MS
            raise NotStarted(*failed.values())

    def stop(self) -> None:
        for child in reversed(self.children.values()):
            child.stop()
        self.alive = False

    # Commands

    def terminate_child(self, child_id: str) -> None:
        child = self._find(child_id)
        child.stop()
        if child.spec.restart is Restart.TEMPORARY:
            del self.children[child_id]

    def restart_child(self, child_id: str) -> None:
        child = self._find(child_id)
        if child.pid is not None:
            raise Refused(child.pid)
        child.start()

    def delete_child(self, child_id: str) -> None:
        if self._find(child_id).pid is not None:
            raise Refused(child_id)
        del self.children[child_id]

    def start_child(self, spec: ChildSpec) -> None:
        self._check_alive()
        if spec.id in self.children:
            raise Refused(spec.id)
        child = OtpChild(spec, self._world)
        child.start()
        self.children[spec.id] = child

    # What happens by itself

    def exited(self, child_ids: Iterable[str], normal: bool) -> None:
        """These children exit at one moment."""
        ids = list(child_ids)
        for child_id in ids:
            child = self.children[child_id]
            if child.below is None:
                self._world.story.append(("exit", child_id))
            child.pid = "exited"
        tries: deque[str] = deque()
        for child_id in ids:
            exited = self.children.get(child_id)
            # A supervisor that terminates a child takes its exit out of the mailbox.
            if self.alive and exited is not None and exited.pid == "exited":
                exited.pid = None
                self._exit(exited, normal, tries)
        while self.alive and tries:
            again = self.children.get(tries.popleft())
            if again is not None and again.pid == RESTARTING:
                self._restart(again, tries)

    def _exit(self, child: OtpChild, normal: bool, tries: deque[str]) -> None:
        kind = child.spec.restart
        self._end_row(child.spec.id)
        if kind is Restart.PERMANENT or (kind is Restart.TRANSIENT and not normal):
            self._restart(child, tries)
        elif kind is Restart.TEMPORARY:
            del self.children[child.spec.id]

    def _restart(self, child: OtpChild, tries: deque[str]) -> None:
        child.pid = None
        if self._too_many(child.spec.id):
            self.stop()
            self.gave_up = True
            return
        order = list(self.children)
        at = order.index(child.spec.id)
        match self.rules.strategy:
            case Strategy.ONE_FOR_ONE:
                affected = [child.spec.id]
            case Strategy.REST_FOR_ONE:
                affected = order[at:]
            case Strategy.ONE_FOR_ALL:
                affected = order
        for other_id in reversed(affected):
            other = self.children[other_id]
            other.stop()
            if other.spec.restart is Restart.TEMPORARY:
                del self.children[other_id]
        for other_id in affected:
            if other_id in self.children:
                try:
                    self.children[other_id].start()
                except NotStarted:
                    self.children[other_id].pid = RESTARTING
                    tries.append(other_id)
                    return
                self._end_row(other_id)

    def _end_row(self, child_id: str) -> None:
        for event in self._events:
            if child_id in event:
                event[child_id] = event[child_id][0], False

    def _too_many(self, child_id: str) -> bool:
        now_ms, rules = self._world.now_ms, self.rules
        kept = []
        for event in self._events:
            begun_ms = min(at_ms for at_ms, _ in event.values())
            if now_ms - begun_ms <= rules.max_ms or any(in_row for _, in_row in event.values()):
                kept.append((begun_ms, event))
        self._events = [event for _, event in kept]
        for begun_ms, event in kept:
            if rules.same_event_ms and now_ms - begun_ms <= rules.same_event_ms and child_id not in event:
                event[child_id] = now_ms, True
                return False
        self._events.append({child_id: (now_ms, True)})
        return len(self._events) > rules.max_restarts

    def _find(self, child_id: str) -> OtpChild:
        self._check_alive()
        if child_id not in self.children:
            raise Refused("not_found")
        return self.children[child_id]

    def _check_alive(self) -> None:
        if not self.alive:
            raise Refused("noproc")
