"""Which requests the app answers: those to this machine, from its own pages.

No other web page may drive the app of its visitor: not under a name that it lets point at this
machine (DNS rebinding), not by a connection from its own origin, and not in a frame.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from streamlit import config

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# An app that listens on all addresses answers to each of them. An address cannot be rebound.
ALL_ADDRESSES = ("0.0.0.0", "::")
FRAMES = ("iframe", "frame", "embed", "object", "fencedframe")
DEFAULT_PORTS = {"http": "80", "https": "443"}
FRAME_HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-frame-options", b"SAMEORIGIN"),
)
POLICY_VIOLATION = 1008  # the code with which a WebSocket is closed

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def refusal(headers: Mapping[str, str]) -> str:
    """Why a request with these headers is not answered, as a sentence; "" where it is.

    The names of the headers are in lower case.
    """
    host, origin = headers.get("host", ""), headers.get("origin", "")
    if not _allowed(host):
        return _sentence("to the host", host)
    if origin and origin not in _options("server.corsAllowedOrigins"):
        scheme, _, netloc = origin.partition("://")
        if scheme not in DEFAULT_PORTS or not _allowed(netloc):
            return _sentence("from a page of", origin)
        if _is_local(netloc) and _address(netloc, scheme) != _address(host, scheme):
            return (
                f"Pruning Lab refuses requests from {_shown(origin)}, another program on this "
                "machine. To allow it, start the app with --server.corsAllowedOrigins "
                f"{_shown(origin)}."
            )
    framed = headers.get("sec-fetch-dest") in FRAMES
    if framed and headers.get("sec-fetch-site") != "same-origin":
        return "Pruning Lab does not run in a frame of another page. Open its address in a tab."
    return ""


def _sentence(what: str, value: str) -> str:
    return (
        f"Pruning Lab refuses requests {what} {_shown(value) or '(none)'}. Open it as localhost. "
        "To use another name, start the app with --browser.serverAddress NAME."
    )


def _shown(value: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in value[:100])


def _is_local(netloc: str) -> bool:
    """Whether a valid `host:port` names this machine itself."""
    return (urlsplit(f"//{netloc}").hostname or "").rstrip(".") in LOCAL_HOSTS


def _address(netloc: str, scheme: str) -> tuple[str, str]:
    """The name of a host and its port, that of the scheme where none is written."""
    parts = urlsplit(f"//{netloc}")
    name = (parts.hostname or "").rstrip(".")
    return name, str(parts.port or DEFAULT_PORTS[scheme])


def _allowed(netloc: str) -> bool:
    """Whether `host:port` names this machine, or a host that the user has configured."""
    try:
        parts = urlsplit(f"//{netloc}")
        name, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return False
    if not name or parts.netloc != netloc or "@" in netloc:
        return False
    names = [*_options("server.address", "browser.serverAddress", "server.allowedHosts")]
    if set(names) & set(ALL_ADDRESSES) and _is_address(name):
        return True
    return any(_matches(name, allowed) for allowed in (*LOCAL_HOSTS, *names))


def _matches(name: str, allowed: str) -> bool:
    """As `server.allowedHosts` of Streamlit: a name, `*.example.com`, or `*` for all."""
    allowed = allowed.strip().strip("[]").lower().rstrip(".")
    return allowed in ("*", name) or (allowed.startswith("*.") and name.endswith(allowed[1:]))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _options(*names: str) -> list[str]:
    """The values of options of Streamlit; an option that its version lacks has none."""
    options = config.get_config_options()
    values = [options[name].value for name in names if name in options]
    return [
        str(item)
        for value in values
        if value
        for item in (value if isinstance(value, list) else [value])
    ]


class HostCheck:
    """An ASGI application that passes on only the requests that `refusal` accepts.

    Its responses tell the browser to show them in no frame of another page.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        problem = refusal(headers)

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *FRAME_HEADERS]
            await send(message)

        if not problem:
            await self.app(scope, receive, send_unframed)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": problem})
        else:
            plain = [(b"content-type", b"text/plain; charset=utf-8")]
            await send_unframed({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": problem.encode()})
