"""The reference client alone: `python -m actors.client --address 127.0.0.1:8080 --data-path DIR`.

Logs go to stderr; stdout stays empty. Exit codes: 0 after SIGTERM or SIGINT, 1 if it cannot start,
2 for bad arguments.
"""

import argparse
import asyncio
import logging
import math
import os
import pathlib
import signal
import sys

from ..config.secrets import fit_token
from ..core.client.promises import Promises
from ..supervision import signals
from ..supervision.command_line import ArgumentParser
from ..supervision.log_format import LogFormat, configure_log
from ..system.addresses import split_address, with_port
from ..system.exits import EXIT_DONE, EXIT_FAILED, Failure
from ..system.installation import service_command
from ..system.this_machine import is_loopback
from ..system.umask import keep_private
from .server import ReferenceClient
from .signed import Signed

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    options = _parser().parse_args(arguments)
    configure_log("client", "INFO", options.log_format)
    keep_private()
    signals.watch(_hangup)
    secret = os.environ.get(options.secret_env, "").encode() if options.secret_env else None
    if secret == b"":
        log.error("--secret-env: %s is empty, expected a secret", options.secret_env)
        return EXIT_FAILED
    promises = Promises(
        realtime_below=options.realtime_below,
        deadline_s=options.deadline_s,
        batch_size_max=options.batch_size_max,
        every_play=options.every_play,
    )
    try:
        asyncio.run(_serve(options, promises, secret, _token(options)))
    except Failure as error:
        log.error("%s", error)
        return EXIT_FAILED
    return EXIT_DONE


def _hangup() -> None:
    log.info("SIGHUP: there is no file to read again")


def _token(options: argparse.Namespace) -> str:
    """The token, or "" if it needs none. Raises `Failure`."""
    if options.token_env:
        return fit_token("--token-env", os.fsencode(os.environ.get(options.token_env, "")))
    try:
        host = split_address(options.address)[0]
    except ValueError:
        return ""  # it can't be listened on, and `open_listeners` says why
    if not options.insecure and not is_loopback(host):
        raise Failure(
            f"--address {options.address} is reached from other machines, and anyone there could publish; "
            "expected a token (--token-env), or a loopback address; --insecure starts it all the same"
        )
    return ""


async def _serve(options: argparse.Namespace, promises: Promises, secret: bytes | None, token: str) -> None:
    stop_asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_asked.set)
    secrets = () if secret is None else (secret,)
    signed = Signed(options.signature, lambda: secrets)
    client = ReferenceClient.start(
        options.data_path,
        options.address,
        promises,
        signed=signed,
        record=options.record,
        allowed_hosts=options.allowed_hosts,
        token=lambda: token,
    )
    try:
        address = with_port(options.address, client.port)
        log.info("client ready at http://%s/", address)
        await stop_asked.wait()
    finally:
        await client.stop()


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m actors.client", description=__doc__)
    defaults = Promises()
    parser.add_argument("--address", default="127.0.0.1:8080", help="host:port; port 0: a free one")
    parser.add_argument("--data-path", type=pathlib.Path, required=True, help="directory to keep")
    parser.add_argument(
        "--record",
        type=pathlib.Path,
        metavar="FILE",
        help=f"add each publish to it, with when it came, as `{service_command()} audit` reads them",
    )
    parser.add_argument(
        "--allowed-hosts", nargs="*", default=[], metavar="NAME", help="further host names of it"
    )
    parser.add_argument("--token-env", default="", help="variable that holds the token of who may ask it")
    parser.add_argument(
        "--insecure", action="store_true", help="start on another address than loopback without a token"
    )
    parser.add_argument("--secret-env", default="", help="variable that holds the signing secret")
    parser.add_argument("--signature", choices=("body", "timestamp", "standard"), default="body")
    parser.add_argument("--realtime-below", type=_at_least_one, default=defaults.realtime_below)
    parser.add_argument("--deadline-s", type=_positive, default=defaults.deadline_s)
    parser.add_argument("--batch-size-max", type=_at_least_one, default=defaults.batch_size_max)
    parser.add_argument("--every-play", action="store_true", help="audit that no step is skipped")
    parser.add_argument("--log-format", default="text", choices=[*LogFormat], help="as log.format")
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}, expected at least 1")
    return number


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text}, expected more than 0, and not without end")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
