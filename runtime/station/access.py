"""Who may ask the station for what: its token, sessions, hosts, origins and the size of requests."""

import ipaddress
import re
import secrets
import socket
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_BYTES = 16
ENTER = "/enter"
MAX_BODY = 65_536  # bytes of a request: a page's hundred cells are two thousand
SAFE = ("GET", "HEAD")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'; object-src 'none'",  # the page has the rest
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with none, a browser does not say the origin of a form
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Sessions:
    """Browsers that were let in by the token.

    Attributes:
        token: 128 random bits, as text.
        cookie: Name of the cookie that names a session; another station on this machine has another one.
    """

    def __init__(self, port: int):
        self.token, self.cookie = secrets.token_urlsafe(TOKEN_BYTES), f"cartcls-{port}"
        self._known: set[str] = set()
        self._tickets: set[str] = set()

    def is_token(self, text: str) -> bool:
        """Whether a text is the token; the time that it takes tells nothing."""
        return secrets.compare_digest(text.encode(), self.token.encode())

    def ticket(self) -> str:
        """Make a text that lets one browser in, once: what a browser is started with, others can read."""
        ticket = secrets.token_urlsafe(TOKEN_BYTES)
        self._tickets.add(ticket)
        return ticket

    def lets_in(self, text: str) -> bool:
        """Whether a text is the token, or a ticket; a ticket is none any more then."""
        try:
            self._tickets.remove(text)  # of two threads, one succeeds
        except KeyError:
            return self.is_token(text)
        return True

    def begin(self) -> str:
        """Begin a session; returns the value of its cookie."""
        session = secrets.token_urlsafe(TOKEN_BYTES)
        self._known.add(session)
        return session

    def of(self, headers: Headers) -> str:
        """The session of a request; empty where there is none."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found and found.value in self._known else ""


class Hosts:
    """Names under which the station is asked for: others are a name that an attacker lets point here."""

    def __init__(self, host: str, port: int):
        """Begin.

        Args:
            host: Address that it listens at; where it stands for all, so do all addresses, and this machine's name.
            port: Where it listens.
        """
        self._any = host in ("0.0.0.0", "::")
        self._names = {"localhost", "127.0.0.1", "[::1]", host.lower(), f"[{host}]"}
        if self._any:
            self._names.add(socket.gethostname().lower())
        self._port = port

    def allow(self, host: str) -> bool:
        """Whether a `Host` is one of them, with its port; a browser leaves out that of HTTP."""
        name, _, port = (host if re.search(r":\d+$", host) else f"{host}:80").rpartition(":")
        if port != str(self._port):
            return False
        return name.lower() in self._names or (self._any and _is_address(name.strip("[]")))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Access:
    """Refuses what does not come from the station's own page in a browser that was let in."""

    def __init__(self, app: ASGIApp, sessions: Sessions, hosts: Hosts):
        self._app, self._sessions, self._hosts = app, sessions, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":  # a web socket is closed without a word
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers) or self._without_session(scope, headers)
        await (answer or self._app)(scope, _Bounded(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._hosts.allow(host):
            return PlainTextResponse("This station has another address: open the link that it printed.", 403)
        if scope["method"] not in SAFE and (origin != f"http://{host}" or _is_cross_site(headers)):
            return PlainTextResponse("This came from another page than the station's own.", 403)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdecimal() or int(length) > MAX_BODY:
            return PlainTextResponse(f"A request may have {MAX_BODY} bytes.", 413)
        return None

    def _without_session(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["path"] == "/favicon.ico":  # browsers ask for one by themselves
            return Response(status_code=204)
        if scope["path"] == ENTER or self._sessions.of(headers):
            return None
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            return None
        if scope["method"] in SAFE and scope["path"].endswith("/"):
            return RedirectResponse(ENTER, 303)
        return PlainTextResponse("Open the link that the station printed.", 401)


def _is_cross_site(headers: Headers) -> bool:
    return headers.get("sec-fetch-site", "same-origin") != "same-origin"


class _Bounded:
    """The body of a request that does not say how long it is, or says less."""

    def __init__(self, receive: Receive):
        self._receive, self._bytes = receive, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > MAX_BODY:
            raise TooLarge
        return message


class TooLarge(Exception):
    """The body of a request is larger than it may be."""


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers
