"""Addresses, "host:port", taken apart and put together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.system.addresses import join_address, split_address, with_port


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:4150", ("127.0.0.1", 4150)),
        ("[::1]:0", ("::1", 0)),
        ("example.org:65535", ("example.org", 65535)),
        (":80", ("", 80)),
    ],
)
def test_an_address_is_split_into_a_host_without_brackets_and_a_port(address, parts):
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "8080:", "h:http", "h:65536", "h:-1", "h:+1", "h: 1", "h:٣", "h"])
def test_a_port_that_can_not_be_is_refused(address):
    with pytest.raises(ValueError, match=r'expected "host:port" with a port of 0 to 65535'):
        split_address(address)


@given(st.sampled_from(["10.0.0.5", "::1", "fe80::1", "example.org"]), st.integers(0, 65535))
def test_what_is_joined_is_split_into_the_same(host, port):
    assert split_address(join_address(host, port)) == (host, port)


def test_another_port_keeps_the_host_as_it_was_written():
    assert with_port("[::1]:0", 4150) == "[::1]:4150"
