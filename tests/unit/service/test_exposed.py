"""A listener that others reach: refused without a token, and said at the start what they can do there."""

import msgspec
import pytest

from actors.config import NsqSection, Settings
from actors.service.exposed import refusals_of, warnings_of


def with_address(key, address, token_file="", **more):
    """Settings with this address and token; the others are the defaults."""
    section, _, name = key.partition(".")
    settings = Settings(**more)
    changes = {name: address} | ({"token_file": token_file} if token_file else {})
    part = msgspec.structs.replace(getattr(settings, section), **changes)
    return msgspec.structs.replace(settings, **{section: part})


KEYS = {
    "admin.address": "status",
    "client.address": "publish",
    "embedded_nsqd.tcp_address": "plays",
    "embedded_nsqd.http_address": "plays",
}
WITH_TOKEN = ["admin.address", "client.address"]
EVERYWHERE = ["0.0.0.0", "[::]", "0", "[::ffff:0.0.0.0]", "[0:0::0]"]
LOOPBACK = ["127.0.0.1", "127.1.2.3", "localhost", "[::1]", "[::ffff:127.0.0.1]"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("host", EVERYWHERE)
def test_who_listens_on_all_addresses_is_told_what_everyone_can_do_there_and_what_to_set(key, host):
    [line] = warnings_of(with_address(key, f"{host}:8089"))
    assert f'{key} = "{host}:8089" is on all addresses of this machine' in line
    assert "everyone in the network" in line
    assert KEYS[key] in line
    assert line.endswith('"127.0.0.1:8089"')
    assert line.startswith("INSECURE: ") == (key in WITH_TOKEN)


@pytest.mark.parametrize("key", WITH_TOKEN)
@pytest.mark.parametrize("host", [*EVERYWHERE, "10.0.0.5", "[2001:db8::5]", "no-such-name.invalid"])
def test_who_listens_elsewhere_than_on_loopback_needs_a_token(key, host):
    [line] = refusals_of(with_address(key, f"{host}:8089"))
    assert line.startswith(f'{key} = "{host}:8089" is reached from other machines')
    section = key.partition(".")[0]
    for said in (
        KEYS[key],
        f"{section}.token_env",
        f"{section}.token_file",
        "`run --insecure`",
        '"127.0.0.1:8089"',
    ):
        assert said in line
    assert len(warnings_of(with_address(key, f"{host}:8089"))) == 1
    with_token = with_address(key, f"{host}:8089", "/token")
    assert refusals_of(with_token) == warnings_of(with_token) == []


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_needs_none_and_is_not_warned_of(key, host):
    settings = with_address(key, f"{host}:8089")
    assert refusals_of(settings) == warnings_of(settings) == []


@pytest.mark.parametrize("key", ["embedded_nsqd.tcp_address", "embedded_nsqd.http_address"])
def test_the_embedded_queue_has_no_token_and_is_never_refused(key):
    assert refusals_of(with_address(key, "0.0.0.0:4150")) == []
    assert warnings_of(with_address(key, "10.0.0.5:4150")) == []


def test_what_does_not_run_is_not_warned_of():
    real = NsqSection(nsqd_tcp_addresses=["10.0.0.5:4150"])
    assert warnings_of(with_address("embedded_nsqd.tcp_address", "0.0.0.0:4150", nsq=real)) == []
    settings = Settings()
    client = msgspec.structs.replace(settings.client, enabled=False, address="0.0.0.0:8080")
    settings = msgspec.structs.replace(settings, client=client)
    assert warnings_of(settings) == refusals_of(settings) == []


def test_a_client_that_asks_for_signatures_takes_publishes_of_those_alone_who_have_the_secret():
    publish = msgspec.structs.replace(Settings().publish, secret_env="SECRET")
    [line] = warnings_of(with_address("client.address", "0.0.0.0:8080", publish=publish))
    assert "publish" not in line
    assert "read every total" in line
