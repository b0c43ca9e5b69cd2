"""The requests of commands to a running service, over its admin HTTP.

The run file of the state folder has the address. Every function raises `Failure` if no service runs on the
folder or the service does not answer.
"""

import json
import os
import pwd
from pathlib import Path
from typing import Any

from ..config import Settings
from ..core import guids
from ..system import local_http, runfile
from ..system.exits import Failure
from ..system.installation import service_command

STATUS_TIMEOUT_S = 10
ACTION_TIMEOUT_S = 120  # a child may take its whole shutdown time


class NoAnswer(Failure):
    """The service runs, and does not answer at its address."""


def facts_of_service(settings: Settings) -> dict[str, Any]:
    """Return the run file of the service that runs on the state folder."""
    folder = settings.supervisor.state_dir
    facts = runfile.read(folder)
    if facts is None:
        _check_user(Path(folder) / runfile.NAME)
    if facts is None and runfile.is_held(folder):
        raise Failure(
            f"the service on {folder} can't be asked yet: it is starting or ending, "
            "or a restore or reshard works there; try again when its log says that all children run"
        )
    if facts is None:
        raise Failure(
            f"no service runs on {folder}; start one with `{service_command()}`, or name its --config"
        )
    return facts


def _check_user(file: Path) -> None:
    """Raise `Failure` if the run file is there and another user's."""
    try:
        is_ours = file.stat().st_uid == os.geteuid()
    except PermissionError as error:
        from ..system.ownership import check_owner
        from ..system.reasons import reason_of

        check_owner(file.parent)
        raise Failure(
            f"{file}: cannot be read ({reason_of(error)}), expected a folder that this user may read"
        ) from error
    except OSError:
        return  # no service runs
    if not is_ours:
        raise Failure(f"{file} is another user's; run this as the user who runs the service")


def check_signals(settings: Settings) -> None:
    """Raise `Failure` if the service's pids are not those of the processes that this one sees."""
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is not None and not runfile.is_here(facts):
        raise Failure(
            "the service runs in a container (or this command does), where its processes have other pids, "
            "expected both in the same: run this command there, such as by `docker exec`"
        )


def status(settings: Settings) -> dict[str, Any]:
    """Return a fresh GET /status. Raises `Failure` also if another service than the run file's answers."""
    facts = facts_of_service(settings)
    address = facts["admin_address"]
    try:
        found: dict[str, Any] = json.loads(
            local_http.get(address, "/status", _as_ours(facts), STATUS_TIMEOUT_S)
        )
        pid = found["supervisor"]["pid"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        from ..system.reasons import reason_of

        raise NoAnswer(
            f"the service does not answer at http://{address}/status: {reason_of(error)}"
        ) from error
    if pid != facts["pid"]:
        raise Failure(
            f"the run file in {settings.supervisor.state_dir} names pid {facts['pid']}, but pid {pid} "
            f"answers at {facts['admin_address']}; name the --config of the service that you mean"
        )
    return found


def history(settings: Settings) -> dict[str, Any] | None:
    """Return GET /history of the last hour; None if the service has none, or does not answer."""
    facts = facts_of_service(settings)
    try:
        told = local_http.get(facts["admin_address"], "/history?span=hour", _as_ours(facts), STATUS_TIMEOUT_S)
        found: dict[str, Any] = json.loads(told)
        return found
    except (OSError, ValueError):
        return None


def act(settings: Settings, child_id: str, action: str) -> str:
    """Have a child's supervisor "terminate" or "restart" it. Returns what was done, in words."""
    return _post(settings, f"children/{child_id}/{action}", action)


def kill(settings: Settings, child_id: str, signal: str) -> str:
    """Have the supervisor send a child a signal, by its name. Returns what was sent, in words."""
    return _post(settings, f"children/{child_id}/kill", "kill", json.dumps({"signal": signal}).encode())


def pause(settings: Settings, action: str, part: str) -> str:
    """Have the service "pause" or "resume" "consuming" or "publishing". Returns what holds now, in words."""
    status(settings)  # a service that hangs is found soon, and does not carry this out when it goes on
    return _post(settings, f"{action}/{part}", action)


def set_value(settings: Settings, name: str, value: str) -> str:
    """Have the service use another value for a setting. Returns what holds now, in words."""
    status(settings)  # as for `pause`
    return _post(settings, "set", "set", json.dumps({"setting": name, "value": value}).encode())


def republish(settings: Settings, videos: list[bytes]) -> str:
    """Have the dispatcher publish totals again: of these videos, or of all. Returns what begins, in words."""
    body = {"videos": [guids.text(video) for video in videos]} if videos else {"all": True}
    status(settings)  # as for `pause`
    return _post(settings, "republish", "republish", json.dumps(body).encode())


def reload(settings: Settings) -> dict[str, list[str]]:
    """Have the service read its files again. Returns a `Reloaded`: "in_force", "need_restart", "refused"."""
    status(settings)  # as for `pause`
    return _ask(settings, "reload", "reload")


def _as_ours(facts: dict[str, Any]) -> dict[str, str]:
    """The header that the service takes in the place of its token."""
    return {"Authorization": f"Bearer {facts.get('secret', '')}"}


def _post(settings: Settings, path: str, action: str, body: bytes = b"") -> str:
    done: str = _ask(settings, path, action, body)["done"]
    return done


def _ask(settings: Settings, path: str, action: str, body: bytes = b"") -> dict[str, Any]:
    import urllib.error
    import urllib.request

    from ..system.direct_http import open_directly
    from ..system.reasons import reason_of

    facts = facts_of_service(settings)
    address = facts["admin_address"]
    headers = {"X-Playtally-Action": action, "X-Playtally-User": _user(), **_as_ours(facts)}
    request = urllib.request.Request(f"http://{address}/{path}", body, headers, method="POST")
    try:
        with open_directly(request, ACTION_TIMEOUT_S) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except urllib.error.HTTPError as error:
        with error:
            raise Failure(json.load(error)["error"]) from error
    except (urllib.error.URLError, OSError) as error:
        raise Failure(f"the service does not answer at http://{address}: {reason_of(error)}") from error


def _user() -> str:
    """Who runs this, in ASCII, as a header has to be."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
    return f"{name} (uid {uid})".encode("ascii", "backslashreplace").decode()
