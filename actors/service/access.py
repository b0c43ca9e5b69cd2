"""Who may change something at the admin address: kill a child, pause, set, republish, reload.

The commands of this machine may: they know the secret of the run file. Others may if `admin.actions` is true
and they have the token, in a header or as the session of a page. Before that, `hosts.py` in `system` has
refused pages of other sites, and `doorkeeper.py` has refused who may not read.
"""

from collections.abc import Callable

from ..system import runfile
from ..system.doorkeeper import CHALLENGE, Caller, Denial, Right
from ..system.installation import service_command


def denial(caller: Caller, has_actions: Callable[[], bool]) -> Denial | None:
    """Why this caller may change nothing; None if it may. `has_actions`: returns `admin.actions`."""
    if caller.right is Right.SECRET:
        return None
    if caller.right is Right.NONE:
        return Denial(
            401,
            f"expected the header Authorization: Bearer <secret>, with the secret of {runfile.NAME} in "
            f"supervisor.state_dir; the commands of `{service_command()}` send it. Or set a token and "
            "admin.actions = true, and send the token",
            CHALLENGE,
        )
    if has_actions():
        return None
    return Denial(
        403,
        "admin.actions = false: who has the token may read, and change nothing; use the commands of "
        f"`{service_command()}` on the service's machine, or set admin.actions = true and start it again",
    )
