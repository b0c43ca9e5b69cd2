"""All benchmarks, one after the other: `python -m bench`. Ratios within one run, not promises."""

from . import pipeline, queue

queue.main()
pipeline.main()
