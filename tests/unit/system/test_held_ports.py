"""A port that is held: connections are refused, others can't take it, and the next incarnation can."""

import socket

import pytest

from actors.embedded_nsqd.listener import open_listener
from actors.system.addresses import join_address
from actors.system.exits import AddressFailure
from actors.system.held_ports import HeldPorts
from actors.system.listeners import open_listeners


def http_listener(address, **options):
    (listener,) = open_listeners("client.address", address, **options)
    return listener


def tcp_listener(address, **options):
    return open_listener("tcp_address", address, **options)


# tornado leaves a socket that it could not bind to the garbage collector
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("listen", [http_listener, tcp_listener])
def test_a_held_port_is_the_next_incarnations_and_nobody_elses(listen):
    ports = HeldPorts()
    first = listen("127.0.0.1:0")
    address = join_address(*first.getsockname())
    for _ in range(2):
        ports.hold([address])
    with pytest.raises(AddressFailure):
        listen(address)  # of another service
    with pytest.raises(AddressFailure):
        listen(address, is_held=True)  # its second incarnation
    first.close()
    with pytest.raises(AddressFailure):
        listen(address)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(first_of(address))
    with listen(address, is_held=True):
        socket.create_connection(first_of(address)).close()
        with pytest.raises(AddressFailure):
            listen(address)
    ports.close()
    listen(address).close()


def first_of(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_an_address_that_can_not_be_held_is_left_out():
    HeldPorts().hold(["no-such-host.invalid:1", "192.0.2.1:1"])
