"""What the reference client takes as signed. The sink's own headers are what it is held against."""

import pytest
from tornado.httputil import HTTPHeaders

from actors.client.signed import AGE_S_MAX, Signed
from actors.sinks.signatures import signature_headers

BODY, KEY, NOW_S = b'{"batch": "k"}', "k", 1_795_502_904
FORMS = ["body", "timestamp", "standard"]


def problem(form, headers, *secrets, body=BODY, now_s=NOW_S):
    return Signed(form, lambda: secrets).problem(body, HTTPHeaders(headers), lambda: now_s)


def signed(form, *secrets):
    return signature_headers(form, secrets, KEY, BODY, NOW_S)


@pytest.mark.parametrize("form", FORMS)
def test_what_the_sink_signs_is_taken_and_nothing_else(form):
    headers = signed(form, b"a secret")
    assert problem(form, headers, b"a secret") == ""
    assert "is the secret the same on both sides?" in problem(form, headers, b"another")
    assert problem(form, headers, b"a secret", body=BODY + b" ")
    assert problem(form, {}, b"a secret")
    for name in headers:
        assert problem(form, headers | {name: "x"}, b"a secret")
        assert problem(form, headers | {name: "\xe9"}, b"a secret")


@pytest.mark.parametrize("form", FORMS)
def test_one_secret_can_replace_the_other_on_either_side_first(form):
    assert problem(form, signed(form, b"old", b"new"), b"old") == ""
    assert problem(form, signed(form, b"old", b"new"), b"new") == ""
    assert problem(form, signed(form, b"old"), b"old", b"new") == ""
    assert problem(form, signed(form, b"new"), b"old", b"new") == ""
    assert problem(form, signed(form, b"other"), b"old", b"new")


@pytest.mark.parametrize("form", ["timestamp", "standard"])
@pytest.mark.parametrize("away_s", [AGE_S_MAX + 1, -AGE_S_MAX - 1])
def test_a_publish_that_was_recorded_is_too_old_later(form, away_s):
    headers = signed(form, b"a secret")
    assert problem(form, headers, b"a secret", now_s=NOW_S + away_s // 2) == ""
    assert "expected the time in Unix seconds" in problem(form, headers, b"a secret", now_s=NOW_S + away_s)


@pytest.mark.parametrize("form", ["timestamp", "standard"])
@pytest.mark.parametrize("stamp", ["", "-1", "1.5", "²", "9" * 5000])
def test_a_time_that_is_none_is_told(form, stamp):
    headers = signed(form, b"a secret")
    name = next(name for name in headers if name.lower().endswith("timestamp"))
    assert name in problem(form, headers | {name: stamp}, b"a secret")


@pytest.mark.parametrize("form", FORMS)
def test_without_a_secret_every_publish_is_taken(form):
    assert problem(form, {}) == ""
