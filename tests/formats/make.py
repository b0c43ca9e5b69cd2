"""Makes a stored state in the present formats, for tests/end_to_end/test_formats.py.

    python -m tests.formats.make NAME

Writes `NAME.tar.xz`, the state folder of a killed service, and `NAME.json`, the expected content. Run it when
a format changes. Never make an existing state again: it was written by the code of its time.
"""

import contextlib
import json
import random
import shutil
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from actors.embedded_nsqd.journal import QueueJournal
from actors.embedded_nsqd.queue import Queue
from actors.store import TotalsReader
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import PATIENT, open_service, wait_caught_up, wait_counted, wait_status

HERE = Path(__file__).parent
VIDEOS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 6)]
HOT = 120  # plays of the first video
LEFT = 5  # messages that no consumer has read
NOT_STATE = {"publishes.jsonl", "service.log", "service.json", "service.lock", "service.held"}


def unpack(name: str, folder: Path) -> Path:
    """Unpack a stored state. Returns the state folder."""
    with tarfile.open(HERE / f"{name}.tar.xz") as archive:
        # The filter came with Python 3.11.4, and is asked for from 3.12 on.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder / "state"


def main(name: str) -> None:
    """Make the two files."""
    if (HERE / f"{name}.json").exists():
        raise SystemExit(f"{name} is there already, expected another name")
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        facts = _live(Path(folder))
        for one in NOT_STATE:
            (state / one).unlink(missing_ok=True)
        with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as archive:
            archive.add(state, "state")
    (HERE / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


def _live(folder: Path) -> dict[str, object]:
    """A service with published plays, one batch in doubt, and waiting messages; then it is killed."""
    with open_service("embedded", folder, *PATIENT, "dispatch.deadline_s=2") as service:
        service.start()
        bodies = [b'{"video_id": "%b"}' % video.encode() for video in VIDEOS]
        service.queue.put("plays", *bodies[:1] * HOT, *bodies, b"no play")
        wait_caught_up(service, HOT + len(VIDEOS))
        service.stop()
    silent = RecordingClient(lambda number, publish: Reply(0))
    with silent, open_service("embedded", folder, *PATIENT, f"publish.url={silent.url}") as service:
        service.start()
        service.queue.put("later", *bodies[:1] * LEFT)
        service.queue.put("plays", bodies[1])
        wait_counted(service, HOT + len(VIDEOS) + 1)
        wait_status(service, lambda status: status["publishes"]["failed"] > 0, "a batch in doubt")
        time.sleep(1)  # until the queue has written what is finished: see `_unfinished`
        service.kill()
        rows = TotalsReader(str(service.state_dir)).read()
    # A play that the queue would redeliver is only known for `counters.dedupe_window_s`.
    assert _unfinished(folder / "state" / "nsqd", folder / "copy") == 0
    return {"totals": {video.hex(): total for video, total, _ in rows}, "left": LEFT}


def _unfinished(journal: Path, copy: Path) -> int:
    """The number of plays that the queue would redeliver after a start, by its journal."""
    shutil.copytree(journal, copy)
    with contextlib.closing(QueueJournal(copy)) as opened:
        return Queue(opened, 1, random.Random(1)).topics["plays"].channels["playtally"].depth


if __name__ == "__main__":
    main(sys.argv[1])
