"""The reference client as a process of its own, for the tests of its page."""

import http.client
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

from tests.support.patience import PATIENCE_S

ROOT = pathlib.Path(__file__).parents[2]


class Client:
    """`python -m actors.client` that can be killed and started again on its port."""

    def __init__(self, path: pathlib.Path):
        self._path, self.port, self._batches = path, 0, 0
        self._reader: threading.Thread | None = None
        self.begin()

    def begin(self) -> None:
        """Start it; `start` waits until it is ready too."""
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "actors.client",
                "--address",
                f"127.0.0.1:{self.port}",
                "--data-path",
                str(self._path),
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_ready(self) -> None:
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r"ready at http://127\.0\.0\.1:(\d+)/", line)
        assert found, f"the client says {line!r}"
        self.port = int(found.group(1))
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reader.start()

    def start(self) -> None:
        self.begin()
        self.wait_ready()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._reader is not None:
            self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def tell(
        self, totals: dict[str, int], age_s: float = 0.0, trigger: str = "deadline", **headers: str
    ) -> None:
        self._batches += 1
        batch = f"batch-{self._batches}"
        arrived_at_ns = time.time_ns() - int(age_s * 1e9)
        rows = [
            {"video_id": video_id, "plays": plays, "arrived_at_ns": arrived_at_ns}
            for video_id, plays in totals.items()
        ]
        body = json.dumps({"batch": batch, "trigger": trigger, "videos": rows})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("POST", "/plays", body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()

    def tell_all(self, totals: dict[str, int]) -> None:
        rows = list(totals.items())
        for start in range(0, len(rows), 20):
            self.tell(dict(rows[start : start + 20]))
