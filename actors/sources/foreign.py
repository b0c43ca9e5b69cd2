"""What an answer is that no nsqd gives, in words, and what to do about it. Pure."""

IN_THE_CLEAR = (
    "it agreed to TLS and then answered in the clear, expected TLS: nothing more was sent to it. Does "
    "something stand between us and nsqd? Name nsqd's own TCP port, often 4150"
)
_TLS_RECORDS = range(0x14, 0x18)  # the first byte of each record of TLS; the second is 3


def foreign(head: bytes) -> str:
    """Return what an answer is whose first four bytes can't be the size of a frame."""
    if head == b"HTTP":
        return "a web server answers; expected nsqd's TCP port, often 4150"
    if head[0] in _TLS_RECORDS and head[1] == 3:
        return (
            "it answers with TLS from the first byte, and nsqd begins TLS only after IDENTIFY; expected "
            "nsqd's own TCP port, often 4150, and nsq.tls = true where it wants TLS"
        )
    size = int.from_bytes(head, signed=True)
    return f"a frame of {size} bytes, so no nsqd answers; expected nsqd's TCP port, often 4150"
