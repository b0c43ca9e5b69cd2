"""The producer: puts plays on the queue, and knows afterwards exactly which.

`python -m producer` makes a load whose totals are known before the first play is sent, sends it to
the queue that the service reads, and writes down what the queue acknowledged. That file is what the
totals of the service are held against.

    arguments   what was asked for; every problem with it at once
    workload    which videos, how many plays each, in which order (pure, seeded: the oracle)
    pace        when each play is due (pure: callers pass the time)
    deliveries  what is waiting, in flight, acknowledged, of unknown outcome (pure)
    discovery   where the queue is
    writer      pynsq's Writer, quick to connect and quick to send
    publisher   carries the deliveries over the writer, at the pace
    manifest    the file with what the queue acknowledged
    progress    what is said on stderr meanwhile
"""
