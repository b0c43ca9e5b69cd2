"""A client or a proxy that quotes the request in its answer puts no secret into log, status or outbox."""

import asyncio

import pytest

from actors.core.dispatcher.attempts import Outcome
from tests.support.acting_clients import BATCH, client_that, deliveries_to, http_sink, read_request

TOKEN = 'tok/"en\\1'
USER = "http://me:pass%2Fword@127.0.0.1:{port}/plays?key=query-secret"
SECRETS = ("pass/word", "pass%2Fword", "pass\\/word", "bWU6cGFzcy93b3Jk", "query-secret", "tok", "en\\")


def quoting(form):
    async def act(reader, writer):
        head, _ = await read_request(reader)
        quoted = head.decode().replace("\r\n", " ") + " pass/word"
        writer.write(form(quoted).encode())

    return act


def _page(quoted):
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(quoted)}\r\n\r\n{quoted}"


def _body(quoted):
    return f"HTTP/1.1 422 No\r\nContent-Length: {len(quoted)}\r\n\r\n{quoted}"


QUOTING = {
    "a reason": lambda quoted: f"HTTP/1.1 422 {quoted}\r\nContent-Length: 0\r\n\r\n",
    "a body": _body,
    "a body in JSON": lambda quoted: _body(
        quoted.replace("\\", "\\\\").replace('"', '\\"').replace("/", "\\/")
    ),
    "a secret at the cut": lambda quoted: _body("x" * 190 + quoted[quoted.index("Authorization: ") + 20 :]),
    "a redirect": lambda quoted: f"HTTP/1.1 302 Found\r\nLocation: /login?{quoted}\r\n\r\n",
    "a page": _page,
}


@pytest.mark.parametrize("form", QUOTING.values(), ids=QUOTING)
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/plays?key=query-secret", USER], ids=["token", "user"]
)
def test_no_secret_of_the_request_is_in_what_is_told_of_its_answer(form, url, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    token = "" if "@" in url else str(tmp_path / "token")
    (found,) = deliveries_to(quoting(form), 1, url=url, token_file=token)
    told = f"{found.why}{found.answer}{found.notice}"
    assert "…" in told
    assert not [secret for secret in SECRETS if secret in told]


def test_a_proxy_that_quotes_its_password_puts_it_nowhere():
    async def attempt():
        async def act(reader, writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().replace("\r\n", " ")
            writer.write(f"HTTP/1.1 407 {head}\r\n\r\n".encode())

        async with client_that(act) as port:
            sink = http_sink("https://client.example/", proxy=f"http://me:pass%2Fword@127.0.0.1:{port}")
            return await sink.deliver(BATCH)

    found = asyncio.run(attempt())
    assert found.outcome is Outcome.REFUSED
    assert "answered CONNECT with 407 CONNECT client.example:443" in found.why
    assert "Basic …" in found.why
    assert not [secret for secret in SECRETS if secret in found.why]


def test_a_client_is_named_without_its_query_and_told_from_one_with_another_query():
    one, other = (http_sink(f"http://me:password@a.example/plays?key=secret-{n}") for n in (1, 2))
    assert one.name == other.name == "http://…@a.example/plays?…"
    assert one.receiver != other.receiver
    assert "password" not in one.receiver
