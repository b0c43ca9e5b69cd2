"""The words of the command line: every command, its options, and the function that runs it.

Only what the words need is imported here: a command's module when it runs, and what its options need when
they are parsed. So `--help` and every command start fast.
"""

import argparse
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ..system import early_signals
from ..system.installation import service_command
from ..version import VERSION
from . import argument_types, options
from .options import CommandParser, Fill

if TYPE_CHECKING:
    from ..config import Settings

Command: TypeAlias = "Callable[[Settings, argparse.Namespace], int]"

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 bad arguments or config, 3 restart intensity exceeded, "
    "4 a store that can't be used."
)


def command_parser() -> CommandParser:
    """Build the parser of the whole command line. After parsing, `command` is the `Command` to run."""
    parser = CommandParser(
        prog=service_command(),
        description="Counts video plays from NSQ exactly once and publishes totals in few batches.",
        epilog=EPILOG,
    )
    options.add_shared_options(parser, None, [])
    options.add_run_options(parser, "INFO", False)
    parser.add_argument("--version", action="version", version=f"playtally {VERSION}")
    parser.set_defaults(command=_run_of("running"))
    commands = _Commands(parser)
    commands.add("run", _run_of("running"), "run the service (the default)", options.add_run_options)
    _add_status_and_kill(commands)
    shown = "every setting in force, and where it came from"
    commands.add("config", _run_of("configuration", "show"), shown, options.fill_config)
    commands.add(
        "totals",
        _run_of("totals"),
        "the totals in the ledgers; needs no running service",
        options.fill_totals,
    )
    _add_state(commands)
    text = "look at the queue, the client and the state folder; say what works, and what to do"
    commands.add("check", _run_of("check"), text, options.add_json_option)
    text = "judge recorded publishes: which promises were broken, and how few publishes were possible"
    commands.add("audit", _run_of("audit_run"), text, options.fill_audit)
    text = "stop the service: publish what is pending, then end"
    commands.add("stop", _run_of("running", "stop"), text)
    _add_actions(commands)
    _add_changes(commands)
    text = "have the running service tell the client totals again"
    commands.add("republish", _run_of("republish"), text, options.fill_republish)
    text = "have the running service read secrets and certificates again; say what needs a restart"
    commands.add("reload", _run_of("reload"), text)
    text = "kill children at random under load, and prove that no play was lost"
    commands.add("drill", _run_of("drill"), text, options.fill_drill)
    text = "the whole job once, on its own queue and folder, with a report"
    commands.add("demo", _run_of("demo"), text, options.fill_demo)
    text = (
        "NSQ's own programs on this machine, supervised, until Ctrl-C; prints their addresses for config.toml"
    )
    commands.add("cluster", _run_of("cluster"), text, _fill_cluster)
    text = "print what makes Tab complete the words of `playtally` in a shell"
    commands.add("completion", _run_of("completion"), text, options.fill_completion)
    return parser


class _Commands:
    """The commands of a parser; each takes the shared options too."""

    def __init__(self, parser: CommandParser):
        self._parsers = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(self, name: str, function: Command, text: str, *fills: Fill) -> None:
        """Add a command. `text`: its help; `fills`: add its options."""

        def fill(command: CommandParser) -> None:
            options.add_shared_options(command)
            for one in fills:
                one(command)

        command = self._parsers.add_parser(name, help=text, description=text, epilog=EPILOG, fill=fill)
        command.set_defaults(command=function)


def _run_of(module: str, function: str = "run") -> Command:
    """A function of a module beside this one, which is imported only when the command runs."""

    def run(settings: "Settings", options: argparse.Namespace) -> int:
        early_signals.end_at_ctrl_c(early_signals.INTERRUPTED.get(module, ""))
        command: Command = pkgutil.resolve_name(f"{__package__}.{module}:{function}")
        early_signals.take_ctrl_c()
        return command(settings, options)

    return run


def _add_status_and_kill(commands: _Commands) -> None:
    commands.add("status", _run_of("running", "status"), "what the service is doing", options.fill_status)
    commands.add(
        "kill", _run_of("children", "kill"), "send a signal to a child, to see it restart", options.fill_kill
    )


def _add_actions(commands: _Commands) -> None:
    for action, text in (
        ("terminate", "stop a child; it stays stopped until `restart`"),
        ("restart", "start a child that was terminated"),
    ):
        commands.add(action, _run_of("children", "act"), text, options.says(action), options.add_child)


def _add_changes(commands: _Commands) -> None:
    for action, text in (
        ("pause", "stop reading the queue, or publishing, until `resume`; nothing is lost"),
        ("resume", "go on with what was paused"),
    ):
        commands.add(action, _run_of("pauses", "pause"), text, options.says(action), options.fill_pause)
    text = "change a setting of the running service until its next start; the config file is not written"
    commands.add("set", _run_of("pauses", "set_value"), text, options.fill_set)


def _add_state(commands: _Commands) -> None:
    text = "divide the ledgers again after a change of counters.shards, while no service runs"
    commands.add("reshard", _run_of("state", "reshard"), text)
    text = "copy the state to a folder, while the service runs or not"
    commands.add("backup", _run_of("backup", "backup"), text, options.folder("an empty or a new folder"))
    text = "put a backup in the place of the state, while no service runs"
    commands.add("restore", _run_of("backup", "restore"), text, options.folder("the folder of the backup"))
    text = "count the plays of a changed nsq.topic or nsq.play_id in the same ledgers, while no service runs"
    commands.add("accept-topic", _run_of("state", "accept_topic"), text)


def _fill_cluster(cluster: CommandParser) -> None:
    options.add_data_dir(cluster, None)
    options.add_log_level(cluster, "INFO")
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
    nodes = _Commands(cluster)
    act = _run_of("cluster", "act")
    for action in ("stop", "start", "pause", "resume"):
        text = f"{action} one node of the cluster that runs"
        nodes.add(action, act, text, options.add_data_dir, options.says(action), options.add_node)
    nodes.add("status", act, "its nodes", options.add_data_dir, options.says("status"))
