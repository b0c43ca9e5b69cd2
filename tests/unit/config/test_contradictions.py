"""Values that are valid alone but cannot be used together."""

import pytest

from actors.config import load
from tests.support.config_problems import problems


def test_what_is_right_alone_and_cannot_go_together_is_a_problem(file):
    found = problems(
        file(
            "[publish]\nurl = ''\nstdout = false\n"
            "[dispatch]\ndeadline_s = 1\nrealtime_linger_ms = 1500\n"
            "[admin]\naddress = '127.0.0.1:8080'\n"
        )
    )
    assert len(found) == 3
    assert any('publish.url = ""' in line and "publish.stdout = false" in line for line in found)
    assert any("realtime_linger_ms = 1500" in line and "deadline_s = 1" in line for line in found)
    assert any("client.address" in line and "admin.address" in line for line in found)


def test_two_listeners_may_both_ask_for_any_free_port(file):
    load(file(), ["admin.address=127.0.0.1:0", "client.address=127.0.0.1:0"])


def test_a_listener_that_is_not_used_takes_no_address(file):
    load(file(), ["client.enabled=false", "admin.address=127.0.0.1:8080"])
    load(file(), ["nsq.nsqd_tcp_addresses=a:4150", "admin.address=127.0.0.1:4150"])


@pytest.mark.parametrize(
    ("tcp", "http"),
    [('["a:4150", "b:4150"]', '["a:4151"]'), ('["a:4150"]', '["a:1", "b:1"]'), ("[]", '["a:1"]')],
)
def test_each_nsqd_has_its_http_address_or_none_has(file, tcp, http):
    lists = [f"nsq.nsqd_tcp_addresses={tcp}", f"nsq.nsqd_http_addresses={http}"]
    (problem,) = problems(file(), *lists)
    assert problem.startswith("nsq.nsqd_http_addresses = [")
    assert "expected [] or one address for each of nsq.nsqd_tcp_addresses = [" in problem
    load(file(), lists[:1])
    # the embedded nsqd has its own setting, and nsqlookupd says where the HTTP of its nsqds is
    assert len(problems(file(), "nsq.lookupd_http_addresses=a:4161", *lists)) == 1


def test_each_consumer_has_room_for_a_message(file):
    load(file(), ["nsq.consumers=3", "nsq.max_in_flight=3"])
    (problem,) = problems(file(), "nsq.consumers=3", "nsq.max_in_flight=2")
    assert problem.startswith(
        "nsq.consumers = 3 with nsq.max_in_flight = 2, expected at most as many consumers"
    )


NSQD = "nsq.nsqd_tcp_addresses=a:4150"


@pytest.mark.parametrize(
    "override",
    ["nsq.tls=true", "nsq.auth_secret_env=A", "nsq.auth_secret_file=a", "nsq.compression=snappy"],
)
def test_the_embedded_queue_has_no_tls_no_auth_and_no_compression(file, override):
    (problem,) = problems(file(), override)
    assert problem.startswith(override.split("=")[0])
    assert "with the embedded queue, expected nsq.nsqd_tcp_addresses or nsq.lookupd_http_addresses" in problem
    load(file(), [override, NSQD])
    load(file(), [override, "nsq.lookupd_http_addresses=a:4161"])


@pytest.mark.parametrize("key", ["tls_ca_file", "tls_cert_file", "tls_server_name"])
def test_who_names_a_certificate_does_not_speak_in_the_clear(file, key):
    (problem,) = problems(file(), NSQD, f"nsq.{key}=a")
    assert problem.startswith(f"nsq.{key} = 'a' with nsq.tls = false, expected nsq.tls = true")
    load(file(), [NSQD, f"nsq.{key}=a", "nsq.tls=true"])
    load(file(), [f"nsq.{key}=a", "nsq.lookupd_http_addresses=https://a:4161"])
    load(file(), [f"nsq.{key}=a", NSQD, "nsq.nsqd_http_addresses=https://a:4152"])


def test_a_key_for_nsqd_has_its_certificate(file):
    (problem,) = problems(file(), NSQD, "nsq.tls=true", "nsq.tls_key_file=k")
    assert problem == "nsq.tls_key_file = 'k', expected nsq.tls_cert_file too: the certificate of this key"


def test_the_video_is_not_the_plays_identity(file):
    (problem,) = problems(file(), "nsq.play_id=video_id")
    assert problem.startswith('nsq.play_id = "video_id", expected another key: it names the video')
    for name in ("id", "", "@id", "ns:play-id", "x" * 64):
        load(file(), [f'nsq.play_id="{name}"'])


def test_nsqds_secret_is_in_one_place(file):
    (problem,) = problems(file(), NSQD, "nsq.auth_secret_env=A", "nsq.auth_secret_file=a")
    assert "expected one of them" in problem


def test_a_url_and_a_topic_cannot_both_be_the_client(file):
    (problem,) = problems(file(), "publish.nsq_topic=totals")
    assert problem.startswith("publish.url = 'http://127.0.0.1:8080/plays' and publish.nsq_topic = 'totals'")
    assert 'expected one of them: set publish.url = ""' in problem
    assert load(file(), ["publish.nsq_topic=totals", "publish.url="]).publish.nsq_topic == "totals"


@pytest.mark.parametrize("topic", ["plays", "plays.dead"])
def test_publishes_do_not_go_where_plays_come_from(file, topic):
    (problem,) = problems(file(), f"publish.nsq_topic={topic}", "publish.url=")
    assert "publishes would be taken for plays" in problem


@pytest.mark.parametrize(
    ("key", "lacks"),
    [
        ("secret_env", "header for a secret"),
        ("secret_file", "header for a secret"),
        ("token_env", "header for a token"),
        ("token_file", "header for a token"),
        ("cert_file", "certificate"),
    ],
)
def test_a_message_has_no_place_for_a_signature_a_token_or_a_certificate(file, key, lacks):
    (problem,) = problems(file(), "publish.nsq_topic=totals", "publish.url=", f"publish.{key}=S")
    assert problem.endswith(
        f"publish.{key} = 'S' with publish.nsq_topic, expected \"\": a message has no {lacks}"
    )


@pytest.mark.parametrize("what", ["secret", "token"])
def test_what_is_in_a_variable_is_not_in_a_file_too(file, what):
    (problem,) = problems(file(), f"publish.{what}_env=S", f"publish.{what}_file=f")
    assert f"publish.{what}_env = 'S' and publish.{what}_file = 'f', expected one of them" in problem


def test_a_key_has_a_certificate(file):
    (problem,) = problems(file(), "publish.key_file=key.pem")
    assert "publish.key_file = 'key.pem', expected publish.cert_file too" in problem


@pytest.mark.parametrize("signature", ["timestamp", "standard"])
def test_what_is_signed_needs_a_secret(file, signature):
    (problem,) = problems(file(), f"publish.signature={signature}")
    assert f'publish.signature = "{signature}", expected a secret to sign with' in problem


def test_a_request_has_one_authorization(file):
    (problem,) = problems(file(), "publish.url=http://me:word@a/", "publish.token_env=T")
    assert "http://…@a/' with a bearer token, expected a user in the URL or a token" in problem
    assert "word" not in problem
    assert problems(file(), "publish.url=http://[::1/@", "publish.token_env=T")
