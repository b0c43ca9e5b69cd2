"""What tells a client who publishes: signatures, a bearer token, a certificate; and files that change."""

import asyncio
import base64
import hashlib
import hmac
import os
import re
import ssl
import subprocess
import time

import pytest

from actors.config import PublishSection, Settings
from actors.core.dispatcher.attempts import Outcome
from actors.sinks import Delivery, MirroredSink, StdoutSink, open_sink
from actors.sinks.signatures import signature_headers
from actors.system import watched_files
from actors.system.exits import Failure
from tests.support.acting_clients import (
    BATCH,
    OK,
    client_that,
    delivered,
    deliveries_to,
    http_sink,
    recording,
)
from tests.support.certificates import make_certificate

ACCEPTED = Delivery(Outcome.ACCEPTED, status="200")


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch):
    monkeypatch.setattr(watched_files, "LOOK_EVERY_S", 0.0)


def sent(**settings):
    """The headers, by their names in lower case, and the body of one publish."""
    asked = []
    assert deliveries_to(recording(asked, OK), 1, **settings) == [ACCEPTED]
    return parsed(asked[0])


def parsed(request):
    _, head, body = request
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}, body


def hexed(secret, signed):
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


# Signatures


def test_two_secrets_both_sign(monkeypatch):
    monkeypatch.setenv("OLD", "an old secret")
    monkeypatch.setenv("NEW", "a new secret")
    headers, body = sent(secret_env="OLD, NEW")
    expected = [f"sha256={hexed(secret, body)}" for secret in (b"an old secret", b"a new secret")]
    assert headers["x-playtally-signature"] == ", ".join(expected)


def test_a_timestamp_is_signed_with_the_body(monkeypatch):
    monkeypatch.setenv("SECRET", "a secret")
    before_s = int(time.time())
    headers, body = sent(secret_env="SECRET", signature="timestamp")
    stamp = headers["x-playtally-timestamp"]
    assert before_s <= int(stamp) <= time.time()
    assert headers["x-playtally-signature"] == f"sha256={hexed(b'a secret', stamp.encode() + b'.' + body)}"


def test_the_headers_of_standard_webhooks_take_the_place_of_ours(monkeypatch):
    monkeypatch.setenv("SECRETS", "whsec_" + base64.b64encode(b"an old one").decode())
    monkeypatch.setenv("PLAIN", "plain")
    headers, body = sent(secret_env="SECRETS,PLAIN", signature="standard")
    assert not any(name.startswith("x-playtally-signature") for name in headers)
    assert "x-playtally-timestamp" not in headers
    assert headers["webhook-id"] == BATCH.key
    signed = f"{BATCH.key}.{headers['webhook-timestamp']}.".encode() + body
    digests = [hmac.digest(secret, signed, "sha256") for secret in (b"an old one", b"plain")]
    expected = [f"v1,{base64.b64encode(digest).decode()}" for digest in digests]
    assert headers["webhook-signature"].split(" ") == expected


def test_a_signature_is_the_one_of_the_published_example_of_standard_webhooks():
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature_headers(
        "standard", [secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330
    )
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_in_a_file_may_end_with_a_newline(tmp_path, end):
    file = tmp_path / "secret"
    file.write_bytes(b"a s\xe9cret" + end.encode())
    headers, body = sent(secret_file=str(file))
    assert headers["x-playtally-signature"] == f"sha256={hexed(b'a s' + bytes([0xE9]) + b'cret', body)}"


# A token


def test_a_token_is_the_authorization(monkeypatch, tmp_path):
    assert "authorization" not in sent()[0]
    monkeypatch.setenv("TOKEN", "abc.def-1")
    assert sent(token_env="TOKEN")[0]["authorization"] == "Bearer abc.def-1"
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    assert sent(token_file=str(file))[0]["authorization"] == "Bearer from-a-file"


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "tök", "a\n\n"])
def test_a_token_that_is_no_word_is_a_failure_that_does_not_quote_it(tmp_path, token):
    file = tmp_path / "token"
    file.write_text(token)
    with pytest.raises(Failure, match="expected one word") as failure:
        http_sink("http://127.0.0.1/", token_file=str(file))
    assert token not in str(failure.value)


# What is not there


@pytest.mark.parametrize("key", ["secret_file", "token_file"])
@pytest.mark.parametrize(("content", "why"), [(None, "can't be read (No such file"), ("\n", "is empty")])
def test_a_file_that_is_not_there_or_is_empty_is_a_failure_at_the_start(tmp_path, key, content, why):
    file = tmp_path / "it"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Failure, match=re.escape(f"publish.{key} = '{file}': {file} {why}")):
        open_sink(Settings(publish=PublishSection(**{key: str(file)})))


def test_the_second_secret_that_is_not_set_is_named(monkeypatch):
    monkeypatch.setenv("ONE", "x")
    monkeypatch.delenv("OTHER", raising=False)
    with pytest.raises(Failure, match=r"secret_env = 'ONE,OTHER', but the environment variable OTHER"):
        http_sink("http://127.0.0.1/", secret_env="ONE,OTHER")


def test_a_secret_of_standard_webhooks_that_is_no_base64_is_a_failure_that_does_not_quote_it(monkeypatch):
    monkeypatch.setenv("SECRET", "whsec_MfKQ9!")
    with pytest.raises(Failure, match="begins with whsec_ and is not base64") as failure:
        http_sink("http://127.0.0.1/", secret_env="SECRET", signature="standard")
    assert "MfKQ9" not in str(failure.value)


# Files that change


def test_a_secret_and_a_token_that_change_are_used_with_the_next_publish(tmp_path):
    secret, token, asked = tmp_path / "secret", tmp_path / "token", []
    secret.write_text("first")
    token.write_text("first")

    async def attempt():
        async with client_that(recording(asked, OK)) as port:
            sink = http_sink(f"http://127.0.0.1:{port}/", secret_file=str(secret), token_file=str(token))
            await sink.deliver(BATCH)
            secret.write_text("second")
            token.write_text("other")
            await sink.deliver(BATCH)
            secret.unlink()
            return await delivered(sink, BATCH)

    assert asyncio.run(attempt()) == [ACCEPTED]
    expected = [(b"first", "first"), (b"second", "other"), (b"second", "other")]
    for request, (key, word) in zip(asked, expected, strict=True):
        headers, body = parsed(request)
        assert headers["x-playtally-signature"] == f"sha256={hexed(key, body)}"
        assert headers["authorization"] == f"Bearer {word}"


def test_a_sink_reads_its_files_again_when_that_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(watched_files, "LOOK_EVERY_S", 1000.0)
    token, asked = tmp_path / "token", []
    token.write_text("first")

    async def attempt():
        async with client_that(recording(asked, OK)) as port:
            http = http_sink(f"http://127.0.0.1:{port}/", token_file=str(token))
            sink = MirroredSink(http, os.open(os.devnull, os.O_WRONLY))
            token.write_text("second")
            await sink.deliver(BATCH)
            sink.reload()
            await sink.deliver(BATCH)
            token.unlink()
            with pytest.raises(Failure, match=r"publish\.token_file"):
                sink.reload()
            await delivered(sink, BATCH)

    asyncio.run(attempt())
    assert [parsed(one)[0]["authorization"] for one in asked] == [
        "Bearer first",
        "Bearer second",
        "Bearer second",
    ]
    StdoutSink().reload()  # it has no files


# A certificate


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The keys and certificates of the client, of ours, and of ours later."""
    return [make_certificate(tmp_path_factory.mktemp("tls")) for _ in range(3)]


def asking_for_one(certificates):
    """The TLS of a client that takes our certificates alone."""
    (key, certificate), *ours = certificates
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    for _, trusted in ours:
        context.load_verify_locations(trusted)
    return context


def noting_certificates(asked):
    """A client that notes the certificate of each request."""
    answer = recording(asked, OK)

    async def act(reader, writer):
        count = len(asked)
        await answer(reader, writer)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        asked[count:] = [shown] * (len(asked) - count)

    return act


def der(certificate):
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


@pytest.mark.parametrize("files", ["two", "one"])
def test_a_client_that_asks_for_a_certificate_gets_it(certificates, tmp_path, files):
    key, certificate = certificates[1]
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    named = (
        {"cert_file": str(certificate), "key_file": str(key)} if files == "two" else {"cert_file": str(both)}
    )
    asked = []
    tls, url, ca_file = asking_for_one(certificates), "https://127.0.0.1:{port}/", str(certificates[0][1])
    found = deliveries_to(noting_certificates(asked), 2, tls=tls, url=url, ca_file=ca_file, **named)
    assert found == [ACCEPTED] * 2
    assert asked == [der(certificate)] * 2


def test_without_the_certificate_that_the_client_asks_for_nothing_is_accepted(certificates):
    tls, url, ca_file = asking_for_one(certificates), "https://127.0.0.1:{port}/", str(certificates[0][1])
    (delivery,) = deliveries_to(noting_certificates([]), 1, tls=tls, url=url, ca_file=ca_file)
    assert delivery.outcome is not Outcome.ACCEPTED
    assert delivery.why


def test_a_certificate_that_changes_is_shown_from_the_next_publish_on(certificates, tmp_path):
    file, asked, kept = tmp_path / "both.pem", [], []

    def write(key, certificate):
        file.write_bytes(key.read_bytes() + certificate.read_bytes())

    async def attempt():
        async with client_that(noting_certificates(asked), asking_for_one(certificates)) as port:
            write(*certificates[1])
            sink = http_sink(
                f"https://127.0.0.1:{port}/", ca_file=str(certificates[0][1]), cert_file=str(file)
            )
            found = [await sink.deliver(BATCH), await sink.deliver(BATCH)]
            kept.append(len(sink._idle))
            write(*certificates[2])
            found.append(await sink.deliver(BATCH))
            file.write_bytes(certificates[1][0].read_bytes())  # a key alone: as in the middle of a change
            return [*found, *await delivered(sink, BATCH)]

    assert asyncio.run(attempt()) == [ACCEPTED] * 4
    assert kept == [1]
    assert asked == [der(certificates[1][1])] * 2 + [der(certificates[2][1])] * 2


@pytest.mark.parametrize("fault", ["gone", "another's key", "no certificate", "a password"])
def test_a_certificate_that_can_not_be_shown_is_a_failure_at_the_start(certificates, tmp_path, fault):
    key, certificate = map(str, certificates[1])
    if fault == "gone":
        certificate = str(tmp_path / "gone.pem")
    elif fault == "another's key":
        key = str(certificates[2][0])
    elif fault == "no certificate":
        certificate = key
    else:
        locked = tmp_path / "locked.pem"
        command = ["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:word", "-out", locked]
        subprocess.run(command, check=True, capture_output=True)
        key = str(locked)
    with pytest.raises(Failure, match=r"publish\.cert_file = '.*' with key_file = '.*' can't be used .*PEM"):
        http_sink("https://127.0.0.1/", cert_file=certificate, key_file=key)
