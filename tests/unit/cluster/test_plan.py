"""Which nodes a cluster has, where they listen, what they are told, and what is printed of them."""

import tomllib
from itertools import count
from pathlib import Path

from actors.cluster.paste import config_of
from actors.cluster.plan import (
    NODES_MAX,
    PORT_MAX,
    Certificates,
    Flag,
    Wanted,
    plan_of,
    ports_of,
    programs_of,
)

FILES = Certificates("/c/ca.pem", "/c/nsqd.pem", "/c/nsqd.key", "/c/client.pem", "/c/client.key")


def planned(certificates: Certificates | None = None, **wanted):
    return plan_of(Wanted(**wanted), Path("/data"), count(20_000), certificates)


def test_the_first_of_each_program_has_its_usual_ports_and_no_two_are_the_same():
    plan = planned(nsqds=NODES_MAX, nsqlookupds=NODES_MAX, nsqadmin=True, certificates=FILES, tls=True)
    named = {(node.name, flag): port for node, flag, port in ports_of(plan)}
    assert named["nsqd-0", "tcp-address"] == 4150
    assert named["nsqd-0", "http-address"] == 4151
    assert named["nsqd-0", "https-address"] == 4152
    assert named["nsqd-3", "tcp-address"] == 4450
    assert named["nsqlookupd-0", "tcp-address"] == 4160
    assert named["nsqlookupd-0", "http-address"] == 4161
    assert named["nsqadmin", "http-address"] == 4171
    assert len(set(named.values())) == len(named) == 5 * NODES_MAX + 1
    most = planned(nsqds=NODES_MAX, nsqlookupds=NODES_MAX, nsqadmin=True, port=PORT_MAX)
    assert max(port for *_, port in ports_of(most)) <= 65535


def test_port_0_takes_ports_that_are_free():
    assert {port for *_, port in ports_of(planned(nsqds=2, port=0))} == {20_000, 20_001, 20_003, 20_004}


def test_each_node_knows_the_others_and_a_flag_reaches_all_nodes_of_its_program_last():
    flags = (Flag("nsqd", "mem-queue-size", "0"), Flag("nsqadmin", "log-level", "debug"))
    plan = planned(nsqds=2, nsqlookupds=2, nsqadmin=True, flags=flags)
    assert [node.name for node in plan.nodes] == [
        "nsqlookupd-0",
        "nsqlookupd-1",
        "nsqd-0",
        "nsqd-1",
        "nsqadmin",
    ]
    for number, node in enumerate(plan.of("nsqd")):
        assert node.arguments[-1] == "--mem-queue-size=0"
        assert {"--lookupd-tcp-address=127.0.0.1:4160", "--lookupd-tcp-address=127.0.0.1:4260"} < {
            *node.arguments
        }
        assert f"--data-path=/data/nsqd-{number}" in node.arguments
        assert f"--node-id={number}" in node.arguments
    [admin] = plan.of("nsqadmin")
    assert admin.arguments[1:] == (
        "--lookupd-http-address=127.0.0.1:4161",
        "--lookupd-http-address=127.0.0.1:4261",
        "--log-level=debug",
    )
    alone = planned(nsqds=2, nsqadmin=True)
    assert "--nsqd-http-address=127.0.0.1:4251" in alone.node("nsqadmin").arguments


def test_what_is_printed_is_toml_that_names_what_there_is():
    plain = tomllib.loads(config_of(planned(nsqds=2, nsqlookupds=1, nsqadmin=True)))
    assert plain == {
        "nsq": {
            "nsqd_tcp_addresses": ["127.0.0.1:4150", "127.0.0.1:4250"],
            "nsqd_http_addresses": ["127.0.0.1:4151", "127.0.0.1:4251"],
            "lookupd_http_addresses": ["127.0.0.1:4161"],
        }
    }
    secured = tomllib.loads(config_of(planned(tls=True, certificates=FILES)))["nsq"]
    assert secured["nsqd_http_addresses"] == ["https://127.0.0.1:4152"]
    assert (secured["tls"], secured["tls_ca_file"]) == (True, "/c/ca.pem")
    assert set(tomllib.loads(config_of(planned(nsqds=0, nsqlookupds=1)))["nsq"]) == {"lookupd_http_addresses"}


def test_only_programs_that_are_needed_are_asked_for():
    assert programs_of(Wanted(nsqds=0, nsqlookupds=1)) == ["nsqlookupd"]
    assert programs_of(Wanted(nsqadmin=True)) == ["nsqd", "nsqadmin"]
