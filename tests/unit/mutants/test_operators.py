"""Each operator makes the mistakes that it says, and no others; what is only text is left alone."""

import ast

import pytest

from tests.mutants.operators import OPERATORS
from tests.mutants.places import functions, places
from tests.mutants.population import code_of, mutated

FILE = "actors/core/planted.py"


def changed(source: str, operator: str | None = None) -> dict[str, str]:
    """The text of a function's body after each mutation of it, by the mutation's id."""
    lines = "\n".join(f"    {line}" for line in source.splitlines())
    whole = f"def f():\n{lines}\n"
    [(name, function)] = functions(ast.parse(whole))
    ids = [one.id for one in places("core.planted", name, function)]
    return {
        identity: "\n".join(ast.unparse(one) for one in mutated(whole, FILE, identity).body[0].body)
        for identity in ids
        if operator is None or f":{operator}:" in identity
    }


@pytest.mark.parametrize(
    ("operator", "source", "expected"),
    [
        ("compared", "x = a < b", ["x = a <= b"]),
        ("compared", "x = a <= b < c", ["x = a < b < c", "x = a <= b <= c"]),
        ("compared", "x = a == b", ["x = a != b"]),
        ("compared", "x = a not in b", ["x = a in b"]),
        ("compared", "x = a is None", ["x = a is not None"]),
        ("number", "x = 7", ["x = 8", "x = 6"]),
        ("number", "x = 1000", ["x = 2000", "x = 500"]),
        ("number", "x = True", []),
        ("truth", "x = True", ["x = False"]),
        ("negated", "if a:\n    b()", ["if not a:\n    b()"]),
        ("negated", "if not a:\n    b()", ["if a:\n    b()"]),
        ("negated", "while a:\n    b()", ["while not a:\n    b()"]),
        ("negated", "x = b if a else c", ["x = b if not a else c"]),
        ("negated", "x = [b for b in c if a]", ["x = [b for b in c if not a]"]),
        (
            "negated",
            "match a:\n    case 1 if b:\n        c()",
            ["match a:\n    case 1 if not b:\n        c()"],
        ),
        ("and_or", "x = a and b", ["x = a or b", "x = b", "x = a"]),
        ("and_or", "x = a or b or c", ["x = a and b and c", "x = b or c", "x = a or c", "x = a or b"]),
        ("arithmetic", "x = a + b", ["x = a - b"]),
        ("arithmetic", "x //= b", ["x *= b"]),
        ("arithmetic", "x = -a", ["x = a"]),
        ("arithmetic", "x = a ** b", []),
        ("deleted", "a.b()", ["pass"]),
        ("deleted", "await a()", ["pass"]),
        ("deleted", "a.b = 1", ["pass"]),
        ("deleted", "a: int = 1", []),
        ("deleted", "a = b()", []),
        ("deleted", "del a[b]", ["pass"]),
        ("deleted", "raise a", ["pass"]),
        ("returned", "return a", ["return None"]),
        ("returned", "return True", []),
        ("returned", "return", []),
        ("loop", "while a:\n    break", ["while a:\n    continue"]),
        ("loop", "for a in b:\n    c()", ["for a in b:\n    c()\n    break"]),
        ("argument", "x = a(b, c=1, d=2)", ["x = a(b, d=2)", "x = a(b, c=1)"]),
        ("least", "x = min(a, b)", ["x = max(a, b)"]),
        ("least", "x = np.maximum(a, b)", ["x = np.minimum(a, b)"]),
        ("sql", "x = 'DELETE FROM a WHERE b = ?'", ["x = 'DELETE FROM a'"]),
        ("sql", "x = 'SELECT a FROM b ORDER BY c DESC'", ["x = 'SELECT a FROM b ORDER BY c'"]),
        ("sql", "x = 'a text WHERE b <= c'", []),
    ],
)
def test_an_operator_makes_the_mistakes_that_it_says(operator, source, expected):
    assert list(changed(source, operator).values()) == expected


def test_every_operator_is_tried_above():
    [mark] = [
        one
        for one in test_an_operator_makes_the_mistakes_that_it_says.pytestmark
        if one.name == "parametrize"
    ]
    assert {row[0] for row in mark.args[1]} == OPERATORS.keys()


@pytest.mark.parametrize(
    "source",
    [
        "log.warning('%d of them', 1 + 2)",
        "assert a > 1",
        "'''A text: 1 + 1.'''",
        "x = f'{a + 1}'",
        "import a",
        "x: dict[int, 1]",
    ],
)
def test_what_is_only_text_or_for_us_alone_is_left_out(source):
    assert changed(source) == {}


def test_what_a_raise_says_is_left_out_but_not_the_raise():
    assert list(changed("raise ValueError(1 + 2)").values()) == ["pass"]


def test_a_protocol_and_a_repr_are_left_out():
    source = "class A(Protocol):\n    def a(self): return 1\nclass B:\n    def __repr__(self): return 'b'"
    assert list(functions(ast.parse(source))) == []


def test_an_id_stays_when_lines_move():
    before = changed("x = 1\nreturn a < b", "compared")
    after = changed("y = 0\n\nx = 2\nreturn a < b", "compared")
    assert list(before) == list(after) == ["core.planted:f:compared:1"]


def test_a_place_that_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        mutated("def f(): return 1\n", FILE, "core.planted:f:compared:1")


def test_the_code_of_a_method_is_found_by_its_qualified_name():
    source = "class A:\n    def b(self):\n        return 1 < 2\n"
    code = code_of(mutated(source, FILE, "core.planted:A.b:number:1"), FILE, "A.b")
    assert code.co_qualname == "A.b"
    assert 2 in code.co_consts or False in code.co_consts
