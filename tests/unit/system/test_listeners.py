"""Listening on an address of the settings, or a failure that says what to do."""

import socket

import pytest

from actors.system.exits import AddressFailure
from actors.system.listeners import open_listeners


def test_port_0_takes_a_free_one():
    (listener,) = open_listeners("admin.address", "127.0.0.1:0")
    with listener, socket.create_connection(listener.getsockname()):
        pass


# tornado leaves a socket that it can't bind to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_address_in_use_is_named_with_its_setting_and_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressFailure, match=f"admin.address = '{address}'.*in use.*stop what listens"):
            open_listeners("admin.address", address)


@pytest.mark.parametrize("address", ["8080", ":8080", "127.0.0.1:", "127.0.0.1:65536", "h:http"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(AddressFailure, match=r'client\.address = .*expected "host:port"'):
        open_listeners("client.address", address)
