"""Bodies of requests: at most so many bytes, and what is in them."""

import json
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export_pipeline.api.envelopes import refusal
from export_pipeline.errors import InvalidRequest

_MOST_DRAINED = 1 << 28


class BodyLimit:
    """ASGI middleware that holds a body in memory, as far as it may be that long, and refuses a longer one.

    What is too much is read and dropped, up to a point: a client that still sends would otherwise see
    its connection break instead of the answer. What is below the path ``app.state.tells_too_long`` tells it
    in its own words: it gets the request with no body, and the most allowed as ``state.too_long``.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, or refuse it."""
        names = {name for name, _ in scope["headers"]} if scope["type"] == "http" else set()
        if not names & {b"content-length", b"transfer-encoding"}:
            await self._app(scope, receive, send)
            return
        body, seen, more = bytearray(), 0, True
        while more and seen <= _MOST_DRAINED:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            seen += len(message.get("body", b""))
            if seen <= self._most:
                body += message.get("body", b"")
            more = message.get("more_body", False)
        own = getattr(scope["app"].state, "tells_too_long", None)
        if seen > self._most and own and scope["path"].startswith(own):
            scope.setdefault("state", {})["too_long"] = self._most
            body.clear()
        elif seen > self._most:
            error = InvalidRequest(
                f"the body has more than {self._most} bytes, the most allowed", field="body"
            )
            await refusal(Request(scope), error)(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; none at all is an empty one.

    Raises:
        InvalidRequest: naming ``body``.
    """
    raw = request.state.body = await request.body()
    if not raw:
        return {}
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidRequest(
            "the body is not JSON; it must be a JSON object in UTF-8", field="body"
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("the body is JSON, but no object; it must be a JSON object", field="body")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
