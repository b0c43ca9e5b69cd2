"""All benchmarks, one after the other: `python -m bench`. Ratios within one run, not promises."""

import sys

from tests.support.queues import nsqd_path

from . import drain, idle, latency, pipeline, queue

queue.main()
pipeline.main()
latency.main()
idle.main()
if nsqd_path():
    drain.main()
else:
    print("no nsqd on PATH, so no drain of a real one: `make nsqd` builds it", file=sys.stderr)
