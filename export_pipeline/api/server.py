"""Running the application on uvicorn."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from export_pipeline.api.deployment import Deployment
from export_pipeline.errors import InvalidRequest

BACKLOG = 512
ENDING_SECONDS = 20


def serve(app: FastAPI, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Answer requests until the process is told to end; downloads under way then have 20 s.

    Args:
        port: 0 for any that is free.
        ready: told the URL, once requests are accepted.

    Raises:
        InvalidRequest: if the address cannot be listened on.
    """
    listening = _listen(host, port)
    with listening:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
        bound = listening.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        ready(f"http://{shown}:{bound[1]}")
        with suppress(KeyboardInterrupt):  # which is how it is told to end
            server(app).run(sockets=[listening])


def server(app: FastAPI, ending_seconds: int = ENDING_SECONDS) -> uvicorn.Server:
    """The server of an application; its own access log, which shows paths, is off."""
    here: Deployment = app.state.deployment
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        forwarded_allow_ips=here.settings.trusted_proxies,
        timeout_graceful_shutdown=ending_seconds,
    )
    config.load()
    config.loaded_app = noting_peer(config.loaded_app)
    return uvicorn.Server(config)


def noting_peer(app: ASGIApp) -> ASGIApp:
    """Note under ``peer`` who a request's connection is from, before the headers of proxies are believed."""

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        scope["peer"] = scope.get("client")
        await app(scope, receive, send)

    return noting


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidRequest(
            f"host and port are {host}:{port}, which cannot be listened on: {error.strerror}; "
            "they must be an address of this machine and a free port",
            field="port",
        ) from None
