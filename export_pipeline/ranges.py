"""An object of an object store as a file that is read by ranges, each once and the next one ahead of time."""

import asyncio
import io
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from upath import UPath

from export_pipeline.buckets import bucket_of, code_of, key_of

RANGE_BYTES = 8 << 20
"""Bytes that are asked for at once; memory holds two such ranges of a file."""

_ATTEMPTS = 4
_PAUSE_SECONDS = 0.2


class Changed(OSError):
    """An object is not what it was when it was listed, or when its reading began."""


class Ranges(io.RawIOBase):
    """A file that reads an object; all its bytes are of one version of it."""

    def __init__(self, path: UPath, version: str = "") -> None:
        """Begin to read ``path``.

        Args:
            version: as a listing told it; any other one is ``Changed``.
        """
        self._path, self._version = path, version
        self._place, self._size = 0, -1
        self._held, self._begin = b"", 0
        self._coming: dict[int, Future[tuple[bytes, int, str]]] = {}
        self._ask(0)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where it stands."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go somewhere else."""
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence == io.SEEK_END:
            if self._size < 0:
                self._load(0)
            offset += self._size
        self._place = max(offset, 0)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read what fits.

        Raises:
            Changed: if the object changed.
            FileNotFoundError: if it is gone.
            OSError: if the store does not give it.
        """
        if self._size >= 0 and self._place >= self._size:
            return 0
        if not self._begin <= self._place < self._begin + len(self._held):
            self._load(self._place)
        start = self._place - self._begin
        some = memoryview(self._held)[start : start + len(buffer)]
        buffer[: len(some)] = some
        self._place += len(some)
        return len(some)

    def close(self) -> None:
        """Give up what was asked for ahead."""
        self._forget()
        self._held = b""
        super().close()

    def _forget(self) -> None:
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()

    def _ask(self, start: int) -> None:
        self._coming[start] = asyncio.run_coroutine_threadsafe(self._get(start), self._path.fs.loop)

    def _load(self, start: int) -> None:
        ahead = start in self._coming
        if not ahead:
            self._forget()
            self._ask(start)
        self._held, self._begin = b"", start
        future = self._coming.pop(start)
        try:
            self._held, self._size, self._version = future.result()
        except OSError as error:
            if code_of(error) == "PreconditionFailed":
                raise Changed("it changed while it was read") from None
            raise
        end = start + len(self._held)
        if ahead and end < self._size:
            # Read from its beginning on, it is read to its end.
            self._ask(end)

    async def _get(self, start: int) -> tuple[bytes, int, str]:
        """The bytes from ``start``, the bytes of the whole object, and its version."""
        from s3fs.core import S3_RETRYABLE_ERRORS  # there is an object, so it is loaded

        path = self._path
        options = {"IfMatch": self._version} if self._version else {}
        span = f"bytes={start}-{start + RANGE_BYTES - 1}"
        for attempt in range(_ATTEMPTS):
            try:
                answer = await path.fs._call_s3(
                    "get_object", Bucket=bucket_of(path), Key=key_of(path), Range=span, **options
                )
            except OSError as error:
                if code_of(error) == "InvalidRange":  # it is empty, or ends before
                    return b"", start, self._version
                raise
            try:
                async with answer["Body"] as body:
                    content = await body.read()
                if len(content) == answer["ContentLength"]:
                    size = int(str(answer.get("ContentRange", "/0")).rpartition("/")[2])
                    return content, max(size, start + len(content)), answer["ETag"]
            except S3_RETRYABLE_ERRORS:
                if attempt == _ATTEMPTS - 1:
                    raise
            with suppress(asyncio.TimeoutError):
                await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
        raise OSError("the object store cut its answer off each time")
