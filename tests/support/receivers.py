"""The receivers of examples/, each as a process of its own that can be killed and started again."""

import hashlib
import hmac
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from actors.system.direct_http import open_directly
from actors.system.installation import ROOT
from tests.support.needed import lacking
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import free_ports

EXAMPLES = ROOT / "examples"
LANGUAGES = ["py", "js", "go"]
SECRETS = [b"the new secret", b"the old secret"]


def command_of(language: str, file: Path, folder: Path) -> list[str | Path]:
    """What starts a receiver. Builds it in `folder` where that is needed."""
    if language == "py":
        return [sys.executable, file]
    program = shutil.which({"js": "node", "go": "go"}[language])
    if program is None:
        lacking(f"no program on PATH that runs {file.name}")
    if language == "js":
        return [program, file]
    built = folder / "receiver"
    subprocess.run([program, "build", "-o", built, file], check=True, cwd=folder, timeout=600)
    return [built]


def signed(body: bytes, *secrets: bytes, stamp: str | None = None) -> dict[str, str]:
    """The headers of a body, as docs/publishing.md says. `stamp`: of the kind "timestamp"."""
    content = body if stamp is None else stamp.encode() + b"." + body
    each = [f"sha256={hmac.new(one, content, hashlib.sha256).hexdigest()}" for one in secrets]
    headers = {"X-Playtally-Signature": ", ".join(each)}
    return headers if stamp is None else {**headers, "X-Playtally-Timestamp": stamp}


def publish_of(batch: object, totals: dict[str, Any]) -> bytes:
    """The body of a publish."""
    videos = [{"video_id": video, "plays": plays, "arrived_at_ns": 1} for video, plays in totals.items()]
    return json.dumps({"batch": batch, "trigger": "realtime", "videos": videos}).encode()


class Receiver:
    """A receiver that listens, until its `with` ends. It knows both of `SECRETS`, as files."""

    def __init__(self, command: Sequence[str | Path], folder: Path) -> None:
        self.folder = folder
        self.file = folder / "totals"
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        self.url, self.totals_url = (f"http://{self.address}/{name}" for name in ("plays", "totals"))
        self.secret_files = [folder / "new", folder / "old"]
        for path, secret in zip(self.secret_files, SECRETS, strict=True):
            path.write_bytes(secret + b"\n")
        self._command = [*command, *self.address.split(":"), self.file, *self.secret_files]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with open(self.folder / "log", "ab") as log:
            self._process = process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

        def answers() -> bool:
            assert process.poll() is None, (self.folder / "log").read_text()
            try:
                self.totals()
            except OSError:
                return False
            return True

        wait_until(answers, "the receiver to answer")

    def kill(self) -> None:
        """SIGKILL it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def totals(self) -> dict[str, int]:
        """Its answer to GET /totals."""
        with open_directly(self.totals_url, PATIENCE_S) as answer:
            found: dict[str, int] = json.load(answer)
            return found

    def send(self, body: bytes, headers: dict[str, str], path: str = "/plays") -> int:
        """POST a body. Returns the status of the answer."""
        return self.ask(body, headers, path)[0]

    def ask(self, body: bytes, headers: dict[str, str], path: str = "/plays") -> tuple[int, str]:
        """POST a body. Returns the status and the text of the answer."""
        request = urllib.request.Request(f"http://{self.address}{path}", body, headers)
        try:
            with open_directly(request, PATIENCE_S) as answer:
                assert answer.headers["Accept-Encoding"] == "gzip"
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def take(self, batch: object, totals: dict[str, Any]) -> int:
        """POST a publish, signed now. Returns the status of the answer."""
        body = publish_of(batch, totals)
        return self.send(body, signed(body, SECRETS[0], stamp=str(int(time.time()))))
