"""An nsqd in Python: the default queue for one machine, not a replacement for nsqd.

It speaks nsqd 1.3.0's TCP protocol V2 and its HTTP interface, keeps what it acknowledged in
one SQLite journal, and lives in the asyncio or tornado loop that starts it. Use it to run
playtally where no nsqd is installed. It has no TLS, no compression, no authentication, no
nsqlookupd, no second machine, and one core: for any of these, run the real nsqd and name it
in config.toml; nothing else changes.

What it promises, and the real one does not all promise:

- What it answered OK to survives its own kill -9: the commit comes before the OK. nsqd keeps
  up to mem-queue-size messages in memory only. A power cut may still take the last moments.
- A FIN is durable within FINISH_FLUSH_MS. After a kill, messages finished in that last moment
  are delivered again, with attempts starting from 1.
- Messages in flight to a client that disconnects are delivered again at once. nsqd waits for
  their timeout.
- A message published with a delay keeps its due time over a restart. A delay asked for with
  REQ does not survive one: the message is then delivered at once.
- A message is delivered as soon as a client is ready for it: output_buffer_size and
  output_buffer_timeout are negotiated, and nothing waits for them.

Modules, each importing only those before it: limits; names, ids, frames, multi; commands (bytes
in, commands out), identify; segment, subscriber, channel, topic (the queue itself: no socket,
clock or disk); journal_file, journal, queue (what is written in which order); connection, stats;
listening, server (the loop, the commits); http_request, http_routes, http.
"""

from .journal_file import JournalError, JournalLocked, JournalTooNew, NotAJournal
from .listening import ListenError
from .server import EmbeddedNsqd

__all__ = [
    "EmbeddedNsqd",
    "JournalError",
    "JournalLocked",
    "JournalTooNew",
    "ListenError",
    "NotAJournal",
]
