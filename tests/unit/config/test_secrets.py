"""What people are shown of URLs: neither a user nor a query."""

import pytest

from actors.config import without_password, without_secrets
from tests.support.config_problems import problems


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a.example:8080/plays", "http://a.example:8080/plays"),
        ("http://me:secret@a/plays", "http://…@a/plays"),
        ("http://me:sec@ret@a/plays", "http://…@a/plays"),
        ("http://me:sec/ret@a/plays", "http://…@a/plays"),
        ("http://me:sec?ret@a/plays", "http://…@a/plays"),
        ("me:secret@a:3128", "…@a:3128"),
        ("http://a/plays?key=secret", "http://a/plays?…"),
        ("http://a/plays?to=me@secret", "http://a/plays?…"),
        ("http://me:secret@a/plays?key=secret@b", "http://…@a/plays?…"),
        ("10.0.0.5:4150", "10.0.0.5:4150"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_user_and_query(url, shown):
    assert without_secrets(url) == shown


def test_without_its_password_a_url_still_tells_its_query():
    assert without_password("http://me:secret@a/plays?for=b") == "http://…@a/plays?for=b"


@pytest.mark.parametrize(
    "override",
    [
        "publish.url=http://me:secret@a:99999/plays",
        "publish.url=http://me:secret@a:port/?key=secret",
        "publish.url=htp://me:secret@a/",
        "publish.totals_url=htp://a/?key=secret",
        "publish.proxy=me:secret@a:3128",
    ],
)
def test_a_problem_with_a_url_quotes_no_secret_of_it(file, override):
    found = problems(file(), override)
    assert found
    assert not [line for line in found if "secret" in line]
