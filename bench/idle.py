"""What the service costs when nothing happens: of each process the share of a core and the wake-ups a second.

python -m bench.idle [--seconds 20] [--page]

A wake-up is a voluntary context switch of one of its threads: it waited for something that came. `--page`:
with both pages open, as a browser has them: the streams of the reference client and of the service are read,
and the service is asked for its history each ten seconds.
"""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator

from actors.cli.launch import Service
from actors.system.direct_http import open_directly
from tests.support.services import ANY_PORTS

from .command import folder, parser, show
from .processes import CpuUse, pids_of, wake_ups

SETTLE_S = 10.0  # until the looks and ticks of the start are over
ASK_S = 10.0  # as the page of the service does
TIMEOUT_S = 60.0


def main() -> None:
    """Measure and print a table."""
    arguments = parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--page", action="store_true", help="with both pages open")
    options = arguments.parse_args()
    with folder() as path, Service(path / "state", ANY_PORTS) as service:
        pids = pids_of(service)
        with _pages(service) if options.page else contextlib.nullcontext():
            time.sleep(SETTLE_S)
            cpu, before = CpuUse(pids), {name: wake_ups(pid) for name, pid in pids.items()}
            time.sleep(options.seconds)
            shares = {name: used_s / options.seconds for name, used_s in cpu.used_s().items()}
            woken = {name: (wake_ups(pid) - before[name]) / options.seconds for name, pid in pids.items()}
    rows = [(name, f"{shares[name]:.3%}", f"{woken[name]:.1f}") for name in pids]
    show(
        ("process", "of one core", "wake-ups/s"),
        [*rows, ("all", f"{sum(shares.values()):.3%}", f"{sum(woken.values()):.1f}")],
        title="idle, pages open" if options.page else "idle",
    )


@contextlib.contextmanager
def _pages(service: Service) -> Iterator[None]:
    """Have both pages open."""
    closed = threading.Event()
    streams = [f"http://{service.address(one)}/events" for one in ("client_address", "admin_address")]
    threads = [
        *(threading.Thread(target=_read, args=(events, closed)) for events in streams),
        threading.Thread(target=_ask, args=(service, closed)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        closed.set()
        for thread in threads:
            thread.join()


def _read(events: str, closed: threading.Event) -> None:
    with open_directly(events, TIMEOUT_S) as stream:
        while not closed.is_set() and stream.readline():  # there is an event each five seconds
            pass


def _ask(service: Service, closed: threading.Event) -> None:
    connection = http.client.HTTPConnection(service.address("admin_address"), timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        while not closed.wait(ASK_S):
            connection.request("GET", "/history?span=hour")
            connection.getresponse().read()


if __name__ == "__main__":
    main()
