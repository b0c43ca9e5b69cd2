"""Which connections lead to one nsqd: by the address of another machine, by the listener of this one."""

import socket

import pytest

from actors.sources.places import ends_of, found_among, is_this_machine, listeners, place_of

PORT = 4150


def place(listening, peer):
    return found_among(set(listening), peer, PORT)


def test_another_machine_is_known_by_its_address():
    assert place([], "10.0.0.5").key == "10.0.0.5:4150"
    assert place([], "10.0.0.5").names == {"10.0.0.5:4150"}
    assert place([], "2001:db8::5").names == {"[2001:db8::5]:4150"}


@pytest.mark.parametrize("listening", [["0.0.0.0"], ["::"], ["0.0.0.0", "::"]])
def test_all_addresses_of_this_machine_lead_to_one_that_listens_on_all(listening):
    keys = {place(listening, peer).key for peer in ("127.0.0.1", "127.0.1.1", "10.0.0.5")}
    assert len(keys) == 1
    assert place(listening, "10.0.0.5").names == {"10.0.0.5:4150", "127.0.0.1:4150"}


def test_ipv6_addresses_lead_to_one_that_listens_on_both():
    assert place(["::"], "::1").key == place(["::"], "127.0.0.1").key
    assert place(["::"], "::1").names == {"[::1]:4150", "127.0.0.1:4150"}
    assert place(["0.0.0.0", "::"], "::1").key != place(["0.0.0.0", "::"], "127.0.0.1").key


def test_the_one_that_listens_on_an_address_is_not_the_one_that_listens_on_all():
    listening = ["0.0.0.0", "10.0.0.5"]
    assert place(listening, "10.0.0.5").key != place(listening, "10.0.0.6").key
    assert place(listening, "10.0.0.5").names == {"10.0.0.5:4150"}
    assert place(["0.0.0.0", "127.0.0.1"], "10.0.0.6").names == {"10.0.0.6:4150"}


def test_two_that_listen_on_different_addresses_are_two():
    listening = ["127.0.0.1", "127.0.0.2"]
    assert place(listening, "127.0.0.1").key != place(listening, "127.0.0.2").key


@pytest.mark.parametrize(
    ("own", "peer", "is_ours"),
    [
        ("10.0.0.5", "10.0.0.5", True),
        ("127.0.0.1", "127.0.0.2", True),
        ("::1", "::1", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("fe80::1", "fe80::2%eth0", False),
    ],
)
def test_a_connection_to_an_own_address_stays_on_this_machine(own, peer, is_ours):
    assert is_this_machine(own, peer) is is_ours


def test_a_real_connection_has_ends_and_a_listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as connection:
            own, peer, its_port = ends_of(connection)
            assert (own, peer, its_port) == ("127.0.0.1", "127.0.0.1", port)
            assert f"127.0.0.1:{port}" in place_of(own, peer, port).names
        assert ends_of(connection) is None
        assert listeners(port) in ({"127.0.0.1"}, set())
    assert listeners(port) == set()


def test_an_ipv4_address_in_the_form_of_ipv6_is_itself():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            connection, _ = listener.accept()
            with connection:
                assert ends_of(connection) == ("127.0.0.1", "127.0.0.1", client.getsockname()[1])
