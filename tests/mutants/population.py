"""The fixed population of mutations, the sample that is drawn from it, and the code of each."""

import ast
import hashlib
import math
import random
from functools import cache
from pathlib import Path
from types import CodeType

from msgspec import Struct

from .places import Function, Place, functions, instrumented, places, statements

FOLDERS = ("core", "store", "sinks")
# How many mutations a function has: one for this many statements, and never more than the second number.
STATEMENTS_EACH = 9
EACH_MAX = 4
KEPT = Path(__file__).with_name("kept.txt")


class Mutation(Struct, frozen=True):
    """One mutation. `file` is relative to the checkout; `function` is the function that it is in."""

    id: str
    file: str
    line: int
    function: str
    before: str
    after: str


def population(root: Path) -> list[Mutation]:
    """All mutations, in the order of the files. Their choice depends on the code alone, not on the commit."""
    kept, found = kept_ids(), []
    for file in files(root):
        for name, function in functions(_tree(root / file)):
            all_of_it = places(module_of(file), name, function)
            chosen = {one.id for one in _chosen(f"{module_of(file)}:{name}", function, all_of_it)}
            found += [
                Mutation(one.id, file, one.line, name, _text(one.old), _text(one.new, deleted=True))
                for one in all_of_it
                if one.id in chosen or one.id in kept
            ]
    return found


def sample(mutations: list[Mutation], number: int, seed: str) -> list[Mutation]:
    """So many of them, drawn by the seed."""
    return random.Random(seed).sample(mutations, min(number, len(mutations)))


def digest(root: Path) -> str:
    """A hash of all the code that is mutated."""
    found = hashlib.sha256()
    for file in files(root):
        found.update(f"{file}\0".encode() + (root / file).read_bytes() + b"\0")
    return found.hexdigest()


def kept_ids(path: Path = KEPT) -> set[str]:
    """The mutations that are always in the population: the tests did not notice their like once."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


def files(root: Path) -> list[str]:
    """The files that are mutated, relative to the checkout."""
    found = [path for folder in FOLDERS for path in (root / "actors" / folder).rglob("*.py")]
    return sorted(str(path.relative_to(root)) for path in found)


def module_of(file: str) -> str:
    """The name of a file's module, without the package: "core.shards"."""
    return file.removeprefix("actors/").removesuffix(".py").replace("/", ".")


def _chosen(function_id: str, function: Function, found: list[Place]) -> list[Place]:
    """As many places as the function's length is worth. A fraction is one more or none, by the hash."""
    worth = statements(function) / STATEMENTS_EACH
    number = math.floor(worth + _hash(function_id) / 2**64)
    return sorted(found, key=lambda one: _hash(one.id))[: min(number, EACH_MAX)]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _text(node: ast.AST, deleted: bool = False) -> str:
    """The first line of a node's source."""
    if deleted and isinstance(node, ast.Pass):
        return "(nothing)"
    if isinstance(node, ast.comprehension):
        return " ".join(f"if {ast.unparse(one)}" for one in node.ifs)
    if isinstance(node, ast.match_case):
        return f"case … if {ast.unparse(node.guard)}" if node.guard else "case …"
    if isinstance(node, ast.For) and isinstance(node.body[-1], ast.Break):
        return f"for {ast.unparse(node.target)} in …: … break"
    text = ast.unparse(ast.fix_missing_locations(node))
    first = text.split("\n")[0]
    return first if len(first) <= 120 else f"{first[:117]}..."


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def mutated(source: str, file: str, identity: str) -> ast.Module:
    """The tree of a file with one mutation. Raises `KeyError` if the file has no such place."""
    tree = ast.parse(source)
    wanted = identity.split(":")[1]
    for name, function in functions(tree):
        if name != wanted:
            continue
        for place in places(module_of(file), name, function):
            if place.id == identity:
                place.put()
                return ast.fix_missing_locations(tree)
    raise KeyError(identity)


def probed(source: str, file: str, numbers: dict[str, int]) -> str:
    """The source of a file with a probe for each mutation of it. `numbers`: by the mutation's id."""
    tree = ast.parse(source)
    found = [place for name, one in functions(tree) for place in places(module_of(file), name, one)]
    instrumented(tree, [(numbers[place.id], place) for place in found if place.id in numbers])
    return ast.unparse(tree)


def code_of(tree: ast.Module, filename: str, function: str) -> CodeType:
    """The code of a function of a module, by its qualified name."""
    codes = [compile(tree, filename, "exec")]
    while codes:
        code = codes.pop()
        if code.co_qualname == function:
            return code
        codes += [one for one in code.co_consts if isinstance(one, CodeType)]
    raise KeyError(function)
