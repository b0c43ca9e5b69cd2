"""A listener on all addresses is said at the start: who reaches it, what they can do there, what to set."""

import msgspec
import pytest

from actors.config import NsqSection, Settings
from actors.service.exposed import warnings_of


def warned(key, address, **more):
    """The warnings for settings with this address; the others are the defaults."""
    section, _, name = key.partition(".")
    settings = Settings(**more)
    part = msgspec.structs.replace(getattr(settings, section), **{name: address})
    return warnings_of(msgspec.structs.replace(settings, **{section: part}))


KEYS = {
    "admin.address": "status",
    "client.address": "publish",
    "embedded_nsqd.tcp_address": "plays",
    "embedded_nsqd.http_address": "plays",
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "0", "[::ffff:0.0.0.0]", "[0:0::0]"])
def test_who_listens_on_all_addresses_is_told_what_everyone_can_do_there_and_what_to_set(key, host):
    [line] = warned(key, f"{host}:8089")
    assert line.startswith(f'{key} = "{host}:8089"')
    assert "everyone in the network" in line
    assert KEYS[key] in line
    assert line.endswith('; if only this machine needs it, set "127.0.0.1:8089"')


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.5", "web1.example.org"])
def test_another_address_is_not_warned_of(host):
    assert warned("admin.address", f"{host}:8089") == []


def test_what_does_not_run_is_not_warned_of():
    real = NsqSection(nsqd_tcp_addresses=["10.0.0.5:4150"])
    assert warned("embedded_nsqd.tcp_address", "0.0.0.0:4150", nsq=real) == []
    settings = Settings()
    client = msgspec.structs.replace(settings.client, enabled=False, address="0.0.0.0:8080")
    assert warnings_of(msgspec.structs.replace(settings, client=client)) == []


def test_a_client_that_asks_for_signatures_takes_publishes_of_those_alone_who_have_the_secret():
    publish = msgspec.structs.replace(Settings().publish, secret_env="SECRET")
    [line] = warned("client.address", "0.0.0.0:8080", publish=publish)
    assert "publish" not in line
    assert "read every total" in line
