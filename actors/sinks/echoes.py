"""Keeps secrets that were sent out of the words of an answer: some clients and proxies quote the request."""

import base64
import json
from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult, parse_qsl, quote, unquote

from .answers import Answer

QUERY_SECRET_CHARACTERS_MIN = 8  # a shorter value in a query is a word, as in "v=1", and no secret
HIDDEN = "…"


def basic_credentials(url: SplitResult) -> str:
    """The user and the password of a URL as Basic authorization has them; "" if it has none."""
    if url.username is None:
        return ""
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return base64.b64encode(pair.encode()).decode()


def secrets_of(url: SplitResult) -> list[str]:
    """What is secret in a URL, in each form that may be quoted."""
    in_query = [
        value
        for _, value in parse_qsl(url.query, errors="replace")
        if len(value) >= QUERY_SECRET_CHARACTERS_MIN
    ]
    password = url.password or ""
    found = [basic_credentials(url), password, unquote(password), *in_query]
    return [one for one in found if one]


def without_echoes(answer: Answer, secrets: Sequence[str]) -> Answer:
    """The answer with "…" in the place of each secret in what is shown of it: reason, body, Location."""
    if not any(secrets):
        return answer
    secrets = [one for one in secrets if one]
    reason, location = hide(answer.reason, secrets), answer.headers.get("location")
    body = hide(answer.body.decode("utf-8", "surrogateescape"), secrets).encode("utf-8", "surrogateescape")
    headers = answer.headers if location is None else {**answer.headers, "location": hide(location, secrets)}
    return answer._replace(reason=reason, headers=headers, body=body)


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text with "…" in the place of each secret."""
    forms = {form for secret in secrets for form in _forms(secret) if form}
    for form in sorted(forms, key=len, reverse=True):  # a secret may be a part of another one
        text = text.replace(form, HIDDEN)
    return text


def _forms(secret: str) -> Iterable[str]:
    """A secret as it is, in JSON (with an escaped "/" too, as PHP writes it), and in a URL."""
    in_json = json.dumps(secret)[1:-1]
    return secret, in_json, in_json.replace("/", "\\/"), quote(secret, safe="")
