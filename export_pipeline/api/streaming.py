"""Files as answers: ranges, validators, and bytes that pass through without being held (RFC 9110)."""

import asyncio
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from export_pipeline.pieces import Assembled

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)

Ended = Callable[[int], None]
"""Told how many bytes were sent, once no more will be."""


class FileAnswer(Response):
    """Bytes ``start`` to before ``end`` of a file, read as fast as they are taken."""

    def __init__(
        self, file: Assembled, start: int, end: int, status: int, headers: Mapping[str, str], ended: Ended
    ) -> None:
        super().__init__(None, status, {**headers, "Content-Length": str(end - start)}, file.media_type)
        self._file = file
        self._start = start
        self._end = end
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; stop when the reader is gone."""
        sent = 0
        blocks = self._file.read(self._start, self._end)
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            while not gone.done() and (block := await run_in_threadpool(next, blocks, None)) is not None:
                await send({"type": "http.response.body", "body": block, "more_body": True})
                sent += len(block)
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            await run_in_threadpool(self._ended, sent)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def file_answer(
    request: Request, file: Assembled, manifest_url: str | None, begin: Callable[[], Ended]
) -> Response:
    """The answer to a GET or HEAD of a file.

    Args:
        manifest_url: where the manifest is by which the file can be checked, if there is one.
        begin: called once it is certain that bytes will be sent; what it gives is told how many were.
    """
    tag = f'"{file.etag}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-transform",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name)}",
        "X-Content-Type-Options": "nosniff",
    }
    if manifest_url is not None:
        headers["Link"] = f'<{manifest_url}>; rel="describedby"; type="application/json"'
    if tag in _tags(request.headers.get("If-None-Match", "")):
        return Response(None, 304, headers)
    start, end, status = 0, file.length, 200
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if asked and not _reversed(asked) and request.headers.get("If-Range", tag) == tag:
        found = _span(asked[1], asked[2], file.length)
        if found is None:
            return Response(None, 416, {**headers, "Content-Range": f"bytes */{file.length}"})
        start, end = found
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.length}"
    if request.method == "HEAD":
        return Response(None, status, {**headers, "Content-Length": str(end - start)}, file.media_type)
    return FileAnswer(file, start, end, status, headers, begin())


def redirection(
    request: Request, location: str, manifest_url: str, length: int, begin: Callable[[], Ended]
) -> Response:
    """The answer that sends a GET or HEAD on to where the file is, unchanged.

    Args:
        length: the bytes of the file.
        begin: as for ``file_answer``; told how many bytes were asked for.
    """
    if request.method != "HEAD":
        begin()(_asked_for(request, length))
    headers = {
        "Location": location,
        "Cache-Control": "private, no-store",
        "Link": f'<{manifest_url}>; rel="describedby"; type="application/json"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(None, 307, headers)


def _asked_for(request: Request, length: int) -> int:
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if not asked or _reversed(asked):
        return length
    start, end = _span(asked[1], asked[2], length) or (0, 0)
    return end - start


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _reversed(asked: re.Match[str]) -> bool:
    """Whether a range ends before it starts, which makes it no range at all."""
    return bool(asked[1] and asked[2] and int(asked[2][:18]) < int(asked[1][:18]))


def _span(first: str, last: str, length: int) -> tuple[int, int] | None:
    """The half-open range that a Range header asks for; None if there is no such part of the file."""
    if not first:
        wanted = int(last[:18]) if last else 0
        return (max(0, length - wanted), length) if wanted and length else None
    start, end = int(first[:18]), min(int(last[:18]) + 1 if last else length, length)
    return (start, end) if start < end else None
