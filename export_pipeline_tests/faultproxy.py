"""A proxy in front of an object store that answers wrongly, late or half, by a chance that a seed decides.

It passes bytes on as they are, so signatures hold; what it spoils is an answer, or a connection.
"""

import asyncio
import random
import re
import threading
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

FAULTS = ("500", "503", "slow", "cut request", "lost answer", "cut answer")
"""Refused; passed on late; ended before it was passed on, after, and in the middle of the answer."""

_SLOW_SECONDS = 0.2
_BODY = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>a fault</Message></Error>"
DENIED = "403"
"""Refused as one without rights is: no fault of a store that works, so it has to be asked for."""
_REFUSALS = {
    DENIED: (b"Forbidden", b"AccessDenied"),
    "500": (b"Internal Server Error", b"InternalError"),
    "503": (b"Slow Down", b"SlowDown"),
}
_LIMIT = 1 << 20


@dataclass
class FaultProxy:
    """Where it answers, the share of requests that it spoils (0 to 1), and how many it spoiled by fault.

    ``down``: it ends every connection at once. ``mute``: it takes requests and never answers. ``only``: a
    pattern that the requests begin with that are spoiled; ``left``: how many more of them, if not negative.
    """

    url: str
    share: float = 0.0
    faults: tuple[str, ...] = FAULTS
    only: bytes = b""
    left: int = -1
    down: bool = False
    mute: bool = False
    spoiled: Counter[str] = field(default_factory=Counter)


@contextmanager
def running(target_port: int, seed: int) -> Iterator[FaultProxy]:
    """A proxy to the store on ``target_port`` of this machine, which spoils nothing until told to."""
    chance, proxy, ready = random.Random(seed), FaultProxy(""), threading.Event()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def accept(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if not proxy.down:
                await _connection(proxy, chance, target_port, reader, writer)
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_LIMIT)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            await asyncio.wait([task])

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()


async def _connection(
    proxy: FaultProxy, chance: random.Random, target_port: int, reader: StreamReader, writer: StreamWriter
) -> None:
    there, send = await asyncio.open_connection("127.0.0.1", target_port, limit=_LIMIT)
    try:
        while head := await _head(reader):
            if proxy.mute:
                await reader.read()
                return
            fault = _fault(proxy, chance, head)
            if b"100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if fault == "cut request" or proxy.down:
                await reader.readexactly(min(1000, int(_header(head, b"content-length") or 0)))
                return
            body = await _body(reader, head)
            if fault in _REFUSALS:
                writer.write(_refusal(fault))
                continue
            if fault == "slow":
                await asyncio.sleep(_SLOW_SECONDS)
            send.write(_without_expect(head) + body)
            answer = await _head(there)
            bare = head.startswith(b"HEAD ") or answer[9:12] in (b"204", b"304")
            content = b"" if bare else await _body(there, answer)
            if fault == "lost answer":
                return
            if fault == "cut answer":
                writer.write((answer + content)[: len(answer) + len(content) // 2 - 1])
                await writer.drain()
                return
            writer.write(answer + content)
            await writer.drain()
    finally:
        send.close()


def _fault(proxy: FaultProxy, chance: random.Random, head: bytes) -> str:
    if not proxy.left or not re.match(proxy.only, head) or chance.random() >= proxy.share:
        return ""
    proxy.left -= 1
    fault = chance.choice(proxy.faults)
    proxy.spoiled[fault] += 1
    return fault


async def _head(reader: StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _body(reader: StreamReader, head: bytes) -> bytes:
    """What comes after a head, as it is framed."""
    if b"\r\ntransfer-encoding: chunked" not in head.lower():
        return await reader.readexactly(int(_header(head, b"content-length") or 0))
    read = b""
    while True:
        line = await reader.readline()
        chunk = await reader.readexactly(int(line.split(b";")[0], 16) + 2)
        read += line + chunk
        if chunk == b"\r\n":
            return read


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(name + b":"):
            return line.partition(b":")[2].strip()
    return b""


def _without_expect(head: bytes) -> bytes:
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))


def _refusal(fault: str) -> bytes:
    reason, code = _REFUSALS[fault]
    body = _BODY % code
    head = b"HTTP/1.1 %s %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n"
    return head % (fault.encode(), reason, len(body)) + body
