"""The script that keeps one entry of the history for each visit: which responses hold it."""

from __future__ import annotations

import asyncio

import pytest

from pages.components.document_script import DocumentScript
from pages.components.history import SCRIPT
from pages.components.host_check import Message, Receive, Send

HTML = "<!DOCTYPE html><html><head><title>x</title></head><body>é</body></html>".encode()
HTML_TYPE = (b"content-type", b"text/html; charset=utf-8")
Headers = list[tuple[bytes, bytes]]


async def document(scope: Message, receive: Receive, send: Send) -> None:
    """A server that compresses, answers from caches, and sends a document in parts."""
    asked = dict(scope["headers"])
    if b"if-none-match" in asked:
        await send({"type": "http.response.start", "status": 304, "headers": []})
        await send({"type": "http.response.body"})
        return
    body = b"packed" if asked.get(b"accept-encoding") == b"gzip" else HTML
    headers = [(b"content-length", str(len(body)).encode()), (b"etag", b"1"), HTML_TYPE]
    if scope.get("path") == "/file":
        headers.append((b"content-disposition", b"attachment"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for byte in body[:-1]:
        await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
    await send({"type": "http.response.body", "body": body[-1:]})


def answer(
    headers: Headers, method: str = "GET", path: str = "/"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """The status, the headers and the body of the answer to a request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": headers, "path": path}
    asyncio.run(DocumentScript(document, (SCRIPT, "<script>2</script>"))(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


@pytest.mark.parametrize("further", [[], [(b"accept-encoding", b"gzip"), (b"if-none-match", b"1")]])
def test_documents_hold_the_script_and_have_the_right_length(further: Headers) -> None:
    status, headers, body = answer([(b"accept", b"text/html,*/*"), *further])
    assert status == 200
    assert body == HTML.replace(b"<head>", b"<head>" + SCRIPT.encode() + b"<script>2</script>")
    assert headers == dict([(b"content-length", str(len(body)).encode()), HTML_TYPE])


def test_a_file_that_is_downloaded_is_passed_on_in_parts_as_it_is() -> None:
    status, headers, body = answer([(b"accept", b"text/html,*/*")], path="/file")
    assert (status, body) == (200, HTML)
    assert headers[b"content-length"] == str(len(HTML)).encode()


def test_other_requests_are_passed_on_as_they_are() -> None:
    assert answer([(b"accept", b"*/*"), (b"accept-encoding", b"gzip")])[2] == b"packed"
    assert answer([(b"if-none-match", b"1")])[0] == 304
    assert answer([(b"accept", b"text/html")], "HEAD")[2] == HTML
