"""What stands before a page that is open to others: no address without the password, and no guessing it quickly.

Gradio asks for the password at the addresses that it thinks need it. Here it is the other way round: each address
needs it, but for those that the sign-in page is made of.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict, deque
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SLOWED", "Gate", "Tries"]

# The sign-in page is the app's own page at "/", without its content. Gradio asks for "startup-events" itself.
WITHOUT_PASSWORD = ("/", "/login", "/logout", "/theme.css", "/favicon.ico", "/robots.txt", "/gradio_api/startup-events")
FILES_OF_THE_PAGE = ("/assets/", "/static/", "/svelte/")
SIGN_IN = "/login"
FREE_TRIES = 5
MOST_SECONDS = 60.0
TRIES_A_MINUTE = 30  # of all addresses together
ADDRESSES_KEPT = 10_000
SLOWED = f"After {FREE_TRIES} wrong passwords each further try has to wait, up to {MOST_SECONDS:.0f} seconds."


class Tries:
    """How often each address tried to sign in since it last did, and how long its next try has to wait.

    A try counts from its beginning, so that many at once gain nothing. Only in the server's one event loop.
    """

    def __init__(self) -> None:
        self._of: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._all: deque[float] = deque()

    def wait(self, address: str) -> float:
        """Seconds until a try from ``address`` is looked at; 0 where that is now."""
        now = time.monotonic()
        while self._all and self._all[0] < now - 60:
            self._all.popleft()
        tries, last = self._of.get(address, (0, 0.0))
        pause = min(MOST_SECONDS, 2.0 ** min(tries - FREE_TRIES, 30)) if tries >= FREE_TRIES else 0.0
        full = self._all[0] + 60 - now if len(self._all) >= TRIES_A_MINUTE else 0.0
        return max(0.0, last + pause - now, full)

    def begin(self, address: str) -> None:
        now = time.monotonic()
        self._of[address] = (self._of.pop(address, (0, 0.0))[0] + 1, now)
        self._all.append(now)
        while len(self._of) > ADDRESSES_KEPT:
            self._of.popitem(last=False)

    def right(self, address: str) -> None:
        """The try that was begun had the right password."""
        self._of.pop(address, None)
        if self._all:
            self._all.pop()


class Gate:
    """ASGI middleware inside Gradio's app; it lets everything pass where no password was set."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.tries = Tries()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["app"].auth is None:
            return await self.app(scope, receive, send)
        path = scope["path"].rstrip("/") or "/"
        if path == SIGN_IN and scope.get("method") == "POST":
            return await self._sign_in(scope, receive, send)
        if path in WITHOUT_PASSWORD or path.startswith(FILES_OF_THE_PAGE) or _signed_in(scope):
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        await _refuse(send, 401, "Not authenticated")

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = (scope.get("client") or ("",))[0]
        wait = self.tries.wait(address)
        if wait:
            # 400, for of all refusals Gradio's sign-in page shows only that one; its text says that tries are slowed.
            said = f"Too many wrong passwords: try again in {wait:.0f} s."
            return await _refuse(send, 400, said, (b"retry-after", b"%d" % (wait + 1)))
        self.tries.begin(address)

        async def heard(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self.tries.right(address)
            await send(message)

        await self.app(scope, receive, heard)


def _signed_in(scope: Scope) -> bool:
    """Whether the request has the cookie of someone who gave the password, as Gradio set it."""
    app = scope["app"]
    cookies: SimpleCookie = SimpleCookie()
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                cookies.load(value.decode("latin-1"))
            except CookieError:
                return False
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(name in cookies and cookies[name].value in app.tokens for name in names)


async def _refuse(send: Send, status: int, said: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"detail": said}).encode()
    about = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": body})
