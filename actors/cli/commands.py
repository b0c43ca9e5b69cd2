"""The command line: arguments to calls, results to stdout, talk to stderr, and exit codes.

Owns no logic of its own: every command is a few lines over the module that does it.
"""

import argparse
import io
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import config
from ..config import ConfigError, Settings
from ..system import runfile
from ..system.exits import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, Failure
from ..system.installation import service_command
from ..version import VERSION
from . import argument_types

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Command: TypeAlias = Callable[[Settings, argparse.Namespace], int]

ACTION_TIMEOUT_S = 120  # a child may take its whole shutdown time

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 bad arguments or config, 3 restart intensity exceeded, "
    "4 a store that can't be used."
)


def main(arguments: list[str]) -> int:
    """Run one command. The exit code."""
    _open_standard_streams()
    try:
        try:
            options = _parser().parse_args(arguments)
            settings = config.load(options.config, options.set)
            code: int = options.command(settings, options)
            return code
        finally:  # `--help` too: it leaves by SystemExit
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a reader that is gone can be told from a failure
    except ConfigError as error:
        print(f"the settings are not right:\n{error}", file=sys.stderr)
        return EXIT_USAGE
    except Failure as failure:
        print(failure, file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
    except BrokenPipeError:
        _drop_output()  # `totals | head -1` has what it wanted
        return EXIT_DONE
    except _OutputError as error:
        _drop_output()
        print(f"stdout can not be written: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED


def _open_standard_streams() -> None:
    """Descriptors 0 to 2 must not be free, here and in every child: a file or a pipe that got the number
    of stdout would have publishes written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:  # else what is meant for it is printed on stdout
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
    ours = sys.__stdout__
    if ours is not None and sys.stdout is ours:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(1, "w", closefd=False)),
            encoding=ours.encoding,
            errors=ours.errors,
            line_buffering=ours.line_buffering,
        )


class _OutputError(OSError):
    """stdout can't be written, and its reader is not gone."""


class _Output(io.FileIO):
    """stdout, whose errors are told from all others."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _OutputError(error.errno, error.strerror) from error


def _drop_output() -> None:
    """What is still in the buffer of stdout goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(settings: Settings, options: argparse.Namespace) -> int:
    from ..service import lifecycle as service

    if sys.stdout is None and not (settings.publish.url or settings.publish.nsq_topic):
        raise Failure('stdout is closed and publish.url = ""; expected one of them to publish to')
    return service.run(settings, options.log_level)


def _status(settings: Settings, options: argparse.Namespace) -> int:
    from . import screen

    if options.watch:
        return screen.watch(lambda: _ask(settings, "/status"))
    status = _ask(settings, "/status")
    print(json.dumps(status, indent=2)) if options.json else screen.show_status(status)
    return EXIT_DONE


def _kill(settings: Settings, options: argparse.Namespace) -> int:
    from ..supervision.processes import send_signal

    child = _find_child(_ask(settings, "/status"), options.child)
    # The pid of one that is down is that of its last process, and may be another's by now.
    if child["state"] == "stopped" or child["pid"] is None or not send_signal(child["pid"], options.signal):
        raise Failure(f"{child['id']} has no process just now; see `{service_command()} status`")
    print(f"sent {options.signal.name} to {child['id']} (pid {child['pid']})", file=sys.stderr)
    return EXIT_DONE


def _act(settings: Settings, options: argparse.Namespace) -> int:
    child_id = _find_child(_ask(settings, "/status"), options.child)["id"]
    address = _running(settings)["admin_address"]
    request = urllib.request.Request(
        f"http://{address}/children/{child_id}/{options.action}",
        method="POST",
        headers={"X-Playtally-Action": options.action},
    )
    try:
        with urllib.request.urlopen(request, timeout=ACTION_TIMEOUT_S) as answer:
            print(json.load(answer)["done"], file=sys.stderr)
    except urllib.error.HTTPError as error:
        with error:
            raise Failure(json.load(error)["error"]) from error
    except (urllib.error.URLError, OSError) as error:
        raise Failure(f"the service does not answer at http://{address} ({error})") from error
    return EXIT_DONE


def _find_child(status: dict[str, Any], name: str) -> dict[str, Any]:
    """The child that a name or the unmistakable beginning of one means."""
    children: dict[str, dict[str, Any]] = {child["id"]: child for child in status["children"]}
    meant = [name] if name in children else [one for one in children if name and one.startswith(name)]
    if len(meant) != 1:
        expected = ", ".join(meant or children)
        raise Failure(f"no child {name!r}, expected one of {expected}")
    return children[meant[0]]


def _config(settings: Settings, options: argparse.Namespace) -> int:
    from . import screen

    found = config.explain(options.config, options.set)
    if options.json:
        print(json.dumps([one._asdict() for one in found], indent=2))
    else:
        screen.show_config(found)
    return EXIT_DONE


def _totals(settings: Settings, options: argparse.Namespace) -> int:
    from ..core import guids
    from ..store import TotalsReader
    from . import screen

    if options.verify:
        return _verify(settings)
    reader = TotalsReader(settings.supervisor.state_dir)
    if not reader.found:
        raise Failure(
            f"no ledgers in {settings.supervisor.state_dir}, expected those of a service that has run: "
            "see supervisor.state_dir"
        )
    rows = sorted(reader.read(), key=lambda row: (-row[1], row[0]))
    if options.json:
        print(json.dumps({guids.text(video): total for video, total, _ in rows}, indent=2))
    else:
        screen.show_totals([(guids.text(video), total, published) for video, total, published in rows])
    return EXIT_DONE


def _verify(settings: Settings) -> int:
    from ..store.verify import verify

    findings = verify(settings.supervisor.state_dir)
    if not findings:
        raise Failure(f"no ledgers in {settings.supervisor.state_dir}: see supervisor.state_dir")
    for finding in findings:
        print(finding)
    return EXIT_FAILED if any(finding.wrong for finding in findings) else EXIT_DONE


def _reshard(settings: Settings, options: argparse.Namespace) -> int:
    from ..store.reshard import reshard

    shards = settings.counters.shards
    done = reshard(settings.supervisor.state_dir, shards)
    if done is None:
        print(f"the ledgers are of counters.shards = {shards} already: nothing to do", file=sys.stderr)
    else:
        print(
            f"divided {done.plays} plays of {done.videos} videos from {done.shards_before} ledgers into "
            f"{done.shards}; each knows all {done.ids} message ids; batches to confirm: {done.batches}",
            file=sys.stderr,
        )
    return EXIT_DONE


def _check(settings: Settings, options: argparse.Namespace) -> int:
    from . import check

    return check.run(settings)


def _audit(settings: Settings, options: argparse.Namespace) -> int:
    from . import audit_run

    return audit_run.run(settings, options)


def _stop(settings: Settings, options: argparse.Namespace) -> int:
    from ..supervision.processes import send_signal

    facts = _running(settings)
    # Ask first: the file may be a killed supervisor's, and its pid another's by now.
    found = _ask(settings, "/status")["supervisor"]["pid"]
    if found != facts["pid"]:
        raise Failure(
            f"{settings.supervisor.state_dir} names pid {facts['pid']}, and pid {found} answers at "
            f"{facts['admin_address']}: not stopped; name the --config of the service that you mean"
        )
    send_signal(found, signal.SIGTERM)
    # Two drains and the children's stops, each at most shutdown_timeout_s.
    deadline_s = time.monotonic() + 8 * settings.supervisor.shutdown_timeout_s + 10
    while (runfile.read(settings.supervisor.state_dir) or {}).get("pid") == found:
        if time.monotonic() > deadline_s:
            raise Failure(f"the service (pid {facts['pid']}) still runs; see its log")
        time.sleep(0.05)
    print(f"stopped the service (pid {facts['pid']})", file=sys.stderr)
    return EXIT_DONE


def _demo(settings: Settings, options: argparse.Namespace) -> int:
    from . import demo

    words = ["--plays", options.plays, "--videos", options.videos, "--seconds", options.seconds]
    if options.quiet_videos is not None:
        words += ["--quiet-videos", options.quiet_videos]
    return demo.run(settings, options.config, options.set, [*words, "--seed", options.seed])


def _drill(settings: Settings, options: argparse.Namespace) -> int:
    from . import drill

    return drill.run(settings, options)


def _running(settings: Settings) -> dict[str, Any]:
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is None:
        raise Failure(
            f"no service runs on {settings.supervisor.state_dir}; start one with "
            f"`{service_command()}`, or name its --config"
        )
    return facts


def _ask(settings: Settings, path: str) -> dict[str, Any]:
    address = _running(settings)["admin_address"]
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            answered: dict[str, Any] = json.load(answer)
            return answered
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Failure(f"the service does not answer at http://{address}{path} ({error})") from error


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", metavar="FILE", help=f"the config file (default: {config.LOOKED_FOR})")
    shared.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="a setting that goes over the file; may be given again",
    )
    run_options = argparse.ArgumentParser(add_help=False)
    run_options.add_argument(
        "--log-level",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="how much the service says on stderr",
    )
    json_option = argparse.ArgumentParser(add_help=False)
    json_option.add_argument("--json", action="store_true", help="print JSON")
    parser = argparse.ArgumentParser(
        prog=service_command(),
        description="Counts video plays from NSQ exactly once and publishes totals in few batches.",
        epilog=EPILOG,
        parents=[shared, run_options],
    )
    parser.add_argument("--version", action="version", version=f"playtally {VERSION}")
    parser.set_defaults(command=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(
        name: str, function: Command, text: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=EPILOG,
            parents=[_quiet(shared), *parents],
        )
        command.set_defaults(command=function)
        return command

    add("run", _run, "run the service (the default)", _quiet(run_options))
    status = add("status", _status, "what the service is doing", json_option)
    status.add_argument("--watch", action="store_true", help="refresh until Ctrl-C")
    kill = add("kill", _kill, "send a signal to a child, to see it restart")
    kill.add_argument("child", metavar="CHILD", help="its id, as in status, or the beginning of it")
    kill.add_argument(
        "--signal",
        type=argument_types.signal_named,
        default=signal.SIGKILL,
        help="its name or number; KILL unless said otherwise",
    )
    shown = add("config", _config, "every setting in force, and where it came from", json_option)
    shown.add_argument(
        "--example",
        action=_Example,
        nargs=0,
        help="print a config.toml to begin with: every default, explained",
    )
    totals = add("totals", _totals, "the totals in the ledgers; needs no running service", json_option)
    totals.add_argument("--verify", action="store_true", help="check every ledger instead, a line each")
    add("reshard", _reshard, "divide the ledgers anew for another counters.shards, while no service runs")
    add("check", _check, "try the queue, the client and the state folder; say what works")
    audit = add("audit", _audit, "recorded publishes: were promises kept, how few could it be", json_option)
    audit.add_argument("publishes", metavar="PUBLISHES", help="JSON lines as the service prints; - for stdin")
    audit.add_argument(
        "--plays", metavar="FILE", help='what was played, in the order counted: {"video_id", "arrived_at_ns"}'
    )
    audit.add_argument(
        "--record", metavar="FILE", help="write the lines there as they come, each with its received_at_ns"
    )
    audit.add_argument(
        "--deadline-s",
        metavar="S",
        type=argument_types.positive,
        help="what was promised (default: dispatch.deadline_s)",
    )
    audit.add_argument(
        "--linger-ms",
        metavar="MS",
        type=argument_types.not_negative,
        help="the bound is for a realtime play told within this (default: the slowest of this run)",
    )
    add("stop", _stop, "stop the service: publish what is pending, then end")
    for action, text in (
        ("terminate", "stop a child; it stays stopped until `restart`"),
        ("restart", "start a child that was terminated"),
    ):
        act = add(action, _act, text)
        act.set_defaults(action=action)
        act.add_argument("child", metavar="CHILD", help="its id, as in status, or the beginning of it")
    drill = add("drill", _drill, "kill children at random under load, and prove that no play was lost")
    drill.add_argument("--kills", type=int, default=50, help="how many kills (default 50)")
    drill.add_argument("--seed", type=int, help="of the order of kills (default: any, and it is said)")
    demo = add("demo", _demo, "the whole job once, on its own queue and folder, with a report")
    # Read as texts: the producer checks them, and says all that is wrong at once.
    demo.add_argument("--plays", metavar="N", default="100000", help="plays in all (default: 100000)")
    demo.add_argument("--videos", metavar="N", default="100", help="videos that they are of (default: 100)")
    demo.add_argument(
        "--quiet-videos",
        metavar="N",
        help="videos that stay below 100 plays (default: 15; of fewer than 100 videos 15 %%)",
    )
    demo.add_argument(
        "--seconds", metavar="S", default="0", help="spread the plays over S seconds; 0: flat out (default)"
    )
    demo.add_argument("--seed", metavar="N", default="1", help="which plays exactly (default: 1)")
    return parser


class _Example(argparse.Action):
    """Prints and ends, as `--version` does: whatever is wrong with the config file in force."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(config.example())
        parser.exit()


def _quiet(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The same options with no defaults: after a command they must not undo what stood before it."""
    import copy

    quiet = copy.deepcopy(parser)
    for action in quiet._actions:
        action.default = argparse.SUPPRESS
    return quiet
