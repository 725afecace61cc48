"""Receivers of webhooks on this machine, well behaved and not, over plain HTTP and TLS."""

import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import trustme

from export_pipeline.delivery.addresses import Destination
from export_pipeline.delivery.sending import Address

NAME = "hooks.test"
"""Stands for this machine where ``resolver`` is asked."""


@dataclass(frozen=True)
class Received:
    """A request as a receiver got it; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Reply = tuple[int, Mapping[str, str], bytes]


@dataclass
class Receiver:
    """What came, and what is answered: ``reply`` gets the request and how many came before."""

    url: str
    port: int
    got: list[Received] = field(default_factory=list)
    reply: Callable[[Received, int], Reply] = lambda _, __: (200, {}, b"ok")

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.got]


@contextmanager
def receiver(context: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> Iterator[Receiver]:
    """A server that keeps every request."""
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            with lock:
                number = len(running.got)
                running.got.append(Received(self.path, headers, body))
            code, more, answer = running.reply(running.got[number], number)
            self.send_response(code)
            for key, value in more.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        port = server.server_address[1]
        running = Receiver(f"{'https' if context else 'http'}://{name}:{port}/hook", port)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def raw(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[tuple[str, list[int]]]:
    """A server that does to each connection what ``behave`` says, until the event is set; its URL, and a list
    that grows with each connection."""
    over, connections = threading.Event(), list[int]()

    def serve() -> None:
        while not over.is_set():
            try:
                client, _ = listening.accept()
            except OSError:
                return
            connections.append(1)
            threading.Thread(target=_one, args=(client,), daemon=True).start()

    def _one(client: socket.socket) -> None:
        with client, suppress(OSError):
            behave(client, over)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook", connections
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)


def authority() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server called ``NAME``, and for clients who trust it."""
    ca = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(NAME).configure_cert(served)
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    return served, trusting


def resolver(*addresses: str) -> Callable[[Destination], list[Address]]:
    """Every name stands for these addresses."""
    return lambda _: [ip_address(address) for address in addresses]
