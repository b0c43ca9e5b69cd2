"""The options of each command. Their types are imported when they are parsed: see `parser.py`."""

import argparse
from collections.abc import Callable
from typing import Any, Self, TypeAlias

from ..config.places import LOOKED_FOR
from ..supervision.command_line import ArgumentParser
from . import argument_types

Fill: TypeAlias = "Callable[[CommandParser], None]"

CHILD_HELP = "the child's id, as in status, or the start of it"


class CommandParser(ArgumentParser):
    """A parser whose options are added when they are needed: most commands are not the one that is run."""

    def __init__(self, *args: Any, fill: "Fill | None" = None, **options: Any):
        """`fill` adds the options."""
        super().__init__(*args, **options)
        self._fill = fill

    def filled(self) -> Self:
        """Return the parser itself, with its options."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)
        return self

    def parse_known_args(self, *args: Any, **options: Any) -> Any:  # also of a command: argparse calls it
        """As argparse's."""
        return ArgumentParser.parse_known_args(self.filled(), *args, **options)


# A default of a command's own option would replace a value given before the command. So those have none.


def add_shared_options(
    parser: CommandParser, file: Any = argparse.SUPPRESS, settings: Any = argparse.SUPPRESS
) -> None:
    """`file` and `settings`: the defaults."""
    parser.add_argument(
        "--config", metavar="FILE", default=file, help=f"the config file (default: {LOOKED_FOR})"
    )
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=settings,
        help="a setting to use instead of the file's; may be repeated",
    )


def add_log_level(parser: CommandParser, level: str = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "--log-level",
        default=level,
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="how much the service logs on stderr",
    )


def add_run_options(
    parser: CommandParser, level: str = argparse.SUPPRESS, insecure: Any = argparse.SUPPRESS
) -> None:
    add_log_level(parser, level)
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=insecure,
        help="start also if admin.address or client.address is reached from other machines without a token",
    )


def add_json_option(parser: CommandParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def fill_status(status: CommandParser) -> None:
    add_json_option(status)
    status.add_argument("--watch", action="store_true", help="a page in the terminal, until q or Ctrl-C")


def fill_kill(kill: CommandParser) -> None:
    import signal

    add_child(kill)
    kill.add_argument(
        "--signal",
        type=argument_types.signal_named,
        default=signal.SIGKILL,
        help="its name or number (default: KILL)",
    )


def add_child(command: CommandParser) -> None:
    command.add_argument("child", metavar="CHILD", help=CHILD_HELP)


def says(action: str) -> Fill:
    """Say which action a command is, for a function that runs several."""
    return lambda command: command.set_defaults(action=action)


def fill_pause(command: CommandParser) -> None:
    command.add_argument("part", choices=["consuming", "publishing"])


def fill_set(command: CommandParser) -> None:
    from ..config import SETTABLE

    command.add_argument(
        "assignment", metavar="SECTION.KEY=VALUE", help=f"one of {', '.join(SETTABLE)}, and its value"
    )
    command.set_defaults(usage_error=command.error)


def fill_republish(command: CommandParser) -> None:
    command.add_argument("--all", action="store_true", help="of every video")
    command.add_argument(
        "videos", metavar="VIDEO", nargs="*", type=argument_types.video, help="a GUID: of this video"
    )
    command.set_defaults(usage_error=command.error)


def fill_config(shown: CommandParser) -> None:
    add_json_option(shown)
    shown.add_argument(
        "--example",
        action=_Example,
        nargs=0,
        help="print a config.toml to begin with: every default, explained",
    )


class _Example(argparse.Action):
    """Prints the example and ends, as `--version` does, even if the config file in force is wrong."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from .configuration import print_example

        print_example()
        parser.exit()


def fill_totals(totals: CommandParser) -> None:
    add_json_option(totals)
    totals.add_argument(
        "videos", metavar="GUID", nargs="*", type=argument_types.video, help="of this video (default: of all)"
    )
    totals.add_argument("--csv", action="store_true", help="print CSV, with the header video_id,plays")
    count = argument_types.at_least_one
    totals.add_argument("--top", metavar="N", type=count, help="only the N greatest, the greatest first")
    totals.add_argument("--below", metavar="N", type=count, help="only totals below N")
    totals.add_argument("--verify", action="store_true", help="check every ledger instead, one line for each")
    totals.set_defaults(usage_error=totals.error)


def folder(text: str) -> Fill:
    return lambda command: add_folder(command, text)


def add_folder(command: CommandParser, text: str) -> None:
    command.add_argument("folder", metavar="DIR", help=text)


def fill_audit(audit: CommandParser) -> None:
    add_json_option(audit)
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


def fill_drill(drill: CommandParser) -> None:
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


def fill_demo(demo: CommandParser) -> None:
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


def add_data_dir(command: CommandParser, folder: Any = argparse.SUPPRESS) -> None:
    command.add_argument(
        "--data-dir", metavar="DIR", default=folder, help="keep the data there (default: it is thrown away)"
    )


def add_node(command: CommandParser) -> None:
    command.add_argument("node", metavar="NODE", help="such as nsqd-0, nsqlookupd-0, nsqadmin")


def fill_completion(completion: CommandParser) -> None:
    completion.add_argument(
        "shell", metavar="SHELL", choices=["bash", "zsh", "fish"], help="bash, zsh or fish"
    )
