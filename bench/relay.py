"""The least that can pass a play on: one process without an event loop, which keeps nothing.

    python -m bench.relay ADDRESS TOPIC URL

It reads the topic on the channel "relay" of the queue at ADDRESS, with an RDY of 1, and POSTs each play to
URL as a publish of one video. It finishes the message once the client has answered. `bench.lone` measures the
service beside it. It counts nothing and stores nothing: no service can take less.
"""

import json
import socket
import subprocess
import sys
from urllib.parse import urlsplit

from actors.system.installation import ROOT
from tests.support.queues import RawClient

from .command import parser

CHANNEL = "relay"
DAY_S = 86_400.0


def start(address: str, topic: str, url: str) -> "subprocess.Popen[bytes]":
    """Start the relay in its own process."""
    return subprocess.Popen([sys.executable, "-m", "bench.relay", address, topic, url], cwd=ROOT)


def main() -> None:
    """Relay until a signal."""
    arguments = parser(__doc__)
    arguments.add_argument("address")
    arguments.add_argument("topic")
    arguments.add_argument("url")
    options = arguments.parse_args()
    url = urlsplit(options.url)
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: %d\r\n\r\n".encode()
    with socket.create_connection((url.hostname, url.port)) as client, RawClient(options.address) as queue:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        queue.subscribe(options.topic, CHANNEL, ready=1)
        while True:
            message = queue.message(DAY_S)
            video = json.loads(message.body)["video_id"]
            told = {"video_id": video, "plays": 1, "arrived_at_ns": message.stamp_ns}
            publish = json.dumps({"videos": [told]}).encode()
            client.sendall(head % len(publish) + publish)
            answer = client.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n"), answer
            queue.finish(message.id)


if __name__ == "__main__":
    main()
