"""The words of the command line: every command, its options, and the function that runs it."""

import argparse
import copy
import pkgutil
import signal
from collections.abc import Callable
from typing import TypeAlias

from .. import config
from ..config import Settings
from ..supervision.command_line import ArgumentParser
from ..system import early_signals
from ..system.installation import service_command
from ..version import VERSION
from . import argument_types, backup, children, configuration, running, state

Command: TypeAlias = Callable[[Settings, argparse.Namespace], int]

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 bad arguments or config, 3 restart intensity exceeded, "
    "4 a store that can't be used."
)
CHILD_HELP = "the child's id, as in status, or the start of it"


def command_parser() -> ArgumentParser:
    """Build the parser of the whole command line. After parsing, `command` is the `Command` to run."""
    shared, log_level = _shared_options(), _log_level_option()
    run_options = _run_options(log_level)
    parser = ArgumentParser(
        prog=service_command(),
        description="Counts video plays from NSQ exactly once and publishes totals in few batches.",
        epilog=EPILOG,
        parents=[shared, run_options],
    )
    parser.add_argument("--version", action="version", version=f"playtally {VERSION}")
    parser.set_defaults(command=running.run)
    commands = _Commands(parser, shared)
    commands.add("run", running.run, "run the service (the default)", _without_defaults(run_options))
    _add_status_and_kill(commands)
    _add_config(commands)
    _add_totals(commands)
    _add_state(commands)
    text = "look at the queue, the client and the state folder; say what works, and what to do"
    commands.add("check", _run_of("check"), text, _json_option())
    _add_audit(commands)
    commands.add("stop", running.stop, "stop the service: publish what is pending, then end")
    _add_actions(commands)
    _add_changes(commands)
    _add_republish(commands)
    text = "have the running service read secrets and certificates again; say what needs a restart"
    commands.add("reload", _run_of("reload"), text)
    _add_drill(commands)
    _add_demo(commands)
    _add_cluster(commands, shared, log_level)
    text = "print what makes Tab complete the words of `playtally` in a shell"
    completion = commands.add("completion", _run_of("completion"), text)
    completion.add_argument(
        "shell", metavar="SHELL", choices=["bash", "zsh", "fish"], help="bash, zsh or fish"
    )
    return parser


class _Commands:
    """The commands of a parser; each takes the shared options too."""

    def __init__(self, parser: ArgumentParser, shared: ArgumentParser):
        self._parsers = parser.add_subparsers(title="commands", metavar="COMMAND")
        self._shared = _without_defaults(shared)

    def add(self, name: str, function: Command, text: str, *parents: ArgumentParser) -> ArgumentParser:
        """Add a command. `text`: its help; `parents`: parsers whose options it takes. Returns its parser."""
        command = self._parsers.add_parser(
            name, help=text, description=text, epilog=EPILOG, parents=[self._shared, *parents]
        )
        command.set_defaults(command=function)
        return command


def _run_of(module: str, function: str = "run") -> Command:
    """A function of a module beside this one, which is imported only when the command runs."""

    def run(settings: Settings, options: argparse.Namespace) -> int:
        early_signals.end_at_ctrl_c(early_signals.INTERRUPTED.get(module, ""))
        command: Command = pkgutil.resolve_name(f"{__package__}.{module}:{function}")
        early_signals.take_ctrl_c()
        return command(settings, options)

    return run


def _shared_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument("--config", metavar="FILE", help=f"the config file (default: {config.LOOKED_FOR})")
    options.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="a setting to use instead of the file's; may be repeated",
    )
    return options


def _log_level_option() -> ArgumentParser:
    option = ArgumentParser(add_help=False)
    option.add_argument(
        "--log-level",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="how much the service logs on stderr",
    )
    return option


def _run_options(log_level: ArgumentParser) -> ArgumentParser:
    options = ArgumentParser(add_help=False, parents=[log_level])
    options.add_argument(
        "--insecure",
        action="store_true",
        help="start also if admin.address or client.address is reached from other machines without a token",
    )
    return options


def _json_option() -> ArgumentParser:
    option = ArgumentParser(add_help=False)
    option.add_argument("--json", action="store_true", help="print JSON")
    return option


def _without_defaults(parser: ArgumentParser) -> ArgumentParser:
    """Copy the options without their defaults, which would replace a value given before the command."""
    options = copy.deepcopy(parser)
    for action in options._actions:
        action.default = argparse.SUPPRESS
    return options


def _add_status_and_kill(commands: _Commands) -> None:
    status = commands.add("status", running.status, "what the service is doing", _json_option())
    status.add_argument("--watch", action="store_true", help="a page in the terminal, until q or Ctrl-C")
    kill = commands.add("kill", children.kill, "send a signal to a child, to see it restart")
    kill.add_argument("child", metavar="CHILD", help=CHILD_HELP)
    kill.add_argument(
        "--signal",
        type=argument_types.signal_named,
        default=signal.SIGKILL,
        help="its name or number (default: KILL)",
    )


def _add_actions(commands: _Commands) -> None:
    for action, text in (
        ("terminate", "stop a child; it stays stopped until `restart`"),
        ("restart", "start a child that was terminated"),
    ):
        command = commands.add(action, children.act, text)
        command.set_defaults(action=action)
        command.add_argument("child", metavar="CHILD", help=CHILD_HELP)


def _add_changes(commands: _Commands) -> None:
    for action, text in (
        ("pause", "stop reading the queue, or publishing, until `resume`; nothing is lost"),
        ("resume", "go on with what was paused"),
    ):
        command = commands.add(action, _run_of("pauses", "pause"), text)
        command.set_defaults(action=action)
        command.add_argument("part", choices=["consuming", "publishing"])
    text = "change a setting of the running service until its next start; the config file is not written"
    command = commands.add("set", _run_of("pauses", "set_value"), text)
    command.add_argument(
        "assignment", metavar="SECTION.KEY=VALUE", help=f"one of {', '.join(config.SETTABLE)}, and its value"
    )
    command.set_defaults(usage_error=command.error)


def _add_republish(commands: _Commands) -> None:
    text = "have the running service tell the client totals again"
    command = commands.add("republish", _run_of("republish"), text)
    command.add_argument("--all", action="store_true", help="of every video")
    command.add_argument(
        "videos", metavar="VIDEO", nargs="*", type=argument_types.video, help="a GUID: of this video"
    )
    command.set_defaults(usage_error=command.error)


def _add_config(commands: _Commands) -> None:
    shown = commands.add(
        "config", configuration.show, "every setting in force, and where it came from", _json_option()
    )
    shown.add_argument(
        "--example",
        action=configuration.Example,
        nargs=0,
        help="print a config.toml to begin with: every default, explained",
    )


def _add_totals(commands: _Commands) -> None:
    text = "the totals in the ledgers; needs no running service"
    totals = commands.add("totals", _run_of("totals"), text, _json_option())
    totals.add_argument(
        "videos", metavar="GUID", nargs="*", type=argument_types.video, help="of this video (default: of all)"
    )
    totals.add_argument("--csv", action="store_true", help="print CSV, with the header video_id,plays")
    count = argument_types.at_least_one
    totals.add_argument("--top", metavar="N", type=count, help="only the N greatest, the greatest first")
    totals.add_argument("--below", metavar="N", type=count, help="only totals below N")
    totals.add_argument("--verify", action="store_true", help="check every ledger instead, one line for each")
    totals.set_defaults(usage_error=totals.error)


def _add_state(commands: _Commands) -> None:
    commands.add(
        "reshard",
        state.reshard,
        "divide the ledgers again after a change of counters.shards, while no service runs",
    )
    text = "copy the state to a folder, while the service runs or not"
    made = commands.add("backup", backup.backup, text)
    made.add_argument("folder", metavar="DIR", help="an empty or a new folder")
    text = "put a backup in the place of the state, while no service runs"
    restored = commands.add("restore", backup.restore, text)
    restored.add_argument("folder", metavar="DIR", help="the folder of the backup")
    commands.add(
        "accept-topic",
        state.accept_topic,
        "count the plays of a changed nsq.topic or nsq.play_id in the same ledgers, while no service runs",
    )


def _add_audit(commands: _Commands) -> None:
    text = "judge recorded publishes: which promises were broken, and how few publishes were possible"
    audit = commands.add("audit", _run_of("audit_run"), text, _json_option())
    audit.add_argument("publishes", metavar="PUBLISHES", help="JSON lines as the service prints; - for stdin")
    audit.add_argument(
        "--plays",
        metavar="FILE",
        help='JSON lines of plays, in the order counted: {"video_id", "arrived_at_ns"}',
    )
    audit.add_argument(
        "--record", metavar="FILE", help="write each line to this new file when it comes, with received_at_ns"
    )
    audit.add_argument(
        "--deadline-s",
        metavar="S",
        type=argument_types.positive,
        help="the promised deadline in seconds (default: dispatch.deadline_s)",
    )
    audit.add_argument(
        "--linger-ms",
        metavar="MS",
        type=argument_types.not_negative,
        help="how long the bound lets a realtime play wait, in ms (default: the longest wait in this run)",
    )


def _add_drill(commands: _Commands) -> None:
    text = "kill children at random under load, and prove that no play was lost"
    drill = commands.add("drill", _run_of("drill"), text)
    drill.add_argument(
        "--kills", metavar="N", type=argument_types.whole, default=50, help="how many kills (default: 50)"
    )
    drill.add_argument(
        "--seed",
        metavar="N",
        type=argument_types.whole,
        help="seed of the order of kills (default: a random one, which is printed)",
    )
    drill.add_argument(
        "--here",
        action="store_true",
        help="kill the children of the running service, under the load that is there, and make no plays; "
        "else the drill brings a service, a queue, a client and a load of its own",
    )
    drill.add_argument("--yes", action="store_true", help="with --here: don't ask")


def _add_demo(commands: _Commands) -> None:
    text = "the whole job once, on its own queue and folder, with a report"
    demo = commands.add("demo", _run_of("demo"), text)
    # Kept as strings: the producer checks them, and reports all problems at once.
    demo.add_argument("--plays", metavar="N", default="100000", help="number of plays (default: 100000)")
    demo.add_argument("--videos", metavar="N", default="100", help="number of videos (default: 100)")
    demo.add_argument(
        "--quiet-videos",
        metavar="N",
        help="videos that stay below 100 plays (default: 15, or 15 %% if there are fewer than 100 videos)",
    )
    demo.add_argument(
        "--seconds", metavar="S", default="0", help="spread the plays over S seconds; 0 (default): no pauses"
    )
    demo.add_argument("--seed", metavar="N", default="1", help="seed of the plays (default: 1)")


def _add_cluster(commands: _Commands, shared: ArgumentParser, log_level: ArgumentParser) -> None:
    text = (
        "NSQ's own programs on this machine, supervised, until Ctrl-C; prints their addresses for config.toml"
    )
    folder = ArgumentParser(add_help=False)
    folder.add_argument("--data-dir", metavar="DIR", help="keep the data there (default: it is thrown away)")
    cluster = commands.add("cluster", _run_of("cluster"), text, folder, log_level)
    count, port = argument_types.nodes, argument_types.first_port
    cluster.add_argument("--nsqd", metavar="N", type=count, default=1, help="how many nsqds (default: 1)")
    cluster.add_argument("--nsqlookupd", metavar="N", type=count, default=0, help="how many nsqlookupds")
    cluster.add_argument("--nsqadmin", action="store_true", help="an nsqadmin too")
    cluster.add_argument(
        "--port",
        metavar="N",
        type=port,
        default=4150,
        help="the port of nsqd-0 (default: 4150); nsqd-1 has 100 more, nsqlookupd-0 10 more; 0: free ports",
    )
    cluster.add_argument("--tls", action="store_true", help="TLS to the nsqds, with a throw-away authority")
    cluster.add_argument(
        "--flag",
        metavar="PROGRAM:NAME=VALUE",
        type=argument_types.flag,
        action="append",
        default=[],
        help="a flag for all nodes of a program, such as nsqd:mem-queue-size=0; may be repeated",
    )
    cluster.set_defaults(usage_error=cluster.error)
    nodes = _Commands(cluster, shared)
    for action in ("stop", "start", "pause", "resume"):
        text = f"{action} one node of the cluster that runs"
        command = nodes.add(action, _run_of("cluster", "act"), text, _without_defaults(folder))
        command.set_defaults(action=action)
        command.add_argument("node", metavar="NODE", help="such as nsqd-0, nsqlookupd-0, nsqadmin")
    shown = nodes.add("status", _run_of("cluster", "act"), "its nodes", _without_defaults(folder))
    shown.set_defaults(action="status")
