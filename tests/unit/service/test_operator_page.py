"""The files of the operator's page, over HTTP, and the headers of every answer at the admin address."""

import asyncio
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.testing import bind_unused_port

from actors.service import admin, operator_page
from tests.support.patience import PATIENCE_S

FOLDER = Path(operator_page.__file__).parent / "page"
SCRIPTS = ("actions", "charts", "figures", "page", "spreads", "stream", "tree", "words")
VENDORED = ("vendor/uPlot.iife.min.js", "vendor/uPlot.min.css")
PAGE = {
    "/": "index.html",
    **{f"/{name}": name for name in ("page.css", "icon.svg", *VENDORED)},
    **{f"/{name}.js": f"{name}.js" for name in SCRIPTS},
}
UPLOT_SHA256 = "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
LICENCE = "vendor/uPlot.LICENSE"


def answer_to(path: str, method: str = "GET", headers: dict[str, str] | None = None) -> HTTPResponse:
    """The answer of an admin server whose service is never asked."""

    async def scene() -> HTTPResponse:
        socket, port = bind_unused_port()
        server = admin.server(SimpleNamespace(secret=""))
        server.add_socket(socket)
        body: Any = "" if method == "POST" else None
        try:
            return await AsyncHTTPClient(force_instance=True).fetch(
                f"http://127.0.0.1:{port}{path}",
                method=method,
                headers=headers,
                body=body,
                raise_error=False,
                request_timeout=PATIENCE_S,
            )
        finally:
            server.stop()
            await server.close_all_connections()

    return asyncio.run(scene())


@pytest.mark.parametrize("path", PAGE)
def test_a_file_of_the_page_is_given_and_head_answers_as_get(path):
    got, head = answer_to(path), answer_to(path, "HEAD")
    assert (got.code, got.body) == (200, (FOLDER / PAGE[path]).read_bytes())
    assert (head.code, head.body) == (200, b"")
    for name in ("Content-Type", "Content-Length", "Content-Security-Policy", "Etag"):
        assert head.headers[name] == got.headers[name]


def test_the_page_has_as_many_files_as_its_folder():
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert {*PAGE.values(), LICENCE} == files


def test_what_others_have_written_is_as_they_gave_it_and_has_its_licence():
    script = (FOLDER / VENDORED[0]).read_text()
    assert script.startswith("/*! https://github.com/leeoniya/uPlot (v1.6.32) */")
    assert hashlib.sha256(script.encode()).hexdigest() == UPLOT_SHA256
    assert "The MIT License" in (FOLDER / LICENCE).read_text()


def test_no_script_but_the_pages_own_runs_and_no_other_page_frames_it():
    headers = answer_to("/").headers
    policy = dict(one.strip().split(" ", 1) for one in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_has_no_inline_script_or_style_and_only_relative_links():
    html = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", html) == []
    links = set(re.findall(r'(?:href|src)="([^"]*)"', html))
    assert links == {"page.css", "page.js", "icon.svg", "status", "metrics", "history?span=hour", *VENDORED}
    for name in SCRIPTS:
        script = (FOLDER / f"{name}.js").read_text()
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?://", script) == []
        assert re.findall(r"""(?:fetch|EventSource|post)\(["'`]/""", script) == []
        assert all(one.startswith("./") for one in re.findall(r'from "([^"]*)"', script))


def test_a_file_that_has_not_changed_is_not_sent_again():
    tag = answer_to("/page.js").headers["Etag"]
    again = answer_to("/page.js", headers={"If-None-Match": tag})
    assert (again.code, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "method", "code", "error"),
    [
        ("/nothing", "GET", 404, "no /nothing here, expected /, /status, "),
        ("/page", "GET", 404, "no /page here"),
        ("/index.html", "GET", 404, "no /index.html here"),
        ("/page/../../admin.py", "GET", 404, "no /page/../../admin.py here"),
        ("/", "POST", 405, "/ does not take POST"),
        ("/status", "POST", 405, "/status does not take POST"),
        ("/children/client/restart", "GET", 405, "/children/client/restart does not take GET"),
    ],
)
def test_an_error_is_json_and_names_no_server(path, method, code, error):
    answer = answer_to(path, method)
    assert answer.code == code
    assert answer.headers["Content-Type"].startswith("application/json")
    assert json.loads(answer.body)["error"].startswith(error)
    assert "Server" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
