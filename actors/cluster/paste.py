"""The addresses of a cluster as they stand in config.toml."""

import json
from collections.abc import Iterable

from .plan import NSQADMIN, NSQD, NSQLOOKUPD, Plan


def config_of(plan: Plan) -> str:
    """Return the section [nsq] for this cluster, to be pasted into config.toml."""
    nsqds = plan.of(NSQD)
    lines = ["[nsq]"]
    if nsqds:
        lines.append(f"nsqd_tcp_addresses = {_list(one.tcp_address for one in nsqds)}")
        urls = [f"https://{one.https_address}" if one.https_address else one.http_address for one in nsqds]
        lines.append(f"nsqd_http_addresses = {_list(urls)}")
    if lookupds := plan.of(NSQLOOKUPD):
        lines.append(f"lookupd_http_addresses = {_list(one.http_address for one in lookupds)}")
    if files := plan.certificates:
        lines.append("tls = true")
        lines.append(f"tls_ca_file = {json.dumps(files.authority)}")
        lines.append("# for nsqds that ask for a client certificate (--flag nsqd:tls-client-auth-policy=…):")
        lines.append(f"# tls_cert_file = {json.dumps(files.client_cert)}")
        lines.append(f"# tls_key_file = {json.dumps(files.client_key)}")
    lines += [f"# nsqadmin: http://{one.http_address}/" for one in plan.of(NSQADMIN)]
    return "\n".join(lines) + "\n"


def _list(addresses: Iterable[str]) -> str:
    return json.dumps(list(addresses))
