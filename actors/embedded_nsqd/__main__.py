"""python -m actors.embedded_nsqd: the embedded nsqd alone, until SIGTERM or SIGINT.

Logs go to stderr. Exit codes: 0 after a clean stop, 1 if it cannot start, 2 for bad arguments, 4 if its
journal can't be used.
"""

import argparse
import asyncio
import functools
import logging
import pathlib
import re
import signal
import sys
from typing import Any

from ..config.sections import BROADCAST_ADDRESS
from ..supervision import signals
from ..supervision.command_line import ArgumentParser
from ..supervision.log_format import LogFormat, configure_log
from ..system.exits import EXIT_DONE, EXIT_FAILED, EXIT_STORE, Failure, StoreFailure
from ..system.umask import keep_private
from .server import EmbeddedNsqd

log = logging.getLogger(__name__)


def main() -> int:
    """Serve until a signal; returns the exit code."""
    arguments = _arguments()
    configure_log("nsqd", arguments.log_level.upper(), arguments.log_format)
    keep_private()
    signals.watch(_hangup)
    try:
        asyncio.run(_serve(arguments))
    except Failure as error:
        log.error("embedded nsqd: %s", error)
        return EXIT_STORE if isinstance(error, StoreFailure) else EXIT_FAILED
    return EXIT_DONE


def _hangup() -> None:
    log.info("SIGHUP: there is no file to read again")


async def _serve(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    end: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end_with, end, None)
    loop.set_exception_handler(functools.partial(_unexpected, end))
    nsqd = await EmbeddedNsqd.start(
        arguments.data_path,
        arguments.tcp_address,
        arguments.http_address,
        allowed_hosts=arguments.allowed_hosts,
        broadcast_address=arguments.broadcast_address,
    )
    await end
    await nsqd.stop()


def _unexpected(
    end: "asyncio.Future[None]", loop: asyncio.AbstractEventLoop, context: dict[str, Any]
) -> None:
    """End with an error of the journal; any other error is logged."""
    error = context.get("exception")
    if isinstance(error, StoreFailure):
        _end_with(end, error)
    else:
        loop.default_exception_handler(context)


def _end_with(end: "asyncio.Future[None]", error: StoreFailure | None) -> None:
    if end.done():
        return
    if error is None:
        end.set_result(None)
    else:
        end.set_exception(error)


def _broadcast_address(text: str) -> str:
    if re.match(BROADCAST_ADDRESS, text) is None:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a host name or an IP address, without a port")
    return text


def _arguments() -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m actors.embedded_nsqd",
        description="An nsqd in Python, for one machine; not a replacement for nsqd.",
    )
    parser.add_argument("--tcp-address", default="127.0.0.1:4150", metavar="HOST:PORT")
    parser.add_argument("--http-address", default="127.0.0.1:4151", metavar="HOST:PORT")
    parser.add_argument(
        "--allowed-hosts",
        nargs="*",
        default=[],
        metavar="NAME",
        help="further host names of its HTTP address",
    )
    parser.add_argument(
        "--broadcast-address",
        type=_broadcast_address,
        default="",
        metavar="HOST",
        help="where its /info tells other programs to come to; by default this machine's host name",
    )
    parser.add_argument(
        "--data-path",
        type=pathlib.Path,
        required=True,
        metavar="DIR",
        help="the directory of its journal; it is made if it is missing",
    )
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", default="text", choices=[*LogFormat], help="as log.format")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
