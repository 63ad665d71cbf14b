"""What every request and response goes through: only pages of this server may use it.

A page of another site can make a browser send requests here. Its name can also be made to mean this machine (DNS
rebinding), whereupon the browser takes it for ours. The first kind says where it comes from, the second calls this
server by the wrong name.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
READING = ("GET", "HEAD")


class Protection:
    """Refuses what comes from elsewhere, and tells browsers to load nothing from there."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]):
        """
        Args:
            app: what is protected.
            hosts: names that this server may be called by, beside ``localhost`` and addresses.
        """
        self._app = app
        self._hosts = {"localhost", *map(str.lower, hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        fault = self._fault(scope["method"], Headers(scope=scope))
        app = JSONResponse({"error": fault}, 403) if fault else self._app
        await app(scope, receive, send_protected)

    def _fault(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        name = _host_name(host)
        if name not in self._hosts and not _is_address(name):
            return f"this server is not known as {name!r}; start it with --allow-host {name or 'NAME'}"
        if method in READING:
            return None
        origin = headers.get("origin")
        elsewhere = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if elsewhere or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "this request comes from a page of another site; open this server's own page"
        return None


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    # No name that somebody else may give another meaning to.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
