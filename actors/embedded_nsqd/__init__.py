"""An nsqd in Python: the default queue for one machine, not a replacement for nsqd.

It speaks nsqd 1.3.0's TCP protocol V2 and its HTTP interface, keeps what it acknowledged in
one SQLite journal, and lives in the asyncio or tornado loop that starts it. Use it to run
playtally where no nsqd is installed. It has no TLS, no compression, no authentication and no
nsqlookupd, and it uses one core of one machine. If you need more, run the real nsqd and name it
in config.toml; nothing else changes.

Its promises, some of which nsqd does not make:

- A message that was answered with OK survives a kill -9 of this process: the commit comes before the
  OK. nsqd keeps up to mem-queue-size messages in memory only. A power cut may still take the last moments.
- A journal that lacks anything, or has a changed byte, is refused at the start, by name and with what to do.
  It is left as it is. All of it is read for that: some 2 s for 1 GB or a million publishes.
- A FIN is durable within FINISH_FLUSH_MS. After a kill, messages finished in that last moment are delivered
  again.
- The attempts of a message survive a restart: those after which it came back. They are durable within
  FINISH_FLUSH_MS, so a kill forgets the attempts of that last moment, and those in flight.
- Messages in flight to a client that disconnects are delivered again at once. nsqd waits for
  their timeout.
- A message published with a delay keeps its due time over a restart. A delay asked for with
  REQ does not survive one: the message is then delivered at once.
- A message is delivered as soon as a client is ready for it: output_buffer_size and
  output_buffer_timeout are negotiated, and nothing waits for them.

Modules, each importing only those before it:

    limits names ids frames multi    what is allowed, and its form in bytes
    commands identify                bytes in, commands out
    segment subscriber leases        the parts of the queue; no socket, clock or disk
    channel ephemeral topic          the queue itself, also without socket, clock or disk
    journal_schema journal_check     the journal's tables and checksums; which journal is refused
    journal_file journal queue       what is written, and in which order
    edge                             the queue as TCP and HTTP see it: commits, deliveries
    answers connection               TCP
    stats http_request http_routes http
    listener server                  start and stop
    actor                            the child of the supervisor
"""
