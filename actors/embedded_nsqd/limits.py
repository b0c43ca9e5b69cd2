"""Every limit of the embedded nsqd, with its reason. Knows nothing else.

The limits under "As nsqd" are the defaults of nsqd 1.3.0 (nsqd/options.go): the answer to IDENTIFY tells
clients some of them, and clients depend on the rest.
"""

# As nsqd: what clients may send and ask for.
MESSAGE_SIZE_MAX = 1024 * 1024
BODY_SIZE_MAX = 5 * 1024 * 1024
MPUB_MESSAGES_MAX = (BODY_SIZE_MAX - 4) // 5
LINE_SIZE_MAX = 16 * 1024
NAME_LENGTH_MAX = 64
READY_COUNT_MAX = 2500
HEARTBEAT_DEFAULT_MS = 30_000
HEARTBEAT_MIN_MS = 1_000
HEARTBEAT_MAX_MS = 60_000
MESSAGE_TIMEOUT_DEFAULT_MS = 60_000
MESSAGE_TIMEOUT_MIN_MS = 1_000
MESSAGE_TIMEOUT_MAX_MS = 15 * 60_000
REQUEUE_DELAY_MAX_MS = 60 * 60_000
OUTPUT_BUFFER_SIZE_DEFAULT = 16 * 1024
OUTPUT_BUFFER_SIZE_MIN = 64
OUTPUT_BUFFER_SIZE_MAX = 64 * 1024
OUTPUT_BUFFER_TIMEOUT_DEFAULT_MS = 250
OUTPUT_BUFFER_TIMEOUT_MIN_MS = 25
OUTPUT_BUFFER_TIMEOUT_MAX_MS = 30_000
SAMPLE_RATE_MAX = 99
DEFLATE_LEVEL_MAX = 6
ATTEMPTS_MAX = 65_535

# Timeouts, due times and heartbeats are checked this often, as by nsqd's queue scan.
SCAN_INTERVAL_MS = 100
# While nothing is in flight, delayed or to be written down, this often. A timeout is a second at least.
QUIET_SCAN_INTERVAL_MS = 1_000
HEARTBEAT_LATE_SHARE = 1 / 4  # of its interval: a heartbeat is late by no more

# A FIN is written down within this time, so that one commit covers many.
FINISH_FLUSH_MS = 50

# One journal row holds at most the messages of one tick of the id clock (12 bits of sequence)
# and about this many bytes, so that reading a row back never takes long.
SEGMENT_BYTES_MAX = 1024 * 1024

# A channel holds at most this much of its backlog in memory, as nsqd's mem-queue-size bounds it.
# The rest stays in the journal and is read when there is room. Messages in flight (bounded
# by RDY) and deferred ones come on top, as in nsqd.
MEMORY_MESSAGES_MAX = 50_000
MEMORY_BYTES_MAX = 64 * 1024 * 1024
# An ephemeral channel, or an ephemeral topic without a channel, keeps at most this many messages: nsqd's
# mem-queue-size. It drops what comes beyond, so that a reader that was left behind fills no disk.
EPHEMERAL_MESSAGES_MAX = 10_000
# The journal is read while fewer messages than this are ready. One read stops after REFILL_MESSAGES or
# REFILL_BYTES, so that the loop stays quick.
REFILL_BELOW_MESSAGES = 5_000
REFILL_MESSAGES = 10_000
REFILL_BYTES = 4 * 1024 * 1024

# A client gets no more messages while this many bytes wait in its socket buffer.
WRITE_BUFFER_MAX = 1024 * 1024
# The most bytes given to a client at once: large enough that a write is cheap, small enough to be fair.
GIFT_BYTES_MAX = 256 * 1024
# Only answers can fill a buffer this far. Nothing more is read from the client until it reads them.
ANSWER_BUFFER_MAX = 4 * 1024 * 1024

# Commit early when one turn of the loop has read this many bytes, so that staging stays bounded.
STAGED_BYTES_MAX = 16 * 1024 * 1024
STAGED_MESSAGE_BYTES = 34  # of each message besides its body: a million of one byte each are not small

# Of HTTP bodies larger than this, one turn of the loop publishes one: a body of short lines takes a while.
TURN_BODY_BYTES = 256 * 1024

# After a turn of the loop that was longer than this, clients have this much longer to answer heartbeats.
STALL_MS = 500

# A command or an HTTP body has to be here within this time, for a command it is nsqd's own by default.
# All that are not complete have at most this many bytes together: a thousand could hold 5 GB for long.
BODY_TIMEOUT_S = 60
UPLOADS_BYTES_MAX = 64 * 1024 * 1024
