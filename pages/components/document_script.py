"""Scripts that the document of the app runs before those of Streamlit."""

from __future__ import annotations

from pages.components.host_check import Application, Message, Receive, Send

HEAD = b"<head>"
# With these headers the server may answer without a body, or with a compressed one.
WITHOUT_BODY = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")

# The length of the document changes, and a cached document may hold an earlier script.
REPLACED = (b"content-length", b"etag", b"last-modified")


class DocumentScript:
    """An ASGI application that adds scripts to HTML documents."""

    def __init__(self, app: Application, scripts: tuple[str, ...]) -> None:
        self.app, self.scripts = app, "".join(scripts).encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _asks_for_document(scope):
            await self.app(scope, receive, send)
            return
        headers = [pair for pair in scope["headers"] if pair[0].lower() not in WITHOUT_BODY]
        start: Message = {}
        body = bytearray()

        async def send_with_script(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_document(message):
                start.update(message)
                return
            if not start:  # a file, which stays as it is
                await send(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            content = bytes(body).replace(HEAD, HEAD + self.scripts, 1)
            start["headers"] = [
                *(pair for pair in start["headers"] if pair[0].lower() not in REPLACED),
                (b"content-length", str(len(content)).encode()),
            ]
            await send(start)
            await send({"type": "http.response.body", "body": content})

        await self.app({**scope, "headers": headers}, receive, send_with_script)


def _is_document(start: Message) -> bool:
    """Whether a response is a page of the app, and no file to download."""
    headers = {name.lower(): value for name, value in start["headers"]}
    html = headers.get(b"content-type", b"").startswith(b"text/html")
    return html and b"content-disposition" not in headers


def _asks_for_document(scope: Message) -> bool:
    accepted = [value for name, value in scope["headers"] if name.lower() == b"accept"]
    return scope.get("method") == "GET" and any(b"text/html" in value for value in accepted)
