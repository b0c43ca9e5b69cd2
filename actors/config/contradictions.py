"""Values that are valid alone but cannot be used together."""

from urllib.parse import urlsplit

from .secrets import without_secrets
from .sections import NsqSection, PublishSection, Settings


def contradictions(settings: Settings) -> list[str]:
    """Return one line for each contradiction between the settings."""
    problems = []
    dispatch, publish = settings.dispatch, settings.publish
    if not (publish.url or publish.nsq_topic or publish.stdout):
        problems.append(
            'publish.url = "", publish.nsq_topic = "" and publish.stdout = false, expected one of them: '
            "nothing would be published"
        )
    if publish.url and publish.nsq_topic:
        problems.append(
            f"publish.url = {without_secrets(publish.url)!r} and publish.nsq_topic = "
            f'{publish.nsq_topic!r}, expected one of them: set publish.url = "" to publish to the topic'
        )
    if publish.nsq_topic in (settings.nsq.topic, f"{settings.nsq.topic}.dead"):
        problems.append(
            f"publish.nsq_topic = {publish.nsq_topic!r}, expected another than nsq.topic and its dead "
            "letters: publishes would be taken for plays"
        )
    if settings.nsq.play_id == "video_id":
        problems.append(
            'nsq.play_id = "video_id", expected another key: it names the video, so that only the first play '
            "of each would be counted"
        )
    problems += _who_is_calling(publish)
    problems += _who_may_ask(settings)
    try:
        urlsplit(publish.url).port  # noqa: B018 - raises on one that can't be
    except ValueError:  # its text may quote a part of a password
        problems.append(f"publish.url = {without_secrets(publish.url)!r}, expected a port of 0 to 65535")
    if dispatch.realtime_linger_ms > dispatch.deadline_s * 1000:
        problems.append(
            f"dispatch.realtime_linger_ms = {dispatch.realtime_linger_ms:g}, expected at most "
            f"dispatch.deadline_s = {dispatch.deadline_s:g} s"
        )
    if settings.nsq.consumers > settings.nsq.max_in_flight:
        problems.append(
            f"nsq.consumers = {settings.nsq.consumers} with nsq.max_in_flight = "
            f"{settings.nsq.max_in_flight}, expected at most as many consumers: they share it, and each "
            "needs room for a message"
        )
    problems += _unpaired(settings.nsq)
    problems += _without_tls(settings.nsq)
    if settings.embedded:
        problems += _not_embedded(settings.nsq)
    taken: dict[str, str] = {}
    for name, address in listeners(settings):
        if not address.endswith(":0") and address in taken:
            problems.append(f"{name} = {address!r}, expected another than {taken[address]}'s")
        taken[address] = name
    return problems


def listeners(settings: Settings) -> list[tuple[str, str]]:
    """The key and the "host:port" of each listener that these settings have."""
    listeners = [("admin.address", settings.admin.address)]
    if settings.client.enabled:
        listeners.append(("client.address", settings.client.address))
    if settings.embedded:
        listeners.append(("embedded_nsqd.tcp_address", settings.embedded_nsqd.tcp_address))
        listeners.append(("embedded_nsqd.http_address", settings.embedded_nsqd.http_address))
    return listeners


def _who_is_calling(publish: PublishSection) -> list[str]:
    """What can't be used together in the settings that tell the client who publishes."""
    problems = []
    for env, file in (("secret_env", "secret_file"), ("token_env", "token_file")):
        if getattr(publish, env) and getattr(publish, file):
            problems.append(
                f"publish.{env} = {getattr(publish, env)!r} and publish.{file} = {getattr(publish, file)!r}, "
                'expected one of them: set the other to ""'
            )
    for key in ("secret_env", "secret_file", "token_env", "token_file", "cert_file"):
        value = getattr(publish, key)
        if publish.nsq_topic and value:
            what = "certificate" if key == "cert_file" else f"header for a {key.partition('_')[0]}"
            problems.append(
                f'publish.{key} = {value!r} with publish.nsq_topic, expected "": a message has no {what}'
            )
    if publish.key_file and not publish.cert_file:
        problems.append(
            f"publish.key_file = {publish.key_file!r}, expected publish.cert_file too: the certificate of "
            "this key"
        )
    if publish.signature != "body" and not (publish.secret_env or publish.secret_file):
        problems.append(
            f'publish.signature = "{publish.signature}", expected a secret to sign with: set '
            "publish.secret_env or publish.secret_file"
        )
    _, at, _ = publish.url.partition("//")[2].partition("/")[0].rpartition("@")
    if at and (publish.token_env or publish.token_file):
        problems.append(
            f"publish.url = {without_secrets(publish.url)!r} with a bearer token, expected a user in the "
            "URL or a token: a request has one Authorization header"
        )
    return problems


def _who_may_ask(settings: Settings) -> list[str]:
    """What can't be used together in the settings that say who may ask our listeners."""
    client, admin = settings.client, settings.admin
    problems = [
        f"{name}.token_env = {one.token_env!r} and {name}.token_file = {one.token_file!r}, expected one of "
        'them: set the other to ""'
        for name, one in (("client", client), ("admin", admin))
        if one.token_env and one.token_file
    ]
    if admin.actions and not (admin.token_env or admin.token_file):
        problems.append(
            "admin.actions = true without a token, expected admin.token_env or admin.token_file: else "
            "anyone could stop children. The commands of this machine need no admin.actions"
        )
    return problems


def _without_tls(nsq: NsqSection) -> list[str]:
    """What can't be used together in the settings for TLS and AUTH."""
    problems = [
        f"nsq.{key} = {getattr(nsq, key)!r} with nsq.tls = false, expected nsq.tls = true: nsqds would be "
        'spoken to in the clear. Or set it to ""'
        for key in ("tls_ca_file", "tls_cert_file", "tls_key_file", "tls_server_name")
        if getattr(nsq, key) and not nsq.uses_tls
    ]
    if nsq.tls_key_file and not nsq.tls_cert_file:
        problems.append(
            f"nsq.tls_key_file = {nsq.tls_key_file!r}, expected nsq.tls_cert_file too: the certificate of "
            "this key"
        )
    if nsq.auth_secret_env and nsq.auth_secret_file:
        problems.append(
            f"nsq.auth_secret_env = {nsq.auth_secret_env!r} and nsq.auth_secret_file = "
            f'{nsq.auth_secret_file!r}, expected one of them: set the other to ""'
        )
    return problems


def _not_embedded(nsq: NsqSection) -> list[str]:
    """What the embedded queue does not have."""
    return [
        f"nsq.{key} = {'true' if value is True else repr(value)} with the embedded queue, expected "
        "nsq.nsqd_tcp_addresses or nsq.lookupd_http_addresses: the embedded queue has no TLS, no AUTH and no "
        "compression"
        for key in ("tls", "auth_secret_env", "auth_secret_file", "compression")
        if (value := getattr(nsq, key))
    ]


def _unpaired(nsq: NsqSection) -> list[str]:
    tcp, http = nsq.nsqd_tcp_addresses, nsq.nsqd_http_addresses
    if not http or len(http) == len(tcp):
        return []
    expected = f"[] or one address for each of nsq.nsqd_tcp_addresses = {tcp}, in their order"
    return [f"nsq.nsqd_http_addresses = {http}, expected {expected}"]
