"""What the handlers of the admin address share: errors in words, and who may change what runs.

Whoever reaches the address may read. A request that changes something needs the secret that the run file of
this start holds, and only the user who runs the service can read that file. No page of another site gets as
far (`hosts.py` in `system`). Each request that names its action is in the action log, with what came of it.
"""

import hmac
import re

from ..system import runfile
from ..system.http_server import OwnHandler
from ..system.installation import service_command
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
    """Obeys a POST only if it comes from the user who runs the service."""

    _what = ""  # what is asked for, for the action log

    def prepare(self) -> None:
        """Called by tornado before a method."""
        given = self.request.headers.get("Authorization", "")
        if self.request.method == "POST" and not hmac.compare_digest(
            given.encode(), f"Bearer {self.service.secret}".encode()
        ):
            self.set_header("WWW-Authenticate", "Bearer")
            self.refuse(
                401,
                f"expected the header Authorization: Bearer <secret>, with the secret of {runfile.NAME} in "
                f"supervisor.state_dir; the commands of `{service_command()}` send it",
            )
            _ = self.finish()

    def who(self) -> str:
        """Who asks, for the action log."""
        user = re.sub(r"[^ -~]", "?", self.request.headers.get(USER_HEADER, ""))[:USER_CHARACTERS_MAX]
        return f"command line, {user}" if user else "command line"

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
        self.service.actions.add(self.who(), str(self.request.remote_ip), self._what, result)
