"""A real nsqd with TLS, with AUTH or both, and the auth server that it asks."""

import contextlib
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import Authority
from tests.support.patience import PATIENCE_S
from tests.support.queues import QueueProcess, free_ports, require_nsqd

SECRET = "7c-the-secret-of-the-tests-e1"  # a word that is nowhere else, so that a test can look for it
COMPRESSIONS = ["", "snappy", "deflate"]


class AuthServer:
    """Answers nsqd's questions who may do what. `allows`: the secrets that are taken."""

    def __init__(self, ttl_s: int = 3600):
        self.allows = {SECRET}
        self.channels = [".*"]
        self.ttl_s = ttl_s
        self.asked: list[str] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                secret = parse_qs(urlsplit(self.path).query).get("secret", [""])[0]
                owner.asked.append(secret)
                body = json.dumps(owner.answer(secret)).encode()
                self.send_response(200 if secret in owner.allows else 403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def answer(self, secret: str) -> dict[str, Any]:
        if secret not in self.allows:
            return {"message": "NOT_AUTHORIZED"}
        may = {"topic": ".*", "channels": self.channels, "permissions": ["subscribe", "publish"]}
        return {"ttl": self.ttl_s, "identity": "a test", "identity_url": "", "authorizations": [may]}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class SecuredNsqd(QueueProcess):
    """One nsqd. It is asked over https, if it has TLS."""

    def __init__(
        self,
        path: Path,
        *options: str,
        authority: Authority | None = None,
        certificate: tuple[Path, Path] | None = None,
        auth: AuthServer | None = None,
        in_memory: bool = False,
    ):
        """`authority`: gives nsqd its certificate, unless there is a `certificate` (its key, and itself)."""
        require_nsqd()
        self.https_address = f"127.0.0.1:{free_ports(1)[0]}"
        self._tls: ssl.SSLContext | None = None
        given = [] if in_memory else ["--mem-queue-size=0", "--sync-every=500"]
        if authority is not None:
            key, own = certificate or authority.issue("nsqd")
            given += [f"--tls-cert={own}", f"--tls-key={key}", f"--https-address={self.https_address}"]
            self._tls = ssl.create_default_context(cafile=str(authority.ca_file))
            self._tls.load_cert_chain(*reversed(authority.issue("the test")))
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE  # whatever a test gives nsqd
        if auth is not None:
            given.append(f"--auth-http-address={auth.address}")
        super().__init__("nsqd", path, options=[*given, *options])

    def http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        if self._tls is None:
            return super().http(method, path, body)
        url = f"https://{self.https_address}{path}"
        request = urllib.request.Request(url, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S, context=self._tls) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@contextlib.contextmanager
def secured_nsqd(path: Path, *options: str, **more: Any) -> Iterator[SecuredNsqd]:
    """A running nsqd: see `SecuredNsqd`. It is killed at the end."""
    nsqd = SecuredNsqd(path, *options, **more)
    try:
        nsqd.start()
        yield nsqd
    finally:
        nsqd.close()
