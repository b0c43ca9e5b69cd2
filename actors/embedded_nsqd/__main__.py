"""python -m actors.embedded_nsqd: the embedded nsqd alone, until SIGTERM or SIGINT.

Logs go to stderr. Exit codes: 0 after a clean stop, 1 if it cannot start, 2 for bad arguments.
"""

import argparse
import asyncio
import logging
import pathlib
import signal
import sys

from ..supervision import log_writer, signals
from ..system.exits import Failure
from .server import EmbeddedNsqd

log = logging.getLogger(__name__)


def main() -> int:
    """Serve until a signal; returns the exit code."""
    arguments = _arguments()
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    log_writer.install(form, arguments.log_level.upper())
    signals.watch(_hangup)
    try:
        asyncio.run(_serve(arguments))
    except Failure as error:
        print(f"embedded nsqd: {error}", file=sys.stderr)
        return 1
    return 0


def _hangup() -> None:
    log.info("SIGHUP: there is no file to read again")


async def _serve(arguments: argparse.Namespace) -> None:
    stop_asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_asked.set)
    nsqd = await EmbeddedNsqd.start(arguments.data_path, arguments.tcp_address, arguments.http_address)
    await stop_asked.wait()
    await nsqd.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m actors.embedded_nsqd",
        description="An nsqd in Python, for one machine; not a replacement for nsqd.",
    )
    parser.add_argument("--tcp-address", default="127.0.0.1:4150", metavar="HOST:PORT")
    parser.add_argument("--http-address", default="127.0.0.1:4151", metavar="HOST:PORT")
    parser.add_argument(
        "--data-path",
        type=pathlib.Path,
        required=True,
        metavar="DIR",
        help="the directory of its journal; it is made if it is missing",
    )
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
