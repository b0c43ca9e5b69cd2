"""What the handlers of the admin address share: errors in words, and how a request becomes an action.

`access.py` says who may act. Each request that names its action is in the action log, with what came of it.
"""

import re

from ..system.doorkeeper import Right
from ..system.http_server import OwnHandler
from . import access
from .status import ServiceView

ACTION_HEADER = "X-Playtally-Action"
USER_HEADER = "X-Playtally-User"  # who runs the command that asks, as it says itself
USER_CHARACTERS_MAX = 100


class Handler(OwnHandler):
    """Answers for a service."""

    def initialize(self, service: ServiceView) -> None:
        """Called by tornado."""
        self.service = service

    def refuse(self, code: int, why: str) -> None:
        """Answer with an error."""
        self.set_status(code)
        self.write({"error": why})


class Command(Handler):
    """Obeys a POST only of those who may change something: see `access.py`."""

    _what = ""  # what is asked for, for the action log

    def prepare(self) -> None:
        """Called by tornado before a method."""
        if self.request.method != "POST":
            return
        denied = access.denial(self.caller, lambda: self.service.application.options.admin.actions)
        if denied is not None:
            for name, value in denied.headers.items():
                self.set_header(name, value)
            self.refuse(denied.status, denied.why)
            _ = self.finish()

    def who(self) -> str:
        """Who asks, for the action log."""
        user = re.sub(r"[^ -~]", "?", self.request.headers.get(USER_HEADER, ""))[:USER_CHARACTERS_MAX]
        is_command = self.caller.right is Right.SECRET and user
        return f"{self.caller.who}, {user}" if is_command else self.caller.who

    def begins(self, action: str, *what: str) -> bool:
        """Whether the header names this action; if not, the request is refused.

        `what`: the action is about, for the action log.
        """
        if self.request.headers.get(ACTION_HEADER) == action:
            self._what = " ".join((action, *what))
            return True
        self.refuse(403, f"expected the header {ACTION_HEADER}: {action}")
        return False

    def done(self, text: str) -> None:
        """Answer what was done."""
        self.note("done")
        self.write({"done": text})

    def refuse(self, code: int, why: str) -> None:
        """Answer with an error."""
        if self._what:
            self.note(f"refused: {why}")
        super().refuse(code, why)

    def note(self, result: str) -> None:
        """Add the request to the action log."""
        self.service.actions.add(self.who(), self.caller.address, self._what, result)
