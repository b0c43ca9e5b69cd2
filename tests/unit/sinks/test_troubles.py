"""A client that can't be reached: one line says what is wrong and what to do, on real sockets."""

import asyncio
import contextlib
import http.server
import socket
import ssl
import threading

import pytest

from actors.config import PublishSection, Settings
from actors.config.sections import ClientSection
from actors.core.dispatcher.attempts import Outcome
from actors.core.total_columns import NoTotals
from actors.sinks.client_totals import totals_of
from actors.sinks.http import HttpSink
from tests.support.certificates import Authority
from tests.unit.sinks.test_sinks import BATCH


@contextlib.contextmanager
def listening(tls=None, asks_for=None):
    """The port of an HTTP server.

    `tls`: the files of its key and its certificate. `asks_for`: the authority of the clients that it takes.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None
    server.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls[1], tls[0])
        if asks_for:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(asks_for)
            context.maximum_version = ssl.TLSVersion.TLSv1_2  # later ones refuse after the handshake
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def why_not(url, **publish):
    """Why a publish is not taken."""
    sink = HttpSink(PublishSection(url=url, proxy="", **publish))
    delivery = asyncio.run(sink.deliver(BATCH))
    sink.close()
    assert delivery.outcome is not Outcome.ACCEPTED
    assert "\n" not in delivery.why
    return delivery.why


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """An authority that the client's certificates are of."""
    return Authority(tmp_path_factory.mktemp("authority"))


def test_https_at_a_server_without_tls_is_told_to_be_http():
    with listening() as port:
        assert why_not(f"https://127.0.0.1:{port}/") == (
            "it answered in the clear, expected TLS; write http:// in publish.url if it has no TLS, or name "
            "its https port"
        )


def test_a_certificate_of_another_authority_is_told_with_the_setting(authority):
    with listening(authority.issue("good")) as port:
        assert why_not(f"https://127.0.0.1:{port}/").endswith(
            "); set publish.ca_file to the certificate of its authority"
        )


def test_a_certificate_that_is_over_is_told_so(authority):
    with listening(authority.issue("old", days=-1)) as port:
        why = why_not(f"https://127.0.0.1:{port}/", ca_file=str(authority.ca_file))
    assert why == (
        "its certificate is not trusted (certificate has expired); it needs a new one, or this machine's "
        "clock is wrong"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_for_another_name_is_told_with_the_setting(authority, host):
    with listening(authority.issue("elsewhere", "DNS:elsewhere.example")) as port:
        why = why_not(f"https://{host}:{port}/", ca_file=str(authority.ca_file))
    assert "mismatch" in why and f"'{host}'" in why
    assert why.endswith("; expected in publish.url a name that its certificate has")


def test_a_client_that_wants_a_certificate_of_ours_is_told_with_the_setting(authority, tmp_path):
    key, certificate = Authority(tmp_path).issue("unknown")
    with listening(authority.issue("strict"), asks_for=authority.ca_file) as port:
        url, trusted = f"https://127.0.0.1:{port}/", str(authority.ca_file)
        another = why_not(url, ca_file=trusted, cert_file=str(certificate), key_file=str(key))
        none = why_not(url, ca_file=trusted)
    assert another.endswith("; it wants a certificate of ours, or another: see publish.cert_file")
    assert "it wants a certificate of ours (publish.cert_file)" in none


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_without_an_address_is_named(scheme, monkeypatch):
    def resolve(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)  # a name server may take long to answer
    assert why_not(f"{scheme}://no-such-host.invalid/") == (
        "the address of no-such-host.invalid is not known (Name or service not known); see publish.url"
    )
    settings = Settings(
        publish=PublishSection(url="", totals_url=f"{scheme}://no-such-host.invalid/t", proxy=""),
        client=ClientSection(enabled=False),
    )
    with pytest.raises(NoTotals, match=r"the host's address is not known \(Name or service not known\)"):
        totals_of(settings)


def test_a_host_that_is_no_name_is_said():
    assert why_not("http://a..b/") == "a..b is no host name (an empty or a too long part); see publish.url"
