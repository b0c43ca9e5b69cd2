"""How large what we publish on one nsqd may be. nsqd tells its limits only when it refuses something."""

import re

MESSAGE_BYTES_MAX = 1024 * 1024  # nsqd's own max-msg-size, unless it is set otherwise
BODY_BYTES_MAX = 4 * 1024 * 1024  # of an MPUB; nsqd's own max-body-size is 5 MiB
BYTES_MIN = 1
_TOO_BIG = re.compile(rb"E_BAD_(?:MESSAGE|BODY) M?PUB (message|body) too big \d+ > (\d{1,15})(?!\d)")
_REFUSED = re.compile(rb"E_BAD_(MESSAGE|BODY)\b")


class Limits:
    """What is known of one nsqd's limits."""

    def __init__(self) -> None:
        self.message_bytes = MESSAGE_BYTES_MAX
        self.body_bytes = BODY_BYTES_MAX

    def learn(self, error: bytes) -> None:
        """Learn from the error with which nsqd refused a publish. Without numbers in it, the limits halve."""
        told = _TOO_BIG.match(error)
        refused = _REFUSED.match(error)
        if told is not None:
            limit = max(BYTES_MIN, int(told[2]))
            if told[1] == b"message":
                self.message_bytes = min(self.message_bytes, limit)
            else:
                self.body_bytes = min(self.body_bytes, limit)
        elif refused is not None:
            self.message_bytes = max(BYTES_MIN, self.message_bytes // 2)
