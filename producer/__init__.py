"""The producer puts plays on the queue, and knows exactly which plays the queue acknowledged.

`python -m producer` makes a load whose totals are known before the first play is sent. It sends the
load to the queue that the service reads. It writes what the queue acknowledged to a file, the
manifest. The service's totals are compared with that file.

    arguments   the command line and the settings; it reports all problems at once
    workload    the videos, their numbers of plays and the order (pure; a seed decides all)
    pace        when each play is due (pure: callers pass the time)
    deliveries  the plays waiting, in flight, acknowledged, or of unknown outcome (pure)
    discovery   where the queue is
    retries     when a lost nsqd is tried again (pure)
    writer      a subclass of pynsq's Writer that connects and sends faster
    publisher   sends the plays with the writer, at the pace
    manifest    the file with what the queue acknowledged
    progress    the progress shown on stderr
"""
