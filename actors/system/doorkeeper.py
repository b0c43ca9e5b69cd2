"""Who asks a listener over HTTP: somebody who knows its token, or anyone where it has none.

The token comes as `Authorization: Bearer …`, or a browser sends it once in a form and then has a session
(`sessions.py`). The secret of the run file is taken in the place of the token, so that commands need none.
Neither is taken from a URL: those are in logs and histories. Tokens are compared in constant time.

What is right is always taken. What is wrong is answered 429 in place of 401 above `WRONG_PER_S_MAX` a second:
that keeps a guesser's programs slow. It is the token's length that makes guesses hopeless.
"""

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from ..core.recurring import Recurring
from . import sessions
from .hosts import READING

log = logging.getLogger(__name__)

WRONG_PER_S_MAX = 10
RETRY_AFTER_S = 1
CHALLENGE = {"WWW-Authenticate": "Bearer"}
_NONE: Mapping[str, str] = MappingProxyType({})
Header: TypeAlias = Callable[[str], list[str]]  # all values of a header


class Right(StrEnum):
    """What a request has shown. The value is said to people."""

    NONE = "anyone"
    TOKEN = "token"
    SESSION = "token (session)"
    SECRET = "the command line"


class Caller(NamedTuple):
    """Who asks. `address`: where the connection comes from, without a port; behind a proxy, the proxy's."""

    right: Right = Right.NONE
    address: str = ""

    @property
    def who(self) -> str:
        """Who it is, for people: "the command line", "token" …"""
        return str(self.right)


class Denial(NamedTuple):
    """Why a request is not taken: the HTTP status, the reason in words, and headers of the answer."""

    status: int
    why: str
    headers: Mapping[str, str] = _NONE


class Doorkeeper:
    """The one of a listener. `section`: its settings'. `cookie`: the name of its session's cookie."""

    def __init__(
        self,
        section: str,
        token: Callable[[], str] = str,
        secret: Callable[[], str] = str,
        open_paths: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ):
        """`token`: returns the token that counts now, "" if none is asked for. `secret`: the run file's.
        `open_paths` need no token. `clock` and `wall` return seconds.
        """
        self.section = section
        self.open_paths = frozenset(open_paths)
        self.cookie = sessions.cookie_name(section, 0)
        self._token, self._secret = token, secret
        self._clock, self._wall = clock, wall
        self._second, self._wrong = 0, 0
        self._guesses = Recurring()

    def listens_on(self, port: int) -> None:
        """Give the cookie the name of the port that was taken."""
        self.cookie = sessions.cookie_name(self.section, port)

    @property
    def asks(self) -> bool:
        """Whether a token is asked for."""
        return bool(self._token())

    def admits(self, authorization: str) -> bool:
        """Whether a request with this Authorization header is taken, or anyone's is."""
        token = self._token()
        return not token or _same(_bearer(authorization), token)

    def judge(self, method: str, path: str, header: Header, address: str) -> Caller | Denial:
        """Who asks, or why that is not enough for this path (without the query)."""
        token, secret = self._token(), self._secret()
        if not (token or secret):
            return Caller(Right.NONE, address)
        authorizations = header("Authorization")
        if len(authorizations) > 1:
            return Denial(400, f"the request has {len(authorizations)} Authorization headers, expected one")
        given = _bearer("".join(authorizations))
        is_secret, is_token = _same(given, secret), _same(given, token)
        if is_secret or is_token:
            return Caller(Right.SECRET if is_secret else Right.TOKEN, address)
        if not token or path in self.open_paths:
            return Caller(Right.NONE, address)
        return self._wrong_token(address) if given else self._judge_session(method, header, address)

    def enter(self, given: str, address: str) -> str | Denial:
        """The value of the cookie for a session that begins, if this is the token."""
        token = self._token()
        if not token:
            return Denial(404, f"no token is set here ({self._settings}), so there is no session")
        if not _same(given, token):
            return self._wrong_token(address, "This is not the token.")
        return sessions.begun(token, self.cookie, self._wall(), secrets.token_hex(16))

    def _judge_session(self, method: str, header: Header, address: str) -> Caller | Denial:
        cookies = [one for line in header("Cookie") for one in sessions.values_of(line, self.cookie)]
        if len(cookies) > 1:
            return Denial(
                400,
                f"the request has {len(cookies)} cookies {self.cookie}, expected one; delete the cookies of "
                "this host",
            )
        if not cookies or not sessions.holds(cookies[0], self._token(), self.cookie, self._wall()):
            return Denial(401, self._expected("the session has ended; " if cookies else ""), CHALLENGE)
        # `hosts.refusal` has refused pages of other sites by these headers. Here one of them has to be there.
        if method not in READING and not (header("Origin") or header("Sec-Fetch-Site")):
            return Denial(
                403,
                "a session changes something from its own page alone, expected the header Origin as browsers "
                "send it; other programs send the token",
            )
        return Caller(Right.SESSION, address)

    def _wrong_token(self, address: str, why: str = "") -> Denial:
        second = int(self._clock())
        self._second, self._wrong = second, self._wrong + 1 if second == self._second else 1
        if self._guesses.seen(int(self._clock() * 1000)):
            log.warning(
                "%s: a request from %s has a wrong token and is refused; is it one of before a change of %s? "
                "(said once a minute)",
                self.section,
                address,
                self._settings,
            )
        if self._wrong > WRONG_PER_S_MAX:
            return Denial(
                429,
                f"more than {WRONG_PER_S_MAX} wrong tokens in this second: try again in {RETRY_AFTER_S} s; "
                "the right token is taken at any time",
                CHALLENGE | {"Retry-After": str(RETRY_AFTER_S)},
            )
        return Denial(401, why or self._expected("this is not the token; "), CHALLENGE)

    def _expected(self, what_is_wrong: str) -> str:
        return (
            f"{what_is_wrong}expected the header Authorization: Bearer <token>, with the token of "
            f"{self._settings} (never in the URL); a browser gets a form at /"
        )

    @property
    def _settings(self) -> str:
        return f"{self.section}.token_env or {self.section}.token_file"


def _bearer(authorization: str) -> str:
    """The token in an Authorization header; "" if it is of another scheme, as one that a proxy passes on."""
    scheme, _, given = authorization.partition(" ")
    return given.strip(" ") if scheme.lower() == "bearer" else ""


def _same(given: str, expected: str) -> bool:
    """Whether both are one token, compared in constant time. "" is none."""
    # As bytes: compare_digest refuses text that is not ASCII, which a header may have.
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
