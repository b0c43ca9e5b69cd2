"""What the embedded queue has yet to mend. To be removed with it."""

import pytest

from tests.support.queues import QueueProcess


def until_stats_are_mended(request: pytest.FixtureRequest, queue: QueueProcess) -> None:
    """nsqadmin and nsq_stat crash on `"e2e_processing_latency": null` in /stats."""
    if queue.kind == "embedded":
        reason = "e2e_processing_latency of the embedded queue's /stats is null"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
