"""The layer around every page: headers that keep foreign code out, cookies, and that no exception leaves."""

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export_pipeline.portal.pages import STATIC, static_path

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SECURE = {"Strict-Transport-Security": "max-age=31536000"}
_STATIC = "/static/"
_FOREVER = "public, max-age=31536000, immutable"


def _is_kept(scope: Scope) -> bool:
    """Whether the path is that of a static file with the hash of its content as it is now."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    name = path.removeprefix(_STATIC)
    if name == path or not (STATIC / name).is_file():
        return False
    return f"{path}?{scope['query_string'].decode('latin-1')}" == static_path(name)


class Headers:
    """ASGI middleware."""

    def __init__(
        self, app: ASGIApp, failed: Callable[[Request, Exception], Response], is_secure: bool = False
    ) -> None:
        self._app = app
        self._failed = failed
        self._always = {**_ALWAYS, **(_SECURE if is_secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an exception nobody expected becomes the page that ``failed`` makes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kept = _is_kept(scope)
        state = scope.setdefault("state", {})
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers.update(self._always)
                headers["Cache-Control"] = _FOREVER if kept and message["status"] == 200 else "no-store"
                for cookie in state.get("cookies", {}).values():
                    headers.append("Set-Cookie", cookie)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun:
                raise
            await self._failed(Request(scope), error)(scope, receive, sending)
