"""A reader whose TLS or AUTH fails: one clear line, nothing in the clear, and it goes on when all is well."""

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time

import pytest

from actors.config import NsqSection
from actors.sources.nsqd import NsqdSource
from actors.sources.security import Security
from actors.system.logs import quiet_libraries
from tests.support.certificates import Authority
from tests.support.hostile_nsqd import frame
from tests.support.patience import PATIENCE_S
from tests.support.queues import free_ports
from tests.support.secured_nsqd import COMPRESSIONS, SECRET, AuthServer, secured_nsqd


class Listener:
    """Asks for every message, and counts and finishes what comes."""

    def __init__(self):
        self.open, self.lost, self.plays = set(), 0, 0

    def connected(self, connection, source, terms):
        self.open.add(connection)
        self.source.set_ready_count(connection, 100)

    def renamed(self, connection, source):
        pass

    def received(self, connection, parsed):
        self.plays += parsed.messages
        self.source.finish(connection, b"".join(one.id for one in parsed.bad), 100)

    def refused(self, connection, error):
        pass

    def disconnected(self, connection):
        self.open.remove(connection)
        self.lost += 1


@pytest.fixture(autouse=True)
def quiet():
    """As every process of the service is."""
    quiet_libraries()


@contextlib.asynccontextmanager
async def reading(address, nsq, caplog):
    """A source with these settings. Gives its listener."""
    caplog.set_level(logging.INFO)
    listener = Listener()
    listener.source = NsqdSource(
        topic="plays",
        channel="playtally",
        msg_timeout_s=60,
        nsqds=[(address, "")],
        lookupd_http_addresses=[],
        listener=listener,
        security=Security(nsq),
    )
    try:
        yield listener
    finally:
        listener.source.close()
        await asyncio.sleep(0.05)


async def until(condition, what):
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"waited {PATIENCE_S:g} s for {what}"
        await asyncio.sleep(0.01)


def warnings_of(caplog):
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


async def said_once(caplog, tries):
    """Wait until it was tried three times. Returns the one line that was said."""
    await until(lambda: tries() >= 3, "three attempts")
    (line,) = warnings_of(caplog)
    return line


class Recorder:
    """A server that answers IDENTIFY. `heard`: every byte that it got on each connection that has ended."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.heard: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        heard, answered = b"", False
        with contextlib.suppress(OSError), connection:
            while piece := connection.recv(1 << 16):
                heard += piece
                if not answered and heard.endswith(b"}"):
                    answered = True
                    connection.sendall(self._answer)
        if heard:  # not given up before anything was said
            self.heard.append(heard)


def agreed(**features):
    return frame(0, json.dumps({"max_rdy_count": 2500, "msg_timeout": 1000, **features}).encode())


TO_BE_SENT = b"  V2IDENTIFY\n"
WITHOUT_TLS = (
    "nsqd {0} is not used: it has no TLS, and nsq.tls = true: nothing more was sent to it. "
    "Start nsqd with --tls-cert and --tls-key, or set nsq.tls = false; trying again (said once a minute)"
)
NO_NSQD = (
    "no nsqd at {0} (its answer to IDENTIFY is not a JSON object; expected nsqd's TCP port, often 4150); "
    "expected its TCP address, see [nsq]; trying again (said once a minute)"
)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (agreed(tls_v1=False, auth_required=True, snappy=True), WITHOUT_TLS),
        (agreed(auth_required=True, deflate=True), WITHOUT_TLS),
        (agreed(tls_v1="yes", auth_required=True), WITHOUT_TLS),
        (frame(0, b"OK"), WITHOUT_TLS),
        (frame(0, b"[]"), NO_NSQD),
    ],
    ids=["refuses", "says nothing", "says yes", "old", "odd"],
)
def test_nothing_but_identify_is_sent_to_an_nsqd_without_tls(
    tmp_path, monkeypatch, caplog, answer, said, compression
):
    monkeypatch.setenv("NSQD_SECRET", SECRET)
    nsq = NsqSection(tls=True, auth_secret_env="NSQD_SECRET", compression=compression)

    async def scene():
        with Recorder(answer) as nsqd:
            async with reading(nsqd.address, nsq, caplog) as listener:
                line = await said_once(caplog, lambda: len(nsqd.heard))
            assert not (listener.open or listener.lost)
            return line, nsqd

    line, nsqd = asyncio.run(scene())
    assert line == said.format(nsqd.address)
    for heard in nsqd.heard:
        assert heard.startswith(TO_BE_SENT)
        identity = heard[len(TO_BE_SENT) + 4 :]
        assert json.loads(identity)["tls_v1"] is True  # and not a byte after it
        assert SECRET.encode() not in heard


def test_an_nsqd_that_speaks_in_the_clear_when_tls_was_to_begin_is_not_believed(caplog):
    answer = agreed(tls_v1=True) + frame(0, b"OK")

    async def scene():
        with Recorder(answer) as nsqd:
            async with reading(nsqd.address, NsqSection(tls=True), caplog) as listener:
                line = await said_once(caplog, lambda: len(nsqd.heard))
            assert not (listener.open or listener.lost)
            return line

    line = asyncio.run(scene())
    assert "is not used: " in line


TRUSTED = {
    "another's authority": ("is not trusted (", "see nsq.tls_ca_file"),
    "expired": ("is not trusted (certificate has expired)", "see nsq.tls_ca_file"),
    "another's name": ("is not trusted (", "see nsq.tls_ca_file and nsq.tls_server_name"),
    "another's address": ("IP address mismatch", "see nsq.tls_ca_file and nsq.tls_server_name"),
    "no certificate of ours": ("certificate", "see nsq.tls_cert_file"),
    "a certificate of ours that it does not trust": ("unknown ca", "see nsq.tls_cert_file"),
}


@pytest.mark.parametrize("what", TRUSTED)
def test_what_is_wrong_with_tls_is_said_in_one_line_and_when_it_is_right_all_is_read(tmp_path, caplog, what):
    authority = Authority(tmp_path)
    ca_file = tmp_path / "trusted.pem"
    certificate, name, options, ours = None, "", [], ("", "")
    ca_file.write_bytes(authority.ca_file.read_bytes())
    match what:
        case "another's authority":
            ca_file.write_bytes(Authority(tmp_path, "another").ca_file.read_bytes())
        case "expired":
            certificate = authority.issue("expired", days=-1)
        case "another's name":
            name = "nsqd.example"
        case "another's address":
            certificate = authority.issue("another", "IP:127.0.0.9")
        case _:
            if what != "no certificate of ours":
                ours = Authority(tmp_path, "another").issue("client")
            options = ["--tls-client-auth-policy=require-verify", f"--tls-root-ca-file={authority.ca_file}"]

    async def scene():
        with secured_nsqd(tmp_path, *options, authority=authority, certificate=certificate) as nsqd:
            nsqd.post("/pub?topic=plays", b"{}")
            key, cert = map(str, ours)
            nsq = NsqSection(
                tls=True, tls_ca_file=str(ca_file), tls_server_name=name, tls_cert_file=cert, tls_key_file=key
            )
            async with reading(nsqd.tcp_address, nsq, caplog) as listener:
                line = await said_once(caplog, lambda: nsqd.log().count("TCP: new client"))
                assert line.startswith(f"nsqd {nsqd.tcp_address} is not used: ")
                for text in TRUSTED[what]:
                    assert text in line
                if what == "another's authority":
                    ca_file.write_bytes(authority.ca_file.read_bytes())
                    await until(lambda: listener.plays == 1, "the play, with the new authority")

    asyncio.run(scene())


def test_a_refused_secret_is_said_once_and_the_right_one_is_used_when_it_comes(tmp_path, caplog):
    secret = tmp_path / "secret"
    secret.write_text("a wrong one")

    async def scene():
        with AuthServer() as auth, secured_nsqd(tmp_path, auth=auth) as nsqd:
            nsqd.post("/pub?topic=plays", b"{}")
            nsq = NsqSection(auth_secret_file=str(secret))
            async with reading(nsqd.tcp_address, nsq, caplog) as listener:
                line = await said_once(caplog, lambda: auth.asked.count("a wrong one"))
                assert line.startswith(f"nsqd {nsqd.tcp_address} is not used: nsqd says E_")
                assert "see nsq.auth_secret_env and nsq.auth_secret_file" in line
                assert "a wrong one" not in line
                secret.write_text(SECRET)
                await until(lambda: listener.plays == 1, "the play, with the right secret")

    asyncio.run(scene())
    assert SECRET not in caplog.text


def test_an_nsqd_that_asks_for_auth_of_one_without_a_secret_is_said(tmp_path, caplog):
    async def scene():
        with AuthServer() as auth, secured_nsqd(tmp_path, auth=auth) as nsqd:
            async with reading(nsqd.tcp_address, NsqSection(), caplog):
                return await said_once(caplog, lambda: nsqd.log().count("TCP: new client"))

    assert "it asks for AUTH: set nsq.auth_secret_env or nsq.auth_secret_file" in asyncio.run(scene())


def test_an_nsqd_that_wants_tls_of_one_without_is_said(tmp_path, caplog):
    async def scene():
        authority = Authority(tmp_path)
        with secured_nsqd(tmp_path, "--tls-required=true", authority=authority) as nsqd:
            async with reading(nsqd.tcp_address, NsqSection(), caplog):
                return await said_once(caplog, lambda: nsqd.log().count("TCP: new client"))

    line = asyncio.run(scene())
    assert "(TLS required): set nsq.tls = true" in line


def test_a_channel_that_the_secret_may_not_read_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NSQD_SECRET", SECRET)

    async def scene():
        with AuthServer() as auth, secured_nsqd(tmp_path, auth=auth) as nsqd:
            auth.channels = ["another"]
            async with reading(nsqd.tcp_address, NsqSection(auth_secret_env="NSQD_SECRET"), caplog):
                return await said_once(caplog, lambda: nsqd.log().count("TCP: new client"))

    line = asyncio.run(scene())
    assert "E_UNAUTHORIZED AUTH failed for SUB" in line


def test_auth_that_is_withdrawn_while_connected_is_said_once_and_nothing_is_lost(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("NSQD_SECRET", SECRET)
    nsq, acknowledged = NsqSection(auth_secret_env="NSQD_SECRET"), []

    async def publish(listener):
        """Publish until the connection is lost: nsqd looks whether we may when something is asked of it."""
        (number,) = listener.open
        while not listener.lost:
            listener.source.publish(number, "plays.dead", [b"letter"], lambda: acknowledged.append(1))
            await asyncio.sleep(0.2)

    async def scene():
        with AuthServer(ttl_s=1) as auth, secured_nsqd(tmp_path, auth=auth) as nsqd:
            nsqd.post("/pub?topic=plays", b"{}")
            async with reading(nsqd.tcp_address, nsq, caplog) as listener:
                await until(lambda: listener.plays == 1, "the first play")
                auth.allows = set()
                await asyncio.wait_for(publish(listener), PATIENCE_S)
                line = await said_once(caplog, lambda: nsqd.log().count("TCP: new client") - 1)
                assert "lost nsqd" in line
                assert "nsqd says E_AUTH_FAILED" in line
                nsqd.post("/pub?topic=plays", b"{}")
                auth.allows = {SECRET}
                await until(lambda: listener.plays == 2, "the second play")
                assert nsqd.topic("plays.dead")["message_count"] == len(acknowledged)

    asyncio.run(scene())


@pytest.mark.parametrize("how", ["its name is set", "no certificate is looked at"])
def test_an_nsqd_whose_certificate_is_for_another_name_is_read_if_that_is_asked_for(tmp_path, caplog, how):
    authority = Authority(tmp_path)
    certificate = authority.issue("another", "DNS:nsqd.example")

    async def scene():
        with secured_nsqd(tmp_path, authority=authority, certificate=certificate) as nsqd:
            nsqd.post("/pub?topic=plays", b"{}")
            if how == "its name is set":
                ca_file = str(authority.ca_file)
                nsq = NsqSection(tls=True, tls_ca_file=ca_file, tls_server_name="nsqd.example")
            else:
                nsq = NsqSection(tls=True, tls_verify=False)
            async with reading(nsqd.tcp_address, nsq, caplog) as listener:
                await until(lambda: listener.plays == 1, "the play")
                (client,) = nsqd.channel("plays", "playtally")["clients"]
                assert client["tls"] is True

    asyncio.run(scene())
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("compression", ["snappy", "deflate"])
def test_an_nsqd_without_compression_is_read_and_that_is_said(tmp_path, caplog, compression):
    async def scene():
        with secured_nsqd(tmp_path, f"--{compression}=false") as nsqd:
            nsqd.post("/pub?topic=plays", b"{}")
            async with reading(nsqd.tcp_address, NsqSection(compression=compression), caplog) as listener:
                await until(lambda: listener.plays == 1, "the play")
            return nsqd.tcp_address

    address = asyncio.run(scene())
    said = [one.getMessage() for one in caplog.records]
    assert said.count(f"nsqd {address} has no {compression}; its connection is not compressed") == 1


def test_a_tls_that_never_begins_is_given_up_and_leaves_no_connection(caplog):
    async def scene():
        with Recorder(agreed(tls_v1=True)) as nsqd:  # it hears the client's hello, and says nothing
            async with reading(nsqd.address, NsqSection(tls=True), caplog):
                await until(lambda: len(nsqd.heard) >= 2, "a second attempt")
            (line,) = warnings_of(caplog)
            return line

    assert "no answer of an nsqd within 5 s" in asyncio.run(scene())


def test_a_port_without_an_nsqd_is_still_called_so(caplog):
    async def scene():
        address = f"127.0.0.1:{free_ports(1)[0]}"
        async with reading(address, NsqSection(tls=True), caplog):
            await until(lambda: warnings_of(caplog), "a line")
        return address, warnings_of(caplog)

    address, (line,) = asyncio.run(scene())
    assert line.startswith(f"no nsqd at {address} (")
