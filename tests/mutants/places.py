"""Where a file can be mutated, and the mutated tree. Nothing here runs code.

Left out, because nobody could see a difference or because it is only text: calls that log, what a raise says,
assertions, f-strings, docstrings, annotations, decorators, defaults, `__repr__` and `__str__`, and Protocols.
"""

import ast
from collections.abc import Iterator

from msgspec import Struct

from .operators import OPERATORS

Function = ast.FunctionDef | ast.AsyncFunctionDef
PROBE = "__mutants_probe__"
_LOGGERS = ("log", "_log")
_NOT_LOOKED_INTO = {"annotation", "returns", "decorator_list", "args", "type_params", "exc", "cause"}


class Place(Struct, frozen=True):
    """One possible mutation: the node at `index` of the field of its owner would be replaced by `new`.

    `id`: module, function, operator, and which of this operator's in the function, from 1. It stays the same
    when lines move.
    `statement`: the list of statements in which the node is, and where.
    """

    id: str
    line: int
    owner: ast.AST
    field: str
    index: int | None
    new: ast.AST
    statement: tuple[list[ast.stmt], int]

    @property
    def old(self) -> ast.AST:
        """The node that would be replaced."""
        value = getattr(self.owner, self.field)
        return value if self.index is None else value[self.index]

    def put(self) -> None:
        """Mutate the tree of the place."""
        new = ast.copy_location(self.new, self.old) if hasattr(self.old, "lineno") else self.new
        if self.index is None:
            setattr(self.owner, self.field, new)
        else:
            getattr(self.owner, self.field)[self.index] = new


def functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """The functions and methods of a module by their qualified names. One in a function belongs to that."""
    yield from _functions(tree.body, "")


def _functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Function]]:
    for node in body:
        if isinstance(node, Function) and node.name not in ("__repr__", "__str__"):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef) and not any(
            ast.unparse(base) == "Protocol" for base in node.bases
        ):
            yield from _functions(node.body, f"{prefix}{node.name}.")


def statements(function: Function) -> int:
    """The number of statements in a function, without its docstring."""
    number = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
    return number - (ast.get_docstring(function, clean=False) is not None)


def places(module: str, name: str, function: Function) -> list[Place]:
    """Every place of one function, in the order of the source. `module`: such as "core.shards"."""
    found: list[Place] = []
    ordinals: dict[str, int] = {}
    for at, _ in enumerate(function.body):
        for owner, field, index, statement in _nodes(function, "body", at, (function.body, at)):
            value = getattr(owner, field)
            node = value if index is None else value[index]
            for operator, change in OPERATORS.items():
                for new in change(node):
                    ordinals[operator] = ordinals.get(operator, 0) + 1
                    identity = f"{module}:{name}:{operator}:{ordinals[operator]}"
                    line = getattr(node, "lineno", statement[0][statement[1]].lineno)
                    found.append(Place(identity, line, owner, field, index, new, statement))
    return found


def _nodes(
    owner: ast.AST, field: str, index: int | None, statement: tuple[list[ast.stmt], int]
) -> Iterator[tuple[ast.AST, str, int | None, tuple[list[ast.stmt], int]]]:
    """A node and all nodes in it that may be mutated."""
    value = getattr(owner, field)
    node = value if index is None else value[index]
    if _is_left_out(node):
        return
    yield owner, field, index, statement
    for inner, content in ast.iter_fields(node):
        if inner in _NOT_LOOKED_INTO and not isinstance(node, ast.Call):
            continue
        if isinstance(content, ast.AST):
            yield from _nodes(node, inner, None, statement)
        elif isinstance(content, list):
            for at, one in enumerate(content):
                if isinstance(one, ast.stmt):
                    yield from _nodes(node, inner, at, (content, at))
                elif isinstance(one, ast.AST):
                    yield from _nodes(node, inner, at, statement)


def _is_left_out(node: ast.AST) -> bool:
    match node:
        case ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.expr_context():
            return True
        case ast.Expr(ast.Constant()):
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(name)))):
            return name in _LOGGERS
    return False


def instrumented(tree: ast.Module, found: list[tuple[int, Place]]) -> None:
    """Put a call of the probe, with the number of the place, before the statement of each place."""
    for number, place in sorted(found, key=lambda one: -one[1].statement[1]):
        body, at = place.statement
        call = ast.Expr(ast.Call(ast.Name(PROBE, ast.Load()), [ast.Constant(number)], []))
        body.insert(at, ast.fix_missing_locations(ast.copy_location(call, body[at])))
    imported = ast.parse(f"from tests.mutants.probe import probe as {PROBE}").body
    tree.body[_after_the_future(tree) : 0] = imported
    ast.fix_missing_locations(tree)


def _after_the_future(tree: ast.Module) -> int:
    """Where the first statement may stand: behind the docstring and behind the imports of `__future__`."""
    at = 1 if ast.get_docstring(tree, clean=False) is not None else 0
    while at < len(tree.body) and getattr(tree.body[at], "module", None) == "__future__":
        at += 1
    return at
