"""Who may ask the page's server for what: checked before any of its code sees a request.

The server listens on this machine only, but other users of the machine and every page that is open
in the browser reach it, too. So each request needs the token of the printed address (kept in a
cookie that scripts cannot read and other sites do not send), must name this machine as its host (a
page elsewhere may point its own name here) and must come from the page itself.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MAX_BODY", "Gate", "Tokens"]

MAX_BODY = 1 << 20  # bytes; forty thousand picks by hand are fewer
_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_READING = frozenset({"GET", "HEAD"})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Of a figure: text and lines with their own style, and nothing that could run or be fetched.
_FIGURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)

Role = Literal["owner", "guest"]


@dataclass(frozen=True)
class Tokens:
    """The secrets of one server.

    Attributes
    ----------
    owner
        Opens everything.
    guest
        Opens what changes nothing.
    """

    owner: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    guest: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def role(self, token: str) -> Role | None:
        """Return what a token opens; None if nothing."""
        found: Role | None = None
        given = token.encode()
        # Both are compared, in a time that tells nothing.
        if hmac.compare_digest(given, self.guest.encode()):
            found = "guest"
        if hmac.compare_digest(given, self.owner.encode()):
            found = "owner"
        return found


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Gate:
    """Middleware that lets through what may be asked, and says in the scope by whom.

    Parameters
    ----------
    app
        What to protect. It finds ``scope["icefloe.role"]``.
    tokens
        The secrets.
    cookie
        Name of the cookie; servers on other ports of this machine get the same cookies.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, cookie: str = "icefloe") -> None:
        self._app, self._tokens, self._cookie = app, tokens, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            headers = Headers(scope=scope)
            _check_host(headers)
            _check_origin(headers, scope["method"])
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            if scope["path"] == "/" and "token" in query:
                await self._enter(query["token"][0], send)
                return
            role = self._role(headers)
            if scope["method"] not in _READING:
                if role != "owner":
                    raise _RefusedError(403, "This link is for looking only")
                receive = await _limited(headers, receive)
        except _RefusedError as refused:
            await _answer(send, refused.status, refused.reason)
            return
        scope["icefloe.role"] = role
        await self._app(scope, receive, _with_headers(send))

    def _role(self, headers: Headers) -> Role:
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except CookieError:
            jar = SimpleCookie()
        morsel = jar.get(self._cookie)
        role = None if morsel is None else self._tokens.role(morsel.value)
        if role is None:
            raise _RefusedError(
                401, "Open the address that 'icefloe serve' printed, with its token, first"
            )
        return role

    async def _enter(self, token: str, send: Send) -> None:
        if self._tokens.role(token) is None:
            raise _RefusedError(401, "This token is not, or no longer, valid")
        # The address bar and the history do not keep the token.
        cookie = f"{self._cookie}={token}; Path=/; HttpOnly; SameSite=Strict"
        head = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        head += [(b"cache-control", b"no-store"), *_HEADERS]
        await send({"type": "http.response.start", "status": 303, "headers": head})
        await send({"type": "http.response.body", "body": b""})


def _check_host(headers: Headers) -> None:
    hosts = headers.getlist("host")
    try:
        name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
    except ValueError:
        name = None
    # Any port: a tunnel from another machine may begin at another one.
    if name not in _HOSTS:
        raise _RefusedError(421, "This server answers to the names 127.0.0.1 and localhost only")


def _check_origin(headers: Headers, method: str) -> None:
    own = f"http://{headers['host']}"
    origin = headers.get("origin")
    if origin is not None and origin != own:
        raise _RefusedError(403, "Asked by another page")
    if method in _READING:
        return
    if origin is None:
        raise _RefusedError(403, "Changes come from the page only")
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise _RefusedError(403, "Asked by another page")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _RefusedError(415, "Changes are sent as JSON")


async def _limited(headers: Headers, receive: Receive) -> Receive:
    """Read the whole body up to the limit, and return what hands it out again."""
    length = headers.get("content-length")
    if length is not None and (not length.isdigit() or int(length) > MAX_BODY):
        raise _RefusedError(413, "More than may be sent at once")
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise _RefusedError(400, "The request ended early")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise _RefusedError(413, "More than may be sent at once")
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def again() -> Message:
        return whole.pop() if whole else await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            head = list(message.get("headers", []))
            kind = next((value for key, value in head if key == b"content-type"), b"")
            policy = _FIGURE_POLICY if kind.startswith(b"image/svg") else _POLICY
            head += [(b"content-security-policy", policy.encode()), *_HEADERS]
            if not any(key == b"cache-control" for key, _ in head):
                head.append((b"cache-control", b"no-store"))
            message = {**message, "headers": head}
        await send(message)

    return sender


async def _answer(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    head += [(b"content-security-policy", _POLICY.encode()), (b"cache-control", b"no-store")]
    start = {"type": "http.response.start", "status": status, "headers": [*head, *_HEADERS]}
    await send(start)
    await send({"type": "http.response.body", "body": body})
