"""A service on a real nsqd with TLS, compression and AUTH, as a test asks for."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority
from tests.support.secured_nsqd import SECRET, AuthServer, SecuredNsqd, secured_nsqd
from tests.support.services import ANY_PORTS, HURRIED, Queue, ServiceWithQueue, reading

HASTY = ["dispatch.deadline_s=0.3"]


class Secured:
    """What a test has of it. `settings`: of [nsq], for the service and everything else."""

    def __init__(
        self,
        path: Path,
        nsqd: SecuredNsqd,
        authority: Authority | None,
        auth: AuthServer | None,
        settings: list[str],
    ):
        self.nsqd = nsqd
        self.authority = authority
        self.auth = auth
        self.settings = settings
        self.secret_file = path / "secret"
        self.service = ServiceWithQueue(path / "state", [*ANY_PORTS, *HURRIED, *HASTY, *settings])
        self.service.queue = Queue(lambda: (nsqd.tcp_address, nsqd.http_address))


def settings_of(path: Path, address: str, authority: Authority | None, with_auth: bool) -> list[str]:
    """The settings that lead to a secured nsqd. Writes the secret to a file in `path`."""
    settings = [reading(address)]
    if authority is not None:
        settings += ["nsq.tls=true", f"nsq.tls_ca_file={authority.ca_file}"]
    if with_auth:
        (path / "secret").write_text(f"{SECRET}\n")
        settings.append(f"nsq.auth_secret_file={path / 'secret'}")
    return settings


@contextlib.contextmanager
def secured_service(
    path: Path,
    *overrides: str,
    tls: bool = True,
    with_auth: bool = True,
    options: tuple[str, ...] = (),
    **more: Any,
) -> Iterator[Secured]:
    """A service that is not started yet, on an nsqd that runs. `options`: nsqd's. `more`: `SecuredNsqd`'s."""
    with contextlib.ExitStack() as stack:
        authority = Authority(path) if tls else None
        auth = stack.enter_context(AuthServer()) if with_auth else None
        nsqd = stack.enter_context(secured_nsqd(path, *options, authority=authority, auth=auth, **more))
        settings = [*settings_of(path, nsqd.tcp_address, authority, with_auth), *overrides]
        if not tls:
            settings.append(f'nsq.nsqd_http_addresses=["{nsqd.http_address}"]')
        elif not any(one.startswith("nsq.nsqd_http_addresses") for one in overrides):
            settings.append(f'nsq.nsqd_http_addresses=["https://{nsqd.https_address}"]')
        secured = Secured(path, nsqd, authority, auth, settings)
        stack.callback(secured.service.end)
        yield secured


def lines_with(text: str, service: ServiceWithQueue) -> list[str]:
    """The lines of the service's log that hold this text."""
    return [line for line in service.log().splitlines() if text in line]


def files_with(secret: str, *folders: Path) -> list[Path]:
    """The files below these folders that hold a secret."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in paths if secret.encode() in path.read_bytes()]


def processes_with(secret: str, pids: list[int]) -> list[tuple[int, str]]:
    """The processes that show a secret in their title or their environment, and where."""
    found = []
    for pid in pids:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                if secret.encode() in file.read():
                    found.append((pid, name))
    return found


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found
