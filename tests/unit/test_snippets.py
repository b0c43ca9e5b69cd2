"""Every snippet of the README and the docs can be copied: our own loader reads the TOML, JSON is JSON, each
command has the arguments that its program takes. tests/end_to_end/test_snippets.py runs the commands.
"""

import json
import re
import shlex

import msgspec
import pytest

from actors import config
from actors.cli.parser import command_parser
from actors.core.client.promises import Publish
from actors.system.installation import ROOT
from tests.support.snippets import Command, Snippet, commands, module_of, options_of, snippets

# Blocks that are to be looked at: their document and how they begin.
DRAWINGS = {
    ("README.md", "plays on NSQ, "),
    ("README.md", "supervisor.py\n├"),
    ("using.md", "run      the service"),
    ("README.md", "supervisor.py   the command line"),
    ("architecture.md", "supervisor.py            the command line"),
    ("architecture.md", "Plays        consumer"),
    ("architecture.md", "rules (core/)"),
    ("production.md", "2026-11-29T22:22:55.941+01:00 W consumer#2"),  # a line of the log
    ("production.md", "journalctl -u playtally"),
    ("production.md", "scrape_configs:"),  # Prometheus' own (tests/end_to_end/test_deploy.py)
    ("production.md", "0 * * * *  python supervisor.py backup"),  # a table of cron
    ("publishing.md", "offeredᵢ"),
    ("supervision.md", "def handle(self"),  # a part of the program above it
}
BLOCKS, COMMANDS = snippets(), commands()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def of_kind(kind):
    found = [one for one in BLOCKS if one.kind == kind]
    return pytest.mark.parametrize("block", found, ids=[one.where for one in found])


def test_every_block_is_a_snippet_or_a_known_drawing():
    unknown = [
        block.where
        for block in BLOCKS
        if not block.kind
        and not any(block.where.startswith(name) and block.text.startswith(text) for name, text in DRAWINGS)
    ]
    assert unknown == []
    assert {kind: sum(one.kind == kind for one in BLOCKS) >= 1 for kind in ("toml", "json", "commands")} == {
        "toml": True,
        "json": True,
        "commands": True,
    }


@of_kind("toml")
def test_toml_is_a_config_file(block, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(block.text, encoding="utf-8")
    assert not [one for one in config.explain(file) if one.source not in ("config.toml", "default")]


@of_kind("json")
def test_json_is_a_publish_or_a_line_of_the_log(block):
    found = json.loads(block.text)
    if "who" in found:
        assert found.keys() >= {"time", "level", "message", "logger"}
    else:
        assert msgspec.convert(found, Publish).videos


def parsed(command: Command) -> object:
    """What our parser makes of the words after `python supervisor.py`, or after `playtally`."""
    words = shlex.split(re.sub(r".*?(?:supervisor\.py|playtally)", "", command.line, count=1))
    return command_parser().parse_args(words)


def faults(command: Command) -> list[str]:
    """What is wrong with a command; nothing is run."""
    line = re.sub(r"^(?:[A-Z_]+=\S+ )*", "", command.line)
    program, *words = shlex.split(line)
    if program == "make":
        targets = [one for one in words if "=" not in one]
        variables = [one.partition("=")[0] for one in words if "=" in one]
        return [one for one in targets if one not in TARGETS] + [
            one for one in variables if f"$({one})" not in MAKEFILE
        ]
    if program.startswith("playtally") or "supervisor.py" in line:
        try:
            parsed(command)
        except SystemExit as end:
            return [f"exit code {end.code}"] if end.code else []
        return []
    module = module_of(line)
    if module is None:
        return [] if program in ("open", "openssl", "node", "go", "python") else [f"no program {program}"]
    if not module.exists():
        return [f"no module {module}"]
    folder = module if module.is_dir() else module.parent
    source = "".join(file.read_text() for file in folder.glob("*.py"))
    return [one for one in options_of(line) if f'"{one}"' not in source]


@pytest.mark.parametrize("command", COMMANDS, ids=[f"{one.where} {one.line}" for one in COMMANDS])
def test_each_command_has_arguments_that_its_program_takes(command):
    assert faults(command) == []


@pytest.mark.parametrize(
    "line",
    [
        "make tets",
        "make test NN=1",
        "python supervisor.py status --jsn",
        "playtally killl consumer",
        "python -m bench.flod",
        "python -m producer --videoz 3",
    ],
)
def test_a_command_that_is_wrong_is_noticed(line, capsys):
    assert faults(Command("here", line))


def test_a_block_that_is_no_toml_is_noticed(tmp_path):
    block = Snippet("here", '[nsq] topic = "plays"')
    assert block.kind == "toml"
    (tmp_path / "config.toml").write_text(block.text)
    with pytest.raises(config.ConfigError):
        config.explain(tmp_path / "config.toml")
