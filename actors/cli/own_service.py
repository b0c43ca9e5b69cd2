"""The service that a demo or a drill brings along. It touches nothing that is not its own.

It has its own queue, its own client and its own folder, whatever the config file says, and ports that nobody
else knows: plays that wait for the usual queue, or publishes for the usual client, must not come here.
"""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from .. import config
from .launch import Service

ANY_PORT = "127.0.0.1:0"
# Before what the user sets for this run: then a port can be chosen.
OWN_ADDRESSES = [
    f"embedded_nsqd.tcp_address={ANY_PORT}",
    f"embedded_nsqd.http_address={ANY_PORT}",
    f"client.address={ANY_PORT}",
    f"admin.address={ANY_PORT}",
]
# After it: a queue or a client of somebody else can't be chosen.
OWN_SETTINGS = [
    "nsq.nsqd_tcp_addresses=[]",
    "nsq.nsqd_http_addresses=[]",
    "nsq.lookupd_http_addresses=[]",
    "nsq.tls=false",
    "nsq.tls_ca_file=",
    "nsq.tls_cert_file=",
    "nsq.tls_key_file=",
    "nsq.tls_server_name=",
    "nsq.auth_secret_env=",
    "nsq.auth_secret_file=",
    "nsq.compression=",
    "client.enabled=true",
    "client.record=",
    f"publish.url={config.DEFAULT_URL}",
    "publish.nsq_topic=",
    "publish.stdout=true",
    "publish.proxy=",
    "publish.token_env=",  # of another client; publishes get the token of the own one
    "publish.token_file=",
    "publish.totals_url=",
]


def own_service(folder: Path, overrides: list[str], config_file: str | None, *more: str) -> Service:
    """Return the service, not started yet. `folder`: where its state goes. `more`: the last settings."""
    return Service(folder / "state", [*OWN_ADDRESSES, *overrides, *OWN_SETTINGS, *more], config_file)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within this, SIGTERM and SIGHUP raise `KeyboardInterrupt` as Ctrl-C does, so that all is cleaned up.

    One that is ignored (nohup) stays ignored.
    """
    taken = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
