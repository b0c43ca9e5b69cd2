"""The main benchmarks, one after the other: `python -m bench`. Compare figures of one run only."""

from tests.support.queues import nsqd_path

from . import drain, idle, latency, pipeline, queue

queue.main()
pipeline.main()
latency.main()
idle.main()
if nsqd_path():
    drain.main()
