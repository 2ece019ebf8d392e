"""Which requests the app answers, and that the served application refuses the others."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest
from streamlit.web.server.app_discovery import discover_asgi_app

from pages.components import host_check, shell
from pages.components.host_check import HostCheck, Message, Receive, Send, refusal
from pruning_core.common.paths import Cache
from tests.helpers.project import ROOT

LOCAL = ("localhost:8501", "127.0.0.1:8501", "[::1]:8501", "LOCALHOST", "localhost.")
FOREIGN = (
    *("evil.example", "evil.example:8501", "localhost.evil.example", "notlocalhost", "", ":8501"),
    *("evil.example@localhost", "localhost@evil.example", "localhost/evil", "localhost:x"),
    *("192.168.0.7:8501", "127.0.0.1.evil.example", "[::1", "[::2]"),
)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options of Streamlit that a test sets."""
    values: dict[str, Any] = {}

    def option(*names: str) -> list[str]:
        items = [values.get(name, []) for name in names]
        return [text for item in items for text in (item if isinstance(item, list) else [item])]

    monkeypatch.setattr(host_check, "_options", option)
    return values


@pytest.mark.parametrize("host", LOCAL)
def test_requests_to_this_machine_are_answered(host: str, options: dict[str, Any]) -> None:
    for headers in ({}, {"origin": f"http://{host}"}, {"origin": f"https://{host}"}):
        assert refusal({"host": host, **headers}) == ""


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://localhost", "http://127.0.0.1:8501"]
)
def test_a_page_of_another_program_on_this_machine_is_refused(
    origin: str, options: dict[str, Any]
) -> None:
    """Another port is another origin: a notebook or the server of another user."""
    headers = {"host": "localhost:8501", "origin": origin}
    assert f"requests from {origin}, another program" in refusal(headers)
    options["server.corsAllowedOrigins"] = [origin]
    assert refusal(headers) == ""


def test_a_port_that_the_scheme_implies_is_the_same_origin(options: dict[str, Any]) -> None:
    assert refusal({"host": "localhost:443", "origin": "https://localhost"}) == ""
    assert refusal({"host": "localhost", "origin": "http://localhost:80"}) == ""


@pytest.mark.parametrize("host", FOREIGN)
def test_requests_to_another_name_and_from_another_origin_are_refused(
    host: str, options: dict[str, Any]
) -> None:
    assert "refuses requests to the host" in refusal({"host": host})
    origin = {"host": "localhost:8501", "origin": f"http://{host}"}
    assert "refuses requests from a page of" in refusal(origin)


@pytest.mark.parametrize("origin", ["null", "file://", "chrome-extension://localhost"])
def test_an_origin_that_is_no_web_page_is_refused(origin: str, options: dict[str, Any]) -> None:
    assert refusal({"host": "localhost", "origin": origin})


@pytest.mark.parametrize(
    ("option", "value", "host", "answered"),
    [
        ("browser.serverAddress", "lab.example", "lab.example", True),
        ("browser.serverAddress", "lab.example", "evil.example", False),
        ("server.address", "10.0.0.5", "10.0.0.5:80", True),
        ("server.address", "10.0.0.5", "10.0.0.6:80", False),
        ("server.address", "0.0.0.0", "10.0.0.6:80", True),
        ("server.address", "::", "[fe80::1]:80", True),
        ("server.address", "0.0.0.0", "evil.example", False),
        ("server.allowedHosts", ["a.example", "*.b.example"], "x.b.example", True),
        ("server.allowedHosts", ["a.example", "*.b.example"], "b.example", False),
        ("server.allowedHosts", ["*"], "any.example", True),
    ],
)
def test_the_user_can_configure_other_hosts(
    options: dict[str, Any], option: str, value: Any, host: str, answered: bool
) -> None:
    options[option] = value
    assert (refusal({"host": host}) == "") is answered


def test_options_of_streamlit_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"server.allowedHosts": ["a", "b"], "browser.serverAddress": "c", "server.address": ""}
    options = {name: SimpleNamespace(value=value) for name, value in values.items()}
    monkeypatch.setattr(config, "get_config_options", lambda: options)
    assert host_check._options(*values, "no.such") == ["a", "b", "c"]


@pytest.mark.parametrize("element", ["iframe", "frame", "embed", "object"])
def test_a_frame_of_another_page_is_refused(element: str, options: dict[str, Any]) -> None:
    headers = {"host": "localhost", "sec-fetch-dest": element}
    for site in ("cross-site", "same-site"):
        assert "frame" in refusal({**headers, "sec-fetch-site": site})
    assert refusal({**headers, "sec-fetch-site": "same-origin"}) == ""
    assert refusal({"host": "localhost", "sec-fetch-dest": "document"}) == ""


def exchange(app: Any, kind: str, **headers: str) -> list[Message]:
    """The messages that an application sends for a request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "path": "/_stcore/stream",
        "method": "GET",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(app(scope, receive, send))
    return sent


async def answer(scope: Message, receive: Receive, send: Send) -> None:
    """An application that answers everything."""
    kind = "http.response.start" if scope["type"] == "http" else "websocket.accept"
    await send({"type": kind, "headers": [(b"a", b"b")]})


def test_answers_say_that_no_other_page_may_frame_them() -> None:
    (message,) = exchange(HostCheck(answer), "http", host="localhost")
    headers = dict(message["headers"])
    assert headers[b"a"] == b"b"
    assert headers[b"content-security-policy"] == b"frame-ancestors 'self'"
    assert headers[b"x-frame-options"] == b"SAMEORIGIN"


def test_a_refused_request_does_not_reach_the_application() -> None:
    start, body = exchange(HostCheck(answer), "http", host="evil.example")
    assert start["status"] == 403
    assert b"--browser.serverAddress" in body["body"]
    (close,) = exchange(HostCheck(answer), "websocket", host="evil.example")
    assert close["type"] == "websocket.close"
    (accept,) = exchange(HostCheck(answer), "websocket", host="localhost")
    assert accept["type"] == "websocket.accept"


def test_streamlit_run_serves_the_application_that_checks_the_host() -> None:
    served = discover_asgi_app(Path(ROOT / "app.py"))
    assert served.import_string == "app:app"
    app = importlib.import_module("app").app
    (close,) = exchange(app, "websocket", host="evil.example")
    assert close["type"] == "websocket.close"


def test_a_session_that_another_page_opened_stops_before_the_cache_is_opened(
    cache: Cache, no_worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the server let it pass."""
    before = sorted(cache.root.rglob("*"))
    headers = {"Host": "localhost:8501", "Origin": "https://evil.example"}
    monkeypatch.setattr(type(shell.st.context), "headers", headers)
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert not test.exception
    (error,) = test.error
    assert "refuses requests from a page of" in error.value
    assert not test.title
    assert sorted(cache.root.rglob("*")) == before
