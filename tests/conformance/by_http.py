"""Conversations by HTTP: every route and method, the forms of a request, and the figures."""

import struct
from collections.abc import Callable

from tests.conformance.conversation import Conversation, Talk
from tests.support.queues import multi, sized

_HOST = b"Host: {http_address}\r\n"
_ROUTES = [
    ("GET", "/ping"),
    ("GET", "/info"),
    ("GET", "/stats?format=json&include_mem=0&topic={topic}"),
    ("POST", "/pub?topic={topic}"),
    ("POST", "/mpub?topic={topic}"),
    ("POST", "/topic/create?topic={topic}"),
    ("POST", "/topic/delete?topic={topic}"),
    ("POST", "/topic/empty?topic={topic}"),
    ("POST", "/topic/pause?topic={topic}"),
    ("POST", "/topic/unpause?topic={topic}"),
    ("POST", "/channel/create?topic={topic}&channel=c"),
    ("POST", "/channel/delete?topic={topic}&channel=c"),
    ("POST", "/channel/empty?topic={topic}&channel=c"),
    ("POST", "/channel/pause?topic={topic}&channel=c"),
    ("POST", "/channel/unpause?topic={topic}&channel=c"),
]
_TOPICS = ("create", "delete", "empty", "pause", "unpause")


def _http(
    name: str, method: str, target: str, *lines: str, body: bytes = b"", length: int | None = None
) -> Conversation:
    """A request to a topic with a channel."""

    def play(talk: Talk) -> None:
        talk.post("/topic/create?topic={topic}")
        talk.post("/channel/create?topic={topic}&channel=c")
        talk.http(method, target.replace("{topic}", talk.topic), *lines, body=body, length=length)

    return Conversation(name, play)


def _raw(name: str, request: bytes, answers: int = 1, whole: bool = False) -> Conversation:
    return Conversation(name, lambda talk: talk.raw_http(request, answers=answers, whole=whole) and None)


def _path(target: str) -> str:
    return target.partition("?")[0]


ROUTES = [
    *(
        _http(f"{method} {_path(target)}", method, target, body=b"x" * ("pub" in target))
        for method, target in _ROUTES
    ),
    *(_http(f"HEAD {_path(target)}", "HEAD", target) for _, target in _ROUTES[:4]),
    *(_http(f"OPTIONS {_path(target)}", "OPTIONS", target) for _, target in _ROUTES[:6]),
    *(_http(f"PUT {_path(target)}", "PUT", target, body=b"x") for _, target in _ROUTES[:4]),
    _http("POST /ping", "POST", "/ping"),
    _http("DELETE /topic/delete", "DELETE", "/topic/delete?topic={topic}"),
    _http("GET /pub", "GET", "/pub?topic={topic}"),
    _http("GET /topic/create", "GET", "/topic/create?topic={topic}"),
    _http("OPTIONS of the whole server", "OPTIONS", "*"),
    _http("OPTIONS /nothing", "OPTIONS", "/nothing"),
    _http("a method of its own", "BREW", "/ping"),
    _http("a method of its own at /nothing", "BREW", "/nothing"),
    _http("PATCH /stats", "PATCH", "/stats", body=b"x"),
    _http("TRACE /ping", "TRACE", "/ping"),
    _http("GET /", "GET", "/"),
    _http("GET /nothing", "GET", "/nothing"),
    _http("POST /nothing", "POST", "/nothing", body=b"x"),
    _http("HEAD /nothing", "HEAD", "/nothing"),
    _http("GET /topic", "GET", "/topic"),
    _http("GET /pin", "GET", "/pin"),
    _http("GET /pingpong", "GET", "/pingpong"),
    _http("GET /ping/x", "GET", "/ping/x"),
    _http("GET /config/log_level", "GET", "/config/log_level"),
    _http("GET /config/nothing", "GET", "/config/nothing"),
    _http("PUT /config/log_level", "PUT", "/config/log_level", body=b"info"),
    _http("GET /config/nsqlookupd_tcp_addresses", "GET", "/config/nsqlookupd_tcp_addresses"),
    _http("GET /debug/pprof/", "GET", "/debug/pprof/cmdline"),
    _http("POST /debug/freememory", "POST", "/debug/freememory"),
]

SLASHES = [
    _http("GET /ping/", "GET", "/ping/"),
    _http("GET /stats/ with a query", "GET", "/stats/?format=json&x=%20%3C"),
    _http("POST /topic/create/", "POST", "/topic/create/?topic={topic}"),
    _http("POST /pub/ with a body", "POST", "/pub/?topic={topic}", body=b"x"),
    _http("HEAD /ping/", "HEAD", "/ping/"),
    _http("OPTIONS /ping/", "OPTIONS", "/ping/"),
    _http("POST /ping/", "POST", "/ping/"),
    _http("GET /PING", "GET", "/PING"),
    _http("GET /Stats/", "GET", "/Stats/"),
    _http("POST /Topic/Create", "POST", "/Topic/Create?topic={topic}"),
    _http("GET //ping", "GET", "//ping"),
    _http("GET /./ping", "GET", "/./ping"),
    _http("GET /x/../ping", "GET", "/x/../ping"),
    _http("GET /ping//", "GET", "/ping//"),
    _http("GET /%70ing", "GET", "/%70ing"),
    _http("GET /ping%2F", "GET", "/ping%2F"),
    _http("GET /ping?", "GET", "/ping?"),
    _http("GET /nothing/", "GET", "/nothing/"),
    _http("GET /topic/", "GET", "/topic/"),
]

ARGUMENTS = [
    *(_http(f"/topic/{verb} without a topic", "POST", f"/topic/{verb}") for verb in _TOPICS),
    *(_http(f"/topic/{verb} of a bad topic", "POST", f"/topic/{verb}?topic=a!b") for verb in _TOPICS),
    *(
        _http(f"/topic/{verb} of no topic that is there", "POST", f"/topic/{verb}?topic=none_{verb}")
        for verb in _TOPICS[1:]
    ),
    *(
        _http(f"/channel/{verb} {name}", "POST", f"/channel/{verb}?{query}")
        for verb in ("create", "delete", "empty", "pause")
        for name, query in (
            ("without a topic", "channel=c"),
            ("without a channel", "topic={topic}"),
            ("of a bad topic", "topic=a!b&channel=c"),
            ("of a bad channel", "topic={topic}&channel=a!b"),
            ("of no topic that is there", "topic=none&channel=c"),
            ("of no channel that is there", "topic={topic}&channel=none"),
        )
    ),
    _http("/pub without a topic", "POST", "/pub", body=b"x"),
    _http("/pub to a bad topic", "POST", "/pub?topic=a!b", body=b"x"),
    _http("/pub to an empty topic", "POST", "/pub?topic=", body=b"x"),
    _http("/pub to a topic that is named twice", "POST", "/pub?topic={topic}&topic=a!b", body=b"x"),
    _http("/pub to a topic in %xx", "POST", "/pub?topic={topic}%2Eb", body=b"x"),
    _http("/pub with a bad %", "POST", "/pub?topic={topic}&x=%zz", body=b"x"),
    _http("/pub with a semicolon", "POST", "/pub?topic={topic};x=1", body=b"x"),
    _http("/pub with a plus", "POST", "/pub?topic=a+b", body=b"x"),
    _http("/pub of nothing", "POST", "/pub?topic={topic}"),
    _http("/pub of nothing to a bad topic", "POST", "/pub?topic=a!b"),
    *(
        _http(f"/pub with a delay of {value}", "POST", f"/pub?topic={{topic}}&defer={value}", body=b"x")
        for value in (
            "0",
            "5",
            "3600000",
            "3600001",
            "-1",
            "-0",
            "%2B5",
            "1.5",
            "1e3",
            "soon",
            "",
            "0x10",
            "1_0",
            "9223372036854775808",
        )
    ),
    _http("/pub with two delays", "POST", "/pub?topic={topic}&defer=1&defer=x", body=b"x"),
    _http("/pub with a delay to a bad topic", "POST", "/pub?topic=a!b&defer=x", body=b"x"),
    _http("/mpub without a topic", "POST", "/mpub", body=b"x"),
    _http("/mpub to a bad topic", "POST", "/mpub?topic=a!b", body=b"x"),
    _http("/mpub of nothing", "POST", "/mpub?topic={topic}"),
    _http("/mpub of empty lines", "POST", "/mpub?topic={topic}", body=b"\n\n\n"),
    _http(
        "/mpub with a message that is too large",
        "POST",
        "/mpub?topic={topic}",
        body=b"a\n" + b"x" * (1024 * 1024 + 1),
    ),
    *(
        _http(
            f"/mpub with binary={value}",
            "POST",
            f"/mpub?topic={{topic}}&binary={value}",
            body=multi([b"one", b"two"]),
        )
        for value in ("true", "1", "false", "0", "yes", "")
    ),
    _http("/mpub of binary nothing", "POST", "/mpub?topic={topic}&binary=true"),
    _http("/mpub of three binary bytes", "POST", "/mpub?topic={topic}&binary=true", body=b"abc"),
    _http(
        "/mpub of no binary messages", "POST", "/mpub?topic={topic}&binary=true", body=struct.pack(">i", 0)
    ),
    _http(
        "/mpub of a binary message that is empty",
        "POST",
        "/mpub?topic={topic}&binary=true",
        body=multi([b""]),
    ),
    _http(
        "/mpub of a binary message that is cut",
        "POST",
        "/mpub?topic={topic}&binary=true",
        body=multi([b"abc"])[:-1],
    ),
    _http(
        "/mpub of binary messages and more",
        "POST",
        "/mpub?topic={topic}&binary=true",
        body=multi([b"abc"]) + b"x",
    ),
    _http(
        "/mpub of a binary message that is too large",
        "POST",
        "/mpub?topic={topic}&binary=true",
        body=struct.pack(">ii", 1, 1024 * 1024 + 1),
    ),
    _http("/pub of the most bytes", "POST", "/pub?topic={topic}", body=b"x" * 1024 * 1024),
    _http("/pub of one byte more", "POST", "/pub?topic={topic}", length=1024 * 1024 + 1),
    _http("/mpub of one byte more than the most", "POST", "/mpub?topic={topic}", length=5 * 1024 * 1024 + 1),
    _http("/pub of one byte more that is sent", "POST", "/pub?topic={topic}", body=b"x" * (1024 * 1024 + 1)),
    _http("/topic/create with a body", "POST", "/topic/create?topic={topic}", body=b"ignored"),
    _http(
        "/topic/create with a large body", "POST", "/topic/create?topic={topic}", body=b"x" * 1024 * 1024 * 2
    ),
    _http("/topic/create of an ephemeral topic", "POST", "/topic/create?topic={topic}%23ephemeral"),
    _http("GET /ping with a body", "GET", "/ping", body=b"ignored"),
]

FORMS = [
    _raw("the whole head of an answer", b"GET /ping HTTP/1.1\r\n" + _HOST + b"\r\n", whole=True),
    _raw("two requests at once", (b"GET /ping HTTP/1.1\r\n" + _HOST + b"\r\n") * 2, answers=2),
    _raw(
        "HEAD and GET at once",
        b"HEAD /ping HTTP/1.1\r\n" + _HOST + b"\r\nGET /ping HTTP/1.1\r\n" + _HOST + b"\r\n",
        answers=2,
    ),
    _raw("Connection: close", b"GET /ping HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n"),
    _raw("HTTP/1.0", b"GET /ping HTTP/1.0\r\n" + _HOST + b"\r\n"),
    _raw("HTTP/1.0 without a Host", b"GET /ping HTTP/1.0\r\n\r\n"),
    _raw("HTTP/1.0 that keeps alive", b"GET /ping HTTP/1.0\r\n" + _HOST + b"Connection: keep-alive\r\n\r\n"),
    _raw("HTTP/2.0", b"GET /ping HTTP/2.0\r\n" + _HOST + b"\r\n"),
    _raw("HTTP/1.1 without a Host", b"GET /ping HTTP/1.1\r\n\r\n"),
    _raw("two Hosts", b"GET /ping HTTP/1.1\r\n" + _HOST * 2 + b"\r\n"),
    _raw("the Host of another", b"GET /ping HTTP/1.1\r\nHost: queue.example\r\n\r\n"),
    _raw("a bad Host", b"GET /ping HTTP/1.1\r\nHost: a b\r\n\r\n"),
    _raw(
        "a page of another site",
        b"POST /topic/create?topic={topic} HTTP/1.1\r\n" + _HOST + b"Origin: http://a.example\r\n\r\n",
    ),
    _raw("the whole URL as target", b"GET http://{http_address}/ping HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw("a target without a slash", b"GET ping HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw("no target", b"GET HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw("no HTTP at all", b"hello\r\n\r\n"),
    _raw("a space before a colon", b"GET /ping HTTP/1.1\r\n" + _HOST + b"X : a\r\n\r\n"),
    _raw("a header without a colon", b"GET /ping HTTP/1.1\r\n" + _HOST + b"nothing\r\n\r\n"),
    _raw("a folded header", b"GET /ping HTTP/1.1\r\n" + _HOST + b"X: a\r\n b\r\n\r\n"),
    _raw("lines without a carriage return", b"GET /ping HTTP/1.1\nHost: {http_address}\n\n"),
    _raw(
        "header names in any case",
        b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"cOnTeNt-LeNgTh: 1\r\n\r\nx",
    ),
    _raw("an empty line before the request", b"\r\nGET /ping HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw(
        "a body in chunks",
        b"POST /pub?topic={topic} HTTP/1.1\r\n"
        + _HOST
        + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    ),
    _raw(
        "a body in chunks with an extension",
        b"POST /pub?topic={topic} HTTP/1.1\r\n"
        + _HOST
        + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
    ),
    _raw(
        "an empty body in chunks",
        b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    _raw(
        "a body in bad chunks",
        b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
    ),
    _raw(
        "chunks that are too large",
        b"POST /pub?topic={topic} HTTP/1.1\r\n"
        + _HOST
        + b"Transfer-Encoding: chunked\r\n\r\n100001\r\n"
        + b"x" * 0x100001
        + b"\r\n0\r\n\r\n",
    ),
    _raw(
        "a body in another coding",
        b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: gzip\r\n\r\n",
    ),
    _raw(
        "a length and chunks",
        b"POST /pub?topic={topic} HTTP/1.1\r\n"
        + _HOST
        + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    _raw("a bad length", b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Content-Length: abc\r\n\r\n"),
    _raw("a length of -1", b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Content-Length: -1\r\n\r\n"),
    _raw(
        "a length with a plus",
        b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Content-Length: +1\r\n\r\nx",
    ),
    _raw(
        "two lengths that are the same",
        b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Content-Length: 1\r\n" * 2 + b"\r\nx",
    ),
    _raw(
        "two lengths that are not",
        b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    ),
    _raw("no length", b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw(
        "Expect: 100-continue",
        b"POST /pub?topic={topic} HTTP/1.1\r\n"
        + _HOST
        + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    ),
    _raw(
        "Expect something else",
        b"POST /pub?topic={topic} HTTP/1.1\r\n" + _HOST + b"Expect: more\r\nContent-Length: 1\r\n\r\nx",
    ),
    _raw("Accept-Encoding: gzip", b"GET /info HTTP/1.1\r\n" + _HOST + b"Accept-Encoding: gzip\r\n\r\n"),
    _raw(
        "a form",
        b"POST /pub?topic={topic} HTTP/1.1\r\n"
        + _HOST
        + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntopic=x",
    ),
    _raw(
        "a body in gzip",
        b"POST /pub?topic={topic} HTTP/1.1\r\n"
        + _HOST
        + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ),
    _raw("headers of 100 KB", b"GET /ping HTTP/1.1\r\n" + _HOST + b"X: " + b"x" * 100_000 + b"\r\n\r\n"),
    _raw("a target of 10 KB", b"GET /ping?" + b"x" * 10_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw("a target that is no UTF-8", b"GET /ping?\xff HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw("a target of %ff", b"GET /ping?x=%ff HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw("a fragment in the target", b"GET /ping#x HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw("a method in small letters", b"get /ping HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _raw(
        "an upgrade to HTTP/2",
        b"GET /ping HTTP/1.1\r\n"
        + _HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    ),
]

FIGURES: list[Conversation] = []


def _figures(play: Callable[[Talk], None]) -> None:
    """Add a function, whose docstring is the name."""
    FIGURES.append(Conversation((play.__doc__ or "").removesuffix("."), play))


def _filled(talk: Talk) -> None:
    """Two channels with a client each, and two producers."""
    talk.post("/topic/create?topic={topic}")
    for channel in ("c", "d"):
        talk.post(f"/channel/create?topic={{topic}}&channel={channel}")
    producer = talk.identified(client_id="p", hostname="ph", user_agent="agent/1.0")
    producer.say(
        b"PUB {topic}\n" + sized(b"one") + b"MPUB {topic}\n" + sized(multi([b"two", b"four"]))
    ).hears(2)
    talk.subscriber(2, client_id="c", hostname="ch", user_agent="agent/2").hears(2).say(
        b"FIN {id0}\n"
    ).hears()
    talk.client().say(b"SUB {topic} d\n").hears()
    talk.until(lambda topic: [one["depth"] for one in topic["channels"]] == [0, 3])
    talk.transcript.clear()


@_figures
def _(talk: Talk) -> None:
    """/stats of nothing."""
    talk.http("GET", "/stats?format=json&include_mem=false")
    talk.http("GET", "/stats?include_mem=false")


@_figures
def _(talk: Talk) -> None:
    """/stats of everything as JSON."""
    _filled(talk)
    talk.http("GET", "/stats?format=json")


@_figures
def _(talk: Talk) -> None:
    """/stats of everything as text."""
    _filled(talk)
    talk.http("GET", "/stats")


@_figures
def _(talk: Talk) -> None:
    """/stats of a topic and a channel."""
    _filled(talk)
    for query in (
        "",
        "&channel=c",
        "&channel=none",
        "&include_clients=false",
        "&channel=d&include_clients=0",
    ):
        talk.stats(query)


@_figures
def _(talk: Talk) -> None:
    """/stats of a topic as text."""
    _filled(talk)
    for query in ("", "&channel=c", "&include_clients=false"):
        talk.http("GET", f"/stats?include_mem=0&topic={talk.topic}{query}")


@_figures
def _(talk: Talk) -> None:
    """/stats of what is not there."""
    _filled(talk)
    for query in ("topic=none", "topic=none&channel=c", "channel=none", "topic=a!b", "topic="):
        talk.http("GET", f"/stats?format=json&include_mem=0&include_clients=0&{query}")
        talk.http("GET", f"/stats?include_mem=0&include_clients=0&{query}")


@_figures
def _(talk: Talk) -> None:
    """/stats with odd arguments."""
    talk.post("/topic/create?topic={topic}")
    for query in (
        "format=JSON",
        "format=text",
        "format=json&format=text",
        "include_mem=no&format=json",
        "format=json&include_mem=false&include_clients=FALSE",
        "x=%zz",
        "x=1;y=2",
        "format=%6ason&include_mem=0",
    ):
        talk.http("GET", f"/stats?{query}")


@_figures
def _(talk: Talk) -> None:
    """/stats of paused, delayed, requeued and timed out messages."""
    talk.post("/topic/create?topic={topic}")
    talk.post("/channel/create?topic={topic}&channel=c")
    client = talk.subscriber(1, msg_timeout=1000)
    client.say(b"PUB {topic}\n" + sized(b"one")).hears(2).say(b"REQ {id0} 0\n").hears().hears(1, 10)
    client.say(b"REQ {id0} 60000\n")
    talk.post("/pub?topic={topic}&defer=60000", b"late")
    talk.until(lambda topic: topic["channels"][0]["deferred_count"] == 2)
    talk.post("/channel/pause?topic={topic}&channel=c")
    talk.post("/topic/pause?topic={topic}")
    talk.stats()
    talk.http("GET", f"/stats?include_mem=0&topic={talk.topic}")


@_figures
def _(talk: Talk) -> None:
    """/stats of a producer of two topics."""
    client = talk.client().say(b"PUB {topic}#ephemeral\n" + sized(b"a"))
    client.say(b"PUB {topic}.b#ephemeral\n" + sized(b"b")).hears(2)
    talk.http("GET", "/stats?format=json&include_mem=0")


@_figures
def _(talk: Talk) -> None:
    """/stats of topics in the order of their names."""
    for topic in ("b", "a", "B", "_", "a.b"):
        talk.post(f"/topic/create?topic={{topic}}{topic}")
    talk.http("GET", "/stats?format=json&include_mem=0")


BY_HTTP = [*ROUTES, *SLASHES, *ARGUMENTS, *FORMS, *FIGURES]
