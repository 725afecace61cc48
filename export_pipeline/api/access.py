"""The outermost layer of every request: its id, the access log, the metrics, and that no exception leaves.

The log names the route, never the path: paths can hold ids of people. A defect is logged by its place in
the code, as its text may quote what somebody sent.
"""

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export_pipeline import ids
from export_pipeline.api.envelopes import refusal
from export_pipeline.api.metrics import Metrics
from export_pipeline.errors import ExportPipelineError
from export_pipeline.failures import defect

ACCESS = logging.getLogger("export_pipeline.access")
DEFECTS = logging.getLogger("export_pipeline.api")
NO_ROUTE = "(none)"


class Broken(Exception):
    """An answer could not be sent to its end; the connection is closed, so that its reader notices."""


class Access:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = ids.REQUEST.new()
        status, sent, began = 0, 0, time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = state["request_id"]
                for name, value in state.get("rate_headers", {}).items():
                    headers[name] = value
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            told = defect(error)
            DEFECTS.error("%s %s", state["request_id"], told)
            if status:
                raise Broken(told) from None
            unexpected = ExportPipelineError(
                "an unexpected error; the server's log has more under the request id"
            )
            await refusal(Request(scope), unexpected)(scope, receive, sending)
        finally:
            route = _route(scope)
            seconds = time.perf_counter() - began
            self._metrics.answered(scope["method"], route, status, seconds)
            ACCESS.info(
                "%s %s %d %d bytes %.1f ms %s",
                scope["method"],
                route,
                status,
                sent,
                seconds * 1000,
                state["request_id"],
            )


def _route(scope: Scope) -> str:
    """The route that answered, below the path of the application it belongs to."""
    route = getattr(scope.get("route"), "path", None)
    return NO_ROUTE if route is None else f"{scope.get('root_path', '')}{route}"
