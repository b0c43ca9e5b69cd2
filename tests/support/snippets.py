"""The snippets of the README and the docs: blocks of TOML, JSON and commands, and commands in sentences."""

import re
from pathlib import Path
from typing import NamedTuple

from actors.system.installation import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_PROGRAM = (
    r"(?:\.venv/bin/)?python (?:-m|supervisor\.py|examples/)|playtally(?:-producer)? "
    r"|make |node |go |open |openssl "
)
_COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:{_PROGRAM})")
_INLINE = re.compile(rf"`((?:[A-Z_]+=\S+ )*(?:{_PROGRAM})[^`]*)`")


class Snippet(NamedTuple):
    """A block of a document. `where`: the document and the line, for messages."""

    where: str
    text: str

    @property
    def kind(self) -> str:
        """What it is: "toml", "json", "commands", or "" for all else, such as a drawing."""
        first = self.text.splitlines()[0]
        if re.match(r"\[\w+\]", first):
            return "toml"
        if first.startswith("{"):
            return "json"
        return "commands" if _COMMAND.match(first) else ""


class Command(NamedTuple):
    """A command of a document, without its comment."""

    where: str
    line: str


def snippets() -> list[Snippet]:
    """Every indented block, but for those of docs/supervision.md that `test_documentation` runs."""
    found = []
    for document in DOCUMENTS:
        block: list[str] = []
        fenced, before = False, ""
        for number, line in enumerate([*document.read_text(encoding="utf-8").splitlines(), "."], 1):
            fenced ^= line.startswith("```")
            if line.startswith("    ") and not fenced and (block or not before):
                block.append(line[4:])
            elif line or not block:
                if block:
                    text = "\n".join(block).rstrip()
                    found.append(Snippet(f"{document.name}:{number - len(block)}", text))
                block = []
            else:
                block.append("")
            before = line
    return [one for one in found if not one.text.startswith(("$ ", "log\n"))]


def commands() -> list[Command]:
    """Every command: the lines of blocks of commands, and what stands between backquotes in a sentence."""
    found = []
    for block in snippets():
        if block.kind == "commands":
            lines = block.text.replace("\\\n", " ").splitlines()
            found += [Command(block.where, re.sub(r"\s+#.*", "", one).strip()) for one in lines if one]
    for document in DOCUMENTS:
        text = re.sub(r"^    .*$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
        said = (" ".join(one.split()) for one in _INLINE.findall(text))
        found += [Command(document.name, one) for one in dict.fromkeys(said) if "…" not in one]
    return found


def options_of(line: str) -> list[str]:
    """The options of a command, without their values."""
    return re.findall(r"(?<=\s)--[a-z][a-z-]*", line)


def module_of(line: str) -> Path | None:
    """The file or the folder of the module that `python -m` runs, None if the command is another."""
    named = re.search(r"python -m ([\w.]+)", line)
    if named is None:
        return None
    path = ROOT.joinpath(*named[1].split("."))
    return path if path.is_dir() else path.with_suffix(".py")
