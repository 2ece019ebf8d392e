"""The history of the browser: one entry for each visit to a page.

Streamlit adds an entry whenever the parameters of the address change, so that after a slider was
moved ten times the button Back has no effect for ten clicks.
"""

from __future__ import annotations

from pages.components.host_check import Application, Message, Receive, Send

# Topics of the Guide are pages to a reader, so Back returns to the last one. The parameters of a
# new page may arrive before Streamlit has changed the path. Then the entry of the page that is left
# gets its own back: they are told by the new path, which comes with the same parameters.
SCRIPT = b"""<script>
(() => {
    const push = history.pushState, replace = history.replaceState;
    let last = null;
    history.pushState = function (state, title, url) {
        const next = new URL(url ?? "", location.href), path = location.pathname;
        if (next.pathname === path && !path.endsWith("/Guide")) {
            if (next.search !== location.search)
                last = {path, before: location.search, search: next.search};
            return replace.call(this, state, title, url);
        }
        if (last?.path === path && last.search === next.search && location.search === next.search)
            replace.call(this, history.state, "", path + last.before);
        last = null;
        return push.call(this, state, title, url);
    };
})();
</script>"""
HEAD = b"<head>"
# With these headers the server may answer without a body, or with a compressed one.
WITHOUT_BODY = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")

# The length of the document changes, and a cached document may hold an earlier script.
REPLACED = (b"content-length", b"etag", b"last-modified")


class HistoryScript:
    """An ASGI application that adds `SCRIPT` to HTML documents, before the scripts of Streamlit."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _asks_for_document(scope):
            await self.app(scope, receive, send)
            return
        headers = [pair for pair in scope["headers"] if pair[0].lower() not in WITHOUT_BODY]
        start: Message = {}
        body = bytearray()

        async def send_with_script(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            content = bytes(body).replace(HEAD, HEAD + SCRIPT, 1)
            start["headers"] = [
                *(pair for pair in start["headers"] if pair[0].lower() not in REPLACED),
                (b"content-length", str(len(content)).encode()),
            ]
            await send(start)
            await send({"type": "http.response.body", "body": content})

        await self.app({**scope, "headers": headers}, receive, send_with_script)


def _asks_for_document(scope: Message) -> bool:
    accepted = [value for name, value in scope["headers"] if name.lower() == b"accept"]
    return scope.get("method") == "GET" and any(b"text/html" in value for value in accepted)
