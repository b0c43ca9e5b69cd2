"""What a shell offers at Tab: commands, options, children, sections and keys, names of files.

It all comes from the parser: an argument is completed by what its METAVAR stands for, so that a new command
needs nothing here. At each Tab the shell runs the command itself, with `_ARGCOMPLETE` set.
"""

import argparse
import signal
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import argcomplete
from argcomplete.completers import BaseCompleter, DirectoriesCompleter, FilesCompleter
from argcomplete.shell_integration import shellcode

from .. import config
from ..config import ConfigError, Settings
from ..supervision.printable import Lines
from ..system.exits import EXIT_DONE
from ..tree import COUNTERS, children_of, root_spec
from .options import CommandParser

COMMAND = "playtally"
Completer: TypeAlias = Callable[..., Iterable[str]]


def answer(parser: CommandParser) -> None:
    """Tell the shell, and end this process."""
    for action in _actions(parser):
        if not hasattr(action, "completer") and action.choices is None:
            vars(action)["completer"] = _COMPLETERS.get(_metavar(action), _NOTHING)
    argcomplete.autocomplete(parser, always_complete_options="long", default_completer=_NOTHING)


def run(_: Settings, options: argparse.Namespace) -> int:
    """Print the script that a shell has to read."""
    script = shellcode([COMMAND], use_defaults=False, shell=options.shell)
    print(Lines(script.strip("\n")))
    return EXIT_DONE


def _actions(parser: CommandParser) -> Iterable[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _actions(one.filled())


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


class _Nothing(BaseCompleter):
    def __call__(self, **_: Any) -> Iterable[str]:
        return ()


def _children(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The children that the settings on the line ask for; supervisors too, where a command takes them."""
    try:
        settings = config.load(getattr(parsed_args, "config", None), getattr(parsed_args, "set", None) or [])
    except ConfigError:
        settings = Settings()
    children = children_of(root_spec(settings))
    return [*children, COUNTERS] if hasattr(parsed_args, "action") else children


def _settings(prefix: str, **_: Any) -> dict[str, str]:
    """Every "section.key=" with what it accepts; after that its values, if they are few."""
    known = config.known()
    key, equals, _value = prefix.partition("=")
    if not equals:
        return {f"{name}=": expected for name, (expected, _) in known.items()}
    values = known[key][1] if key in known else ()
    return {f"{key}={value}": "" for value in values}


def _signals(**_: Any) -> list[str]:
    return [one.name.removeprefix("SIG") for one in signal.Signals]


_NOTHING = _Nothing()
_COMPLETERS: dict[str, Completer] = {
    "CHILD": _children,
    "SECTION.KEY=VALUE": _settings,
    "SIGNAL": _signals,
    "FILE": FilesCompleter(),
    "PUBLISHES": FilesCompleter(),
    "DIR": DirectoriesCompleter(),
}
