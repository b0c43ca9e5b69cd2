"""Which Host a listener answers to, and whose page may change something: the rule itself, without sockets."""

import socket

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.system.hosts import Listener, host_allowed, plain, refusal, split_target
from actors.system.this_machine import has_address, own_names

NAMED = Listener("admin.allowed_hosts", frozenset({"10.0.0.5", "ops.example.org"}))
EVERYWHERE = NAMED._replace(is_own=lambda address: address in ("192.0.2.7", "2001:db8::7", "fe80::7"))
LOOPBACK = ["localhost", "LocalHost", "localhost.", "127.0.0.1", "127.9.9.9", "[::1]", "[0:0:0:0:0:0:0:1]"]
REFUSED = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "127.0.0.1.evil.example",
    "foo.localhost",
    "xlocalhost",
    "ops.example.org.evil.example",
    "10.0.0.50",
    "[::2]",
    "[::ffff:10.9.9.9]",
    "[fe80::2]",
    "[fe80::2%25eth0]",
    "0177.0.0.1",
    "2130706433",
    "127.1",
]
MALFORMED = [
    "",
    ":",
    ":80",
    "a b",
    "a,b",
    "localhost:",
    "localhost:x",
    "localhost:1:2",
    "localhost@evil.example",
]
MALFORMED += [
    "localhost/",
    "::1",
    "[::1",
    "[::1%eth0]",
    "[::1%25eth0]",
    "[2001:db8::7%25eth0]",
    "[fe80::7%]",
    "[fe80::7%eth0]",
    "[fe80::7%25eth0/x]",
    "[fe80::7%25\u00e9]",
    "[]",
    "localhost:123456",
    "\u212aelvin",
    "a\tb",
    "a\n",
    "*",
]


@pytest.mark.parametrize("port", ["", ":80", ":8081"])
@pytest.mark.parametrize(
    "host", [*LOOPBACK, "[::ffff:127.0.0.1]", "10.0.0.5", "ops.example.org", "OPS.Example.Org."]
)
def test_a_listener_answers_to_loopback_names_and_to_its_own_in_every_form(host, port):
    assert host_allowed(host + port, NAMED)


@pytest.mark.parametrize("host", [*REFUSED, *MALFORMED])
def test_a_listener_answers_to_no_other_name(host):
    assert not host_allowed(host, NAMED)


@pytest.mark.parametrize("host", ["192.0.2.7", "[2001:db8::7]:80", "[2001:DB8:0::7]"])
def test_one_that_listens_everywhere_answers_to_the_addresses_of_its_machine(host):
    assert host_allowed(host, EVERYWHERE)
    assert not host_allowed(host, NAMED)
    assert not host_allowed("192.0.2.8", EVERYWHERE)
    assert not host_allowed("evil.example", EVERYWHERE)


@pytest.mark.parametrize(
    "host", ["[fe80::7]", "[fe80::7]:80", "[fe80::7%25eth0]:80", "[FE80:0::7%25wlan0.1]"]
)
def test_a_link_local_address_is_meant_whatever_the_asker_calls_its_own_interface(host):
    assert host_allowed(host, EVERYWHERE)
    assert host_allowed(host, NAMED._replace(hosts=frozenset({plain("fe80::7%eth0")})))
    assert not host_allowed(host, NAMED)


@given(st.text("abc01.-:[]@/", max_size=12))
def test_whatever_stands_around_a_loopback_name_makes_another_name_of_it(more):
    for host in (f"localhost{more}", f"{more}localhost", f"127.0.0.1{more}", f"{more}.localhost"):
        if host_allowed(host, NAMED):
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
            assert plain(name) == "localhost" or plain(name).startswith("127.")


def refused(method="GET", target="/", listener=NAMED, **headers):
    """The status that a request is refused with, None if it is not. A header may have several values."""

    def values(name):
        found = headers.get(name.replace("-", "_"), [])
        return [found] if isinstance(found, str) else found

    found = refusal(method, target, values, listener)
    return None if found is None else found.status


def test_there_is_exactly_one_host():
    assert refused() == 400
    assert refused(Host=["localhost", "localhost"]) == 400
    assert refused(Host="") == 400
    assert refused(Host="localhost") is None


@pytest.mark.parametrize("host", MALFORMED)
def test_a_host_that_is_none_is_called_malformed(host):
    assert refused(Host=host) == 400


@pytest.mark.parametrize("host", REFUSED)
def test_another_host_is_refused(host):
    assert refused(Host=host) == refused("POST", Host=host) == 403
    assert host in refusal("GET", "/", lambda name: [host], NAMED).why
    assert "admin.allowed_hosts" in refusal("GET", "/", lambda name: [host], NAMED).why


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost/", None),
        ("HTTP://LOCALHOST:80/x?y", None),
        ("http://evil.example/", 403),
        ("http://localhost@evil.example/", 400),
        ("http://", 400),
        ("http:///x", 400),
    ],
)
def test_the_host_of_an_absolute_target_counts_too(target, status):
    assert refused(target=target, Host="localhost") == status
    assert refused(target=target, Host="evil.example") in (403, 400)


def test_an_absolute_target_is_read_from_its_path_on():
    assert split_target("http://a:1/x?y=http://b/") == ("a:1", "/x?y=http://b/")
    assert split_target("https://a?y") == ("a", "/?y")
    assert split_target("https://a") == ("a", "/")
    assert split_target("/x?u=http://b/") == ("", "/x?u=http://b/")
    assert split_target("*") == ("", "*")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://localhost:8081"}, True),
        ({"Origin": "HTTP://LOCALHOST:8081"}, True),
        ({"Origin": "https://localhost:8081"}, True),  # a proxy before us may speak TLS
        ({"Origin": "http://localhost"}, False),
        ({"Origin": "http://localhost:8080"}, False),
        ({"Origin": "http://127.0.0.1:8081"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://evil.example:8081"}, False),
        ({"Origin": "http://localhost:8081.evil.example"}, False),
        ({"Origin": "http://localhost:8081/"}, False),
        ({"Origin": "http://localhost:8081@evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "chrome-extension://abc"}, False),
        ({"Origin": ["http://localhost:8081", "http://evil.example"]}, False),
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Sec_Fetch_Site": "none"}, True),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "whatever"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost:8081"}, False),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "http://evil.example"}, False),
    ],
)
def test_only_a_page_of_the_listener_itself_may_change_anything(method, headers, allowed):
    assert refused(method, Host="localhost:8081", **headers) == (None if allowed else 403)


LINK = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("headers", "follows_a_link"),
    [
        (LINK, True),
        ({}, False),
        ({"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, False),
        ({"Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}, False),
        ({**LINK, "Sec_Fetch_Dest": "iframe"}, False),
        ({**LINK, "Sec_Fetch_Dest": "object"}, False),
        ({**LINK, "Sec_Fetch_Mode": "no-cors"}, False),
        ({**LINK, "Sec_Fetch_Mode": ["navigate", "no-cors"]}, False),
        ({**LINK, "Sec_Purpose": "prefetch"}, False),
        ({**LINK, "Sec_Purpose": "prefetch;prerender"}, False),
    ],
)
def test_a_page_of_another_site_has_nothing_read_but_its_links_lead_to_ours(
    method, site, headers, follows_a_link
):
    allowed = follows_a_link and method != "OPTIONS"
    assert refused(method, Host="localhost", Sec_Fetch_Site=site, **headers) == (None if allowed else 403)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("headers", [{}, {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}])
def test_other_programs_and_our_own_pages_read(method, headers):
    assert refused(method, Host="localhost", Sec_Purpose="prefetch", **headers) is None


@pytest.mark.parametrize(
    ("host", "origin", "same"),
    [
        ("localhost", "http://localhost", True),
        ("localhost:80", "http://localhost", True),
        ("localhost:443", "https://localhost", True),
        ("localhost", "https://localhost:443", True),
        ("localhost:443", "http://localhost", False),
        ("[::1]:8081", "http://[::1]:8081", True),
        ("[::1]:8081", "http://[::1]", False),
        ("localhost.:8081", "http://localhost:8081", True),
    ],
)
def test_an_origin_without_a_port_has_that_of_its_scheme(host, origin, same):
    assert refused("POST", Host=host, Origin=origin) == (None if same else 403)


def test_this_machine_has_its_name_and_those_that_its_hosts_file_gives_it(tmp_path):
    name = socket.gethostname()
    file = tmp_path / "hosts"
    file.write_text(
        f"127.0.0.1 localhost ads.example\n# 1.2.3.4 {name} comment.example\n\n"
        f"10.1.2.3\tFull.Example.Org {name} # and.not.this\n10.1.2.4 x{name} other.example\n"
    )
    assert own_names(file) == {name.lower(), "full.example.org"}
    assert own_names(tmp_path / "none") == {name.lower()}


def link_local_addresses():
    """The link-local addresses of this machine."""
    found = [one for several in psutil.net_if_addrs().values() for one in several]
    return [plain(one.address) for one in found if one.address.startswith("fe80:")]


@pytest.mark.skipif(not link_local_addresses(), reason="this machine has no link-local address")
def test_a_link_local_address_of_this_machine_is_one():
    assert all(map(has_address, link_local_addresses()))


def test_an_address_is_this_machines_if_it_is():
    assert not has_address("fe80::1:2:3:4")
    assert has_address("127.0.0.1")
    assert not has_address("192.0.2.1")
    assert not has_address("2001:db8::1")
