"""Routes whose paths are compared as text."""

from types import SimpleNamespace

import pytest
from tornado.routing import PathMatches
from tornado.web import RequestHandler

from actors.system.exact_paths import ExactPath, by_path


def matched(path, asked):
    """What the rule for `path` finds in a request for `asked`."""
    ((matcher, _, _),) = by_path([(path, RequestHandler, {})])
    return matcher.match(SimpleNamespace(path=asked))


@pytest.mark.parametrize("path", ["/", "/status", "/page.css", "/session/end", "/a-b_c"])
def test_a_path_matches_itself_alone(path):
    assert isinstance(by_path([(path, RequestHandler, {})])[0][0], ExactPath)
    assert matched(path, path) == {}
    for other in (
        f"{path}x",
        f"x{path}",
        f"{path}/",
        f"{path}\n",
        path.upper() + "X",
        path.replace(".", "x") + "/",
    ):
        assert matched(path, other) is None


def test_a_dot_is_a_dot():
    assert matched("/page.css", "/pagexcss") is None


@pytest.mark.parametrize("pattern", [r"/totals/(.*)", r"/(pause|resume)/([^/]*)", r"/page[.]js"])
def test_a_pattern_stays_one(pattern):
    assert isinstance(by_path([(pattern, RequestHandler, {})])[0][0], PathMatches)


def test_the_order_and_the_handlers_stay():
    routes = [("/totals", RequestHandler, {"a": 1}), ("/totals/(.*)", RequestHandler, {"a": 2})]
    assert [(handler, arguments) for _, handler, arguments in by_path(routes)] == [
        (RequestHandler, {"a": 1}),
        (RequestHandler, {"a": 2}),
    ]
