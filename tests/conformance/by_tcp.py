"""Conversations in which one client speaks NSQ's protocol, and nothing is delivered."""

import struct

from tests.conformance.conversation import GOODBYE, Conversation, Talk, identify, spoken
from tests.support.queues import multi, sized

UNKNOWN = b"0123456789abcdef"
SUB = b"SUB {topic} c\n"
MESSAGE_MAX, BODY_MAX = 1024 * 1024, 5 * 1024 * 1024


def _size(number: int) -> bytes:
    return struct.pack(">i", number)


def _identified(name: str, **settings: object) -> Conversation:
    return spoken(f"IDENTIFY with {name}", identify(**settings))


def _body(name: str, body: bytes) -> Conversation:
    return spoken(f"IDENTIFY with {name}", b"IDENTIFY\n" + sized(body))


def _ended(name: str, *pieces: bytes) -> Conversation:
    """One client says this and closes its sending half."""
    return Conversation(name, lambda talk: talk.client().say(*pieces).stops_saying().hears_all() and None)


def _byte_by_byte(talk: Talk) -> None:
    said = b"PUB {topic}\n" + sized(b"body") + SUB
    talk.client().say(*(bytes([byte]) for byte in talk.filled(said))).ends()


MAGICS = [
    Conversation("no magic but V1", lambda talk: talk.client(b"  V1").hears_all() and None),
    Conversation(
        "no magic but HTTP", lambda talk: talk.client(b"GET / HTTP/1.1\r\n\r\n").hears_all() and None
    ),
    Conversation(
        "half a magic, then the end", lambda talk: talk.client(b"  ").stops_saying().hears_all() and None
    ),
    Conversation("the magic in pieces", lambda talk: talk.client(b" ").say(b" ", b"V", b"2").ends()),
    _ended("the magic and nothing more"),
]

IDENTIFIES = [
    spoken("IDENTIFY without features negotiated", b"IDENTIFY\n" + sized(b"{}")),
    _identified("nothing asked for"),
    _identified(
        "every key",
        client_id="id",
        hostname="host",
        user_agent="agent/1",
        heartbeat_interval=1000,
        output_buffer_size=64,
        output_buffer_timeout=25,
        sample_rate=99,
        msg_timeout=1000,
    ),
    _identified(
        "the highest values",
        heartbeat_interval=60_000,
        output_buffer_size=65_536,
        output_buffer_timeout=30_000,
        msg_timeout=900_000,
    ),
    _identified("heartbeats off", heartbeat_interval=-1),
    _identified("a heartbeat that is too short", heartbeat_interval=999),
    _identified("a heartbeat that is too long", heartbeat_interval=60_001),
    _identified("a heartbeat of -2", heartbeat_interval=-2),
    _identified("no output buffer", output_buffer_size=-1),
    _identified("an output buffer that is too small", output_buffer_size=63),
    _identified("an output buffer that is too large", output_buffer_size=65_537),
    _identified("no output buffer timeout", output_buffer_timeout=-1),
    _identified("an output buffer timeout that is too short", output_buffer_timeout=24),
    _identified("an output buffer timeout that is too long", output_buffer_timeout=30_001),
    _identified("a sample rate of 100", sample_rate=100),
    _identified("a sample rate of -1", sample_rate=-1),
    _identified("a timeout that is too short", msg_timeout=999),
    _identified("a timeout that is too long", msg_timeout=900_001),
    _identified("a timeout of -1", msg_timeout=-1),
    _identified("TLS", tls_v1=True),
    _identified("a deflate level alone", deflate_level=3),
    _identified("snappy and deflate", snappy=True, deflate=True),
    Conversation(
        "IDENTIFY with snappy", lambda talk: talk.client().say(identify(snappy=True)).hears(1) and None
    ),
    Conversation(
        "IDENTIFY with deflate", lambda talk: talk.client().say(identify(deflate=True)).hears(1) and None
    ),
    _identified("an unknown key", what_is_this=1),
    _identified("a null", heartbeat_interval=None, client_id=None),
    _body("null", b"null"),
    _body("a list", b"[]"),
    _body("half an object", b"{"),
    _body("two objects", b"{}{}"),
    _body("a number as text", b'{"msg_timeout": "1000"}'),
    _body("a fraction", b'{"msg_timeout": 1000.5}'),
    _body("a whole number with a point", b'{"msg_timeout": 1000.0}'),
    _body("a whole number with an exponent", b'{"msg_timeout": 1e3}'),
    _body("a number beyond 64 bits", b'{"msg_timeout": 9223372036854775808}'),
    _body("a sample rate beyond 32 bits", b'{"sample_rate": 4294967297}'),
    _body("a key in capitals", b'{"FEATURE_NEGOTIATION": true, "Msg_Timeout": 2000}'),
    _body("a key twice", b'{"feature_negotiation": true, "msg_timeout": 2000, "msg_timeout": 3000}'),
    _body("bytes that are no UTF-8", b'{"feature_negotiation": true, "client_id": "\xff"}'),
    _body("half a surrogate", b'{"feature_negotiation": true, "client_id": "\\ud800"}'),
    _body("space around", b' \n{"feature_negotiation": true}\t '),
    _body("a byte order mark", b'\xef\xbb\xbf{"feature_negotiation": true}'),
    _body("deep nesting", b'{"x": ' + b"[" * 9_000 + b"]" * 9_000 + b"}"),
    _body("nesting too deep", b'{"x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    spoken("IDENTIFY with more words", b"IDENTIFY a b\n" + sized(b"{}")),
    spoken("IDENTIFY twice", identify(msg_timeout=2000, output_buffer_size=64), identify(client_id="b")),
    spoken("IDENTIFY twice, the second refused", identify(), identify(msg_timeout=1)),
    spoken("IDENTIFY after SUB", SUB, identify()),
    spoken("IDENTIFY of no bytes", b"IDENTIFY\n" + _size(0)),
    spoken("IDENTIFY of -1 bytes", b"IDENTIFY\n" + _size(-1)),
    spoken("IDENTIFY of too many bytes", b"IDENTIFY\n" + _size(BODY_MAX + 1)),
    spoken("IDENTIFY of as many bytes as may be", b"IDENTIFY\n" + sized(b"{}".ljust(BODY_MAX))),
]

NAMES = [
    spoken(f"SUB of {name}", b"SUB %b %b\n" % (topic, channel))
    for name, topic, channel in (
        ("names with dots, dashes and underscores", b"{topic}.a-b_c", b".-_"),
        ("an ephemeral topic and channel", b"{topic}#ephemeral", b"c#ephemeral"),
        ("a topic of 64 letters", b"t" * 64, b"c"),
        ("a topic of 65 letters", b"t" * 65, b"c"),
        ("a channel of 64 letters", b"{topic}", b"c" * 64),
        ("a channel of 65 letters", b"{topic}", b"c" * 65),
        ("an ephemeral topic of 65 letters", b"t" * 55 + b"#ephemeral", b"c"),
        ("a topic with an exclamation mark", b"a!b", b"c"),
        ("a channel with a slash", b"{topic}", b"a/b"),
        ("a topic with another suffix", b"{topic}#other", b"c"),
        ("a topic that is ephemeral twice", b"{topic}#ephemeral#ephemeral", b"c"),
        ("nothing but a suffix", b"#ephemeral", b"c"),
        ("a channel of nothing but a suffix", b"{topic}", b"#ephemeral"),
        ("a topic of no letters", b"", b"c"),
        ("a channel of no letters", b"{topic}", b""),
        ("a topic that is no UTF-8", b"\xff\xfe", b"c"),
        ("a topic of another script", "b\u00e9\u4e2d\U0001f600".encode(), b"c"),
        ("a topic of what can't be printed", b'\x00\x07\x1b\x7f\\"', b"c"),
        ("a topic of spaces that are no space", "\u00a0\u2028\ufeff\ue000".encode(), b"c"),
        ("a topic with a tab", b"a\tb", b"c"),
        ("a topic with a carriage return", b"a\rb", b"c"),
    )
]

COMMANDS = [
    spoken("NOP", b"NOP\n"),
    spoken("NOP with more words", b"NOP a b c\n"),
    spoken("an empty line", b"\n"),
    spoken("a line of spaces", b"   \n"),
    spoken("an unknown command", b"HELLO world\n"),
    spoken("a command in small letters", b"pub {topic}\n"),
    spoken("a command that is no UTF-8", b"\xff\xfe\n"),
    spoken("a command with a space before it", b" NOP\n"),
    spoken(
        "lines that end as on Windows", b"NOP\r\n", b"PUB {topic}\r\n" + sized(b"a"), b"SUB {topic} c\r\n"
    ),
    spoken("a carriage return alone", b"\r\n"),
    spoken("two carriage returns", b"NOP\r\r\n"),
    spoken("two spaces between words", b"PUB  {topic}\n"),
    spoken("a space at the end of PUB", b"PUB {topic} \n" + sized(b"a")),
    spoken("a space at the end of SUB", b"SUB {topic} c \n"),
    spoken("a line of 16 KiB", b"X" * (16 * 1024 - 1) + b"\n"),
    spoken("a line longer than 16 KiB", b"X" * (16 * 1024) + b"\n"),
    spoken("a NOP of 16 KiB", b"NOP ".ljust(16 * 1024 - 1, b"x") + b"\n"),
    Conversation("everything byte by byte", _byte_by_byte),
    spoken("a goodbye twice", GOODBYE),
    spoken("a thousand commands at once", b"NOP\n" * 500 + (b"PUB {topic}\n" + sized(b"a")) * 500),
    spoken("AUTH", b"AUTH\n" + sized(b"secret")),
    spoken("AUTH with more words", b"AUTH secret\n" + sized(b"secret")),
    spoken("AUTH of no bytes", b"AUTH\n" + _size(0)),
    spoken("AUTH of too many bytes", b"AUTH\n" + _size(BODY_MAX + 1)),
    spoken("AUTH after SUB", SUB, b"AUTH\n" + sized(b"secret")),
    spoken("RDY before SUB", b"RDY 1\n"),
    spoken("FIN before SUB", b"FIN %b\n" % UNKNOWN),
    spoken("FIN of no id before SUB", b"FIN\n"),
    spoken("REQ before SUB", b"REQ %b 0\n" % UNKNOWN),
    spoken("TOUCH before SUB", b"TOUCH %b\n" % UNKNOWN),
    spoken("CLS before SUB", b"CLS\n"),
    spoken("SUB without a channel", b"SUB {topic}\n"),
    spoken("SUB without anything", b"SUB\n"),
    spoken("SUB with more words", b"SUB {topic} c d e\n"),
    spoken("SUB twice", SUB, SUB),
    spoken("SUB without heartbeats", identify(heartbeat_interval=-1), SUB),
    spoken("SUB with a bad topic without heartbeats", identify(heartbeat_interval=-1), b"SUB a!b c\n"),
    spoken("SUB after PUB", b"PUB {topic}\n" + sized(b"a"), SUB),
    spoken("PUB after SUB", SUB, b"PUB {topic}\n" + sized(b"a")),
]

AFTER_SUB = [
    spoken(f"{name} after SUB", SUB, said)
    for name, said in (
        ("RDY 0", b"RDY 0\n"),
        ("RDY without a number", b"RDY\n"),
        ("RDY of the most", b"RDY 2500\n"),
        ("RDY of one more than the most", b"RDY 2501\n"),
        ("RDY of -1", b"RDY -1\n"),
        ("RDY of a word", b"RDY many\n"),
        ("RDY with a plus", b"RDY +1\n"),
        ("RDY of nothing", b"RDY \n"),
        ("RDY with zeros", b"RDY 0000000000000000000000001\n"),
        ("RDY of two to the 63rd", b"RDY 9223372036854775808\n"),
        ("RDY of two to the 64th", b"RDY 18446744073709551616\n"),
        ("RDY with more words", b"RDY 1 2 3\n"),
        ("FIN of an unknown message", b"FIN %b\n" % UNKNOWN),
        ("FIN of three unknown messages", b"FIN %b\n" % UNKNOWN * 3),
        ("FIN of a short id", b"FIN 0123\n"),
        ("FIN of a long id", b"FIN %b0\n" % UNKNOWN),
        ("FIN of no id", b"FIN\n"),
        ("FIN with more words", b"FIN %b more words\n" % UNKNOWN),
        ("FIN of an id that is no UTF-8", b"FIN " + b"\xff\xfe" * 8 + b"\n"),
        ("REQ of an unknown message", b"REQ %b 0\n" % UNKNOWN),
        ("REQ without a delay", b"REQ %b\n" % UNKNOWN),
        ("REQ with a delay of -1", b"REQ %b -1\n" % UNKNOWN),
        ("REQ with a delay of nothing", b"REQ %b \n" % UNKNOWN),
        ("REQ with a delay of a day", b"REQ %b 86400000\n" % UNKNOWN),
        ("REQ of a short id", b"REQ 0123 0\n"),
        ("TOUCH of an unknown message", b"TOUCH %b\n" % UNKNOWN),
        ("TOUCH of no id", b"TOUCH\n"),
        ("TOUCH of a short id", b"TOUCH 0123\n"),
        ("CLS", b"CLS\n"),
        ("CLS twice", b"CLS\nCLS\n"),
        ("CLS with more words", b"CLS now\n"),
        ("RDY after CLS", b"CLS\nRDY 5\n"),
        ("a bad RDY after CLS", b"CLS\nRDY many\n"),
        ("FIN after CLS", b"CLS\nFIN %b\n" % UNKNOWN),
        ("SUB after CLS", b"CLS\n" + SUB),
    )
]

PUBLISHES = [
    spoken("PUB", b"PUB {topic}\n" + sized(b"a")),
    spoken("PUB with more words", b"PUB {topic} a b\n" + sized(b"a")),
    spoken("PUB without a topic", b"PUB\n"),
    spoken("PUB to a bad topic", b"PUB a!b\n" + sized(b"a")),
    spoken("PUB of no bytes", b"PUB {topic}\n" + _size(0)),
    spoken("PUB of -1 bytes", b"PUB {topic}\n" + _size(-1)),
    spoken("PUB of the most bytes", b"PUB {topic}\n" + sized(b"x" * MESSAGE_MAX)),
    spoken("PUB of one byte more", b"PUB {topic}\n" + _size(MESSAGE_MAX + 1)),
    spoken("PUB of 2 GiB", b"PUB {topic}\n" + _size(2**31 - 1)),
    spoken("PUB in pieces", b"PU", b"B {topi", b"c}\n\0\0", b"\0\2a", b"b"),
    spoken("PUB of bytes that look like commands", b"PUB {topic}\n" + sized(b"\nFIN x\nPUB\n")),
    spoken("PUB and SUB of an ephemeral topic", b"PUB {topic}#ephemeral\n" + sized(b"a")),
    spoken("MPUB of three", b"MPUB {topic}\n" + sized(multi([b"a", b"bb", b"ccc"]))),
    spoken("MPUB without a topic", b"MPUB\n"),
    spoken("MPUB to a bad topic", b"MPUB a!b\n"),
    spoken("MPUB of no bytes", b"MPUB {topic}\n" + _size(0)),
    spoken("MPUB of -1 bytes", b"MPUB {topic}\n" + _size(-1)),
    spoken("MPUB of too many bytes", b"MPUB {topic}\n" + _size(BODY_MAX + 1)),
    spoken("MPUB of no messages", b"MPUB {topic}\n" + sized(_size(0))),
    spoken("MPUB of -1 messages", b"MPUB {topic}\n" + sized(_size(-1))),
    spoken("MPUB of more messages than there can be", b"MPUB {topic}\n" + sized(_size(1_048_576))),
    spoken("MPUB of an empty message", b"MPUB {topic}\n" + sized(multi([b"a", b""]))),
    spoken("MPUB of a message of -1 bytes", b"MPUB {topic}\n" + sized(_size(1) + _size(-1))),
    spoken(
        "MPUB of a message that is too large", b"MPUB {topic}\n" + sized(_size(1) + _size(MESSAGE_MAX + 1))
    ),
    spoken("MPUB of the largest message", b"MPUB {topic}\n" + sized(multi([b"x" * MESSAGE_MAX]))),
    spoken("MPUB that ends after its messages", b"MPUB {topic}\n" + sized(multi([b"a"]) + b"PUB")),
    spoken("MPUB that ends before its messages", b"MPUB {topic}\n" + sized(multi([b"a", b"b"])[:-5])),
    spoken("MPUB of three bytes", b"MPUB {topic}\n" + sized(b"abc")),
    spoken("DPUB", b"DPUB {topic} 5\n" + sized(b"a")),
    spoken("DPUB without a delay", b"DPUB {topic}\n"),
    spoken("DPUB to a bad topic", b"DPUB a!b 5\n"),
    spoken("DPUB of no delay", b"DPUB {topic} 0\n" + sized(b"a")),
    spoken("DPUB of nothing as a delay", b"DPUB {topic} \n" + sized(b"a")),
    spoken("DPUB of an hour", b"DPUB {topic} 3600000\n" + sized(b"a")),
    spoken("DPUB of more than an hour", b"DPUB {topic} 3600001\n" + sized(b"a")),
    spoken("DPUB of -1", b"DPUB {topic} -1\n" + sized(b"a")),
    spoken("DPUB of a word", b"DPUB {topic} soon\n" + sized(b"a")),
    spoken("DPUB of two to the 63rd", b"DPUB {topic} 9223372036854775808\n" + sized(b"a")),
    spoken("DPUB of no bytes", b"DPUB {topic} 5\n" + _size(0)),
    spoken("DPUB of too many bytes", b"DPUB {topic} 5\n" + _size(MESSAGE_MAX + 1)),
]

CUT = [
    _ended("the end within a command", b"PUB {top"),
    _ended("the end within the size of PUB", b"PUB {topic}\n\0\0"),
    _ended("the end within the body of PUB", b"PUB {topic}\n" + sized(b"abcdef")[:-2]),
    _ended("the end within the body of MPUB", b"MPUB {topic}\n" + sized(multi([b"a", b"bcd"]))[:-2]),
    _ended("the end within the size of DPUB", b"DPUB {topic} 5\n\0"),
    _ended("the end within the body of DPUB", b"DPUB {topic} 5\n" + sized(b"abcdef")[:-2]),
    _ended("the end within the size of IDENTIFY", b"IDENTIFY\n\0"),
    _ended("the end within the body of IDENTIFY", b"IDENTIFY\n" + sized(b"{}")[:-1]),
    _ended("the end within the body of AUTH", b"AUTH\n" + sized(b"secret")[:-1]),
    _ended("the end within SUB", b"SUB {topic} c"),
    _ended("the end after SUB", SUB),
    _ended("the end after three publishes", (b"PUB {topic}\n" + sized(b"a")) * 3),
]

BY_TCP = [*MAGICS, *IDENTIFIES, *NAMES, *COMMANDS, *AFTER_SUB, *PUBLISHES, *CUT]
