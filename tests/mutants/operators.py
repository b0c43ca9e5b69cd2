"""What a mutation changes: a table of small mistakes, each of which a person could make.

An operator takes a node of a syntax tree and returns new nodes, each of them one mistake in its place. It
returns nothing where it does not apply. The node itself stays as it is.
"""

import ast
import re
from collections.abc import Callable, Sequence

Operator = Callable[[ast.AST], Sequence[ast.AST]]

_COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# In the text of a statement to SQLite: what is found, and what stands there then.
_SQL = (
    (r" WHERE .*?(?=$| ORDER| LIMIT| ON CONFLICT)", ""),
    (r" AND ", " OR "),
    (r"<=", "<"),
    (r">=", ">"),
    (r"<(?![=>])", "<="),
    (r"(?<!<)>(?!=)", ">="),
    (r" DESC\b", ""),
    (r"\bMAX\(", "MIN("),
    (r"\bMIN\(", "MAX("),
    (r" OR REPLACE\b", " OR IGNORE"),
)
_SQL_STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|PRAGMA)\b")


def compared(node: ast.AST) -> Sequence[ast.AST]:
    """`<` is `<=`, `==` is `!=`, `in` is `not in`: one of the comparisons in the node."""
    if not isinstance(node, ast.Compare):
        return ()
    changes = []
    for at, one in enumerate(node.ops):
        ops = [*node.ops[:at], _COMPARISONS[type(one)](), *node.ops[at + 1 :]]
        changes.append(ast.Compare(node.left, ops, node.comparators))
    return changes


def number(node: ast.AST) -> Sequence[ast.AST]:
    """One more, and one less; from a thousand on twice as much, and half."""
    if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        return ()
    value = node.value
    if value >= 1000:
        return ast.Constant(value * 2), ast.Constant(value // 2)
    return ast.Constant(value + 1), ast.Constant(value - 1)


def truth(node: ast.AST) -> Sequence[ast.AST]:
    """True is False, and the other way round."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return (ast.Constant(not node.value),)
    return ()


def negated(node: ast.AST) -> Sequence[ast.AST]:
    """A condition is its contrary: of an if, a while, a case or a comprehension. One condition at a time."""
    match node:
        case ast.UnaryOp(ast.Not(), operand):
            return (operand,)  # of a condition too, which is therefore left out below
        case ast.If(ast.UnaryOp(ast.Not())) | ast.While(ast.UnaryOp(ast.Not())):
            return ()
        case ast.IfExp(ast.UnaryOp(ast.Not())) | ast.comprehension(ifs=[ast.UnaryOp(ast.Not()), *_]):
            return ()
        case ast.If(test, body, orelse):
            return (ast.If(_not(test), body, orelse),)
        case ast.While(test, body, orelse):
            return (ast.While(_not(test), body, orelse),)
        case ast.IfExp(test, body, orelse):
            return (ast.IfExp(_not(test), body, orelse),)
        case ast.comprehension(target, iter, [test, *others], is_async):
            return (ast.comprehension(target, iter, [_not(test), *others], is_async),)
        case ast.match_case(pattern, ast.expr() as guard, body):
            return (ast.match_case(pattern, _not(guard), body),)
    return ()


def and_or(node: ast.AST) -> Sequence[ast.AST]:
    """`and` is `or`, and the other way round; or one of the operands is missing."""
    if not isinstance(node, ast.BoolOp):
        return ()
    changes: list[ast.AST] = [
        ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    ]
    for at in range(len(node.values)):
        left = [*node.values[:at], *node.values[at + 1 :]]
        changes.append(left[0] if len(left) == 1 else ast.BoolOp(node.op, left))
    return changes


def arithmetic(node: ast.AST) -> Sequence[ast.AST]:
    """`+` is `-`, `*` is `//`, `&` is `|`, also in `+=`; and a minus sign is missing."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
            return (ast.BinOp(left, _ARITHMETIC[type(op)](), right),)
        case ast.AugAssign(target, op, value) if type(op) in _ARITHMETIC:
            return (ast.AugAssign(target, _ARITHMETIC[type(op)](), value),)
        case ast.UnaryOp(ast.USub(), operand):
            return (operand,)
    return ()


def deleted(node: ast.AST) -> Sequence[ast.AST]:
    """A statement that has only an effect is missing: a call, a change of an object, a raise, a del."""
    match node:
        case ast.Expr(ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete() | ast.Raise():
            return (ast.Pass(),)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            return (ast.Pass(),)
        case ast.AnnAssign(target=ast.Attribute() | ast.Subscript(), value=ast.expr()):
            return (ast.Pass(),)
    return ()


def returned(node: ast.AST) -> Sequence[ast.AST]:
    """None is returned. (True and False are each other: see `truth`.)"""
    match node:
        case ast.Return(ast.Constant(None | True | False)):
            return ()
        case ast.Return(ast.expr()):
            return (ast.Return(ast.Constant(None)),)
    return ()


def loop(node: ast.AST) -> Sequence[ast.AST]:
    """`continue` is `break`, and the other way round; or a loop ends after its first round."""
    if isinstance(node, ast.Continue):
        return (ast.Break(),)
    match node:
        case ast.Break():
            return (ast.Continue(),)
        case ast.For(target, iterable, body, orelse):
            return (ast.For(target, iterable, [*body, ast.Break()], orelse),)
    return ()


def argument(node: ast.AST) -> Sequence[ast.AST]:
    """A keyword argument is missing."""
    if not isinstance(node, ast.Call):
        return ()
    keywords = node.keywords
    return [
        ast.Call(node.func, node.args, [*keywords[:at], *keywords[at + 1 :]]) for at in range(len(keywords))
    ]


def least(node: ast.AST) -> Sequence[ast.AST]:
    """`min` is `max`, and the other way round; so are numpy's `minimum` and `maximum`."""
    match node:
        case ast.Call(ast.Attribute(value, "minimum" | "maximum" as name, context), args, keywords):
            other = "maximum" if name == "minimum" else "minimum"
            return (ast.Call(ast.Attribute(value, other, context), args, keywords),)
        case ast.Call(ast.Name("min" | "max" as name, context), args, keywords):
            return (ast.Call(ast.Name("max" if name == "min" else "min", context), args, keywords),)
    return ()


def sql(node: ast.AST) -> Sequence[ast.AST]:
    """The text of an SQL statement lacks its WHERE, has another comparison, order or conflict clause."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return ()
    text = node.value
    if not _SQL_STATEMENT.match(text):
        return ()
    changed = (re.sub(found, instead, text, count=1, flags=re.DOTALL) for found, instead in _SQL)
    return [ast.Constant(one) for one in changed if one != text]


OPERATORS: dict[str, Operator] = {
    operator.__name__: operator
    for operator in (
        compared,
        number,
        truth,
        negated,
        and_or,
        arithmetic,
        deleted,
        returned,
        loop,
        argument,
        least,
        sql,
    )
}


def _not(test: ast.expr) -> ast.expr:
    match test:
        case ast.UnaryOp(ast.Not(), operand):
            return operand
    return ast.UnaryOp(ast.Not(), test)
