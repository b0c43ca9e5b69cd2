"""What IDENTIFY asks of one nsqd. A value that the nsqd refuses is left out the next time.

Then the nsqd's own value holds. Its answer to IDENTIFY states that value.
"""

import re
from typing import Any

# How long a message may wait in nsqd's buffer if fewer than RDY are in flight. This is the least that nsqd
# allows by default (min-output-buffer-timeout).
OUTPUT_BUFFER_TIMEOUT_MS = 25
OUTPUT_BUFFER_BYTES = 64 * 1024
# nsqd sends a heartbeat this often. It closes a connection that answers none for twice as long.
HEARTBEAT_MS = 4000
HEARTBEAT_MS_MIN = 1000  # the least that an nsqd takes
OWN_HEARTBEAT_MS = 30_000  # an nsqd's own value, unless it is told otherwise (-client-timeout)
_REFUSAL = re.compile(rb"E_BAD_BODY IDENTIFY ([a-z ]+) \(-?\d+\) is invalid")


class Offers:
    """The values to ask for."""

    def __init__(self, msg_timeout_s: float):
        """`msg_timeout_s`: nsqd shall give a message again that is not finished for so long."""
        self.values = {
            "heartbeat_interval": HEARTBEAT_MS,
            "msg_timeout": round(msg_timeout_s * 1000),
            "output_buffer_size": OUTPUT_BUFFER_BYTES,
            "output_buffer_timeout": OUTPUT_BUFFER_TIMEOUT_MS,
        }
        self.refused: list[str] = []
        self.client_id = ""  # what nsqd shall call our connections; "" leaves pynsq's, this host's name

    @property
    def heartbeat_ms(self) -> int:
        """How often nsqd sends a heartbeat, in milliseconds."""
        return self.values.get("heartbeat_interval", OWN_HEARTBEAT_MS)

    def put_into(self, identity: dict[str, Any]) -> None:
        """Set the values of an IDENTIFY, in place of pynsq's."""
        for key in ("heartbeat_interval", "msg_timeout", "output_buffer_size", "output_buffer_timeout"):
            identity.pop(key, None)
        identity |= self.values
        if self.client_id:
            identity["client_id"] = self.client_id

    def learn(self, error: bytes) -> bool:
        """Leave out the value that this error of nsqd names. Returns whether there is one."""
        found = _REFUSAL.match(error)
        key = found[1].decode().replace(" ", "_") if found else ""
        if key not in self.values:
            return False
        if key == "heartbeat_interval" and self.values[key] > HEARTBEAT_MS_MIN:
            self.values[key] = HEARTBEAT_MS_MIN  # a dead nsqd is noticed in time with that
        else:
            del self.values[key]
            self.refused.append(key)
        return True
