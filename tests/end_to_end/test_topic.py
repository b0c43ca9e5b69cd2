"""A changed nsq.topic, on real processes: refused with exit code 4, until the command has accepted it."""

import subprocess
import sys

import pytest

from actors.system.exits import EXIT_DONE, EXIT_STORE, Failure
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S
from tests.support.services import ledger_totals, open_service, wait_caught_up

VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = b'{"video_id": "%b"}' % VIDEO.encode()


def test_a_changed_topic_is_refused_until_it_is_accepted(tmp_path):
    with open_service("embedded", tmp_path) as service:
        service.start()
        service.queue.put("plays", *[PLAY] * 3)
        wait_caught_up(service, 3)
        service.stop()
    with open_service("embedded", tmp_path, "nsq.topic=clicks") as service:
        with pytest.raises(Failure, match=r"(?s)ended with code 4.*'plays', and now it is 'clicks'"):
            service.start()
        assert service.process.wait() == EXIT_STORE
        words = [sys.executable, "supervisor.py", "accept-topic", *service.arguments]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, done.stdout) == (EXIT_DONE, ""), done.stderr
        assert "from now on; they have those of 'plays', and both add up" in done.stderr
        service.start()
        service.queue.put("clicks", PLAY)
        wait_caught_up(service, 4)
        assert ledger_totals(service) == {VIDEO: 4}
