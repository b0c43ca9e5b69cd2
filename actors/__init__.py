# -*- coding: utf-8 -*-  # noqa: UP009 - else Python 2.7 cannot read this, to be told that it is too old
"""playtally's actors: OS processes that share nothing and pass msgpack over pipes.

    supervisor.py
    ├── nsqd            embedded queue; only where the config names no nsqd and no nsqlookupd
    ├── client          the reference client
    ├── dispatcher      deadline heap, batches of twenty, sinks
    ├── counters        the counters' own supervisor
    │   └── counter-0 … N   one SQLite ledger each
    └── consumer        nsqd -> counters; there may be several

    nsqd ──plays──▶ consumer ──Plays────▶ counter-k ──Pending───▶ dispatcher ──publish──▶ client
      ◀────FIN────          ◀──Counted──           ◀──Collect────
                                                   ──Collected──▶
                                                   ◀──Published──

Imports go one way only, and a test checks it:

    core <- system, version
        <- config
        <- sources, sinks, store
        <- supervision
        <- consumer, counter, dispatcher, client, embedded_nsqd
        <- preload, tree
        <- service, cluster
        <- cli
        <- supervisor.py

`core/` is pure: no I/O, no clock, no randomness, no logging. Actors never import one another.
The folders of `core/` never import one another. `supervision/` imports nothing else of `actors`: it is a
library (docs/supervision.md).
"""
