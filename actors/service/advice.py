"""What to do where a command on a child is refused, by the state that the child is in."""

from ..supervision.states import State
from ..supervision.supervisor import Supervisor
from ..supervision.worker import Worker
from ..system.installation import service_command
from ..tree import DISPATCHER


def advice(action: str, supervisor: Supervisor, child_id: str) -> str:
    """What to do after `action` on a child of `supervisor` was refused. Empty if the refusal says it."""
    if supervisor.state is State.STOPPED:
        return f"; {_command('restart', supervisor.spec.id)} starts it with its children"
    if supervisor.state is not State.RUNNING:
        return "; try again in a moment"
    if action != "restart":
        return ""
    if supervisor.is_restarting(child_id):
        return f"; wait until it runs, or {_command('terminate', child_id)} to end that"
    match _state_of(supervisor, child_id):
        case State.RUNNING:
            return f"; to start it afresh, {_command('terminate', child_id)} first"
        case State.STARTING:
            return f"; wait until it runs, or {_command('terminate', child_id)} to end its start"
        case State.STOPPING:
            return "; try again when it has stopped"
    return ""


def no_process(child: Worker | Supervisor) -> str:
    """Why a child can't get a signal, and what to do."""
    child_id = child.spec.id
    if isinstance(child, Supervisor):
        children = ", ".join(one.spec.id for one in child.which_children())
        return (
            f"{child_id} is a supervisor and has no process of its own; kill one of its children "
            f"({children}), or {_command('terminate', child_id)}"
        )
    return (
        f"{child_id} is {child.state} and has no process just now; it comes back by itself, unless it was "
        f"terminated: then {_command('restart', child_id)}"
    )


def why_no_republish(supervisor: Supervisor | None) -> str:
    """Why the dispatcher can't be asked for a republish, and what to do. Empty if it can.

    `supervisor`: the dispatcher's; None if the dispatcher was deleted.
    """
    return why_down(supervisor, DISPATCHER)


def why_down(supervisor: Supervisor | None, child_id: str) -> str:
    """Why a child can't be asked for anything, and what to do. Empty if it runs.

    `supervisor`: the child's; None if the child was deleted.
    """
    if supervisor is None:
        return f"{child_id} was deleted, expected running; restart the service to have it back"
    state = _state_of(supervisor, child_id)
    if state is State.RUNNING:
        return ""
    if supervisor.is_restarting(child_id):
        return f"{child_id} is being restarted, expected running; try again in a moment"
    if state is State.STOPPED:
        return f"{child_id} is stopped, expected running; {_command('restart', child_id)} starts it"
    return f"{child_id} is {state}, expected running; try again in a moment"


def _state_of(supervisor: Supervisor, child_id: str) -> State:
    found = [child.state for child in supervisor.which_children() if child.spec.id == child_id]
    return found[0] if found else State.STOPPED


def _command(action: str, child_id: str) -> str:
    return f"`{service_command()} {action} {child_id}`"
