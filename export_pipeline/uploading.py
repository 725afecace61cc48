"""An object put together from bytes and from ranges of other objects, which the store copies by itself where
they are large enough to be parts of an upload."""

import errno
from contextlib import suppress
from types import TracebackType
from typing import Any

from upath import UPath

from export_pipeline.buckets import (
    bucket_of,
    is_marked,
    is_refused_as_ended,
    is_refused_as_there,
    key_of,
    new_mark,
)

LEAST_BYTES = 5 << 20
"""Bytes that every part of an upload has but the last."""

_MOST_BYTES = 1 << 30
_READ_BYTES = 8 << 20


class Upload:
    """An object that must not be there yet, written from its beginning on; it appears at the block's end."""

    def __init__(self, path: UPath) -> None:
        self._path = path
        self._pending = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._id = ""
        self._mark = new_mark()

    def __enter__(self) -> "Upload":
        self._id = self._call("create_multipart_upload", **self._mark)["UploadId"]
        return self

    def add(self, content: bytes) -> None:
        """Add bytes; memory holds a part of them."""
        self._pending += content
        if len(self._pending) >= 2 * LEAST_BYTES:
            self._send()

    def copy(self, path: UPath, offset: int, length: int) -> None:
        """Add a range of another object of the same store."""
        fill = min(length, max(0, LEAST_BYTES - len(self._pending))) if self._pending else 0
        if length - fill < LEAST_BYTES:
            fill = length
        end = offset + length
        while fill:
            content = path.fs.cat_file(path.path, start=offset, end=offset + min(fill, _READ_BYTES))
            if not content:
                raise OSError(errno.EIO, "a piece ends too early", path.name)
            self.add(content)
            offset, fill = offset + len(content), fill - len(content)
        if offset < end and self._pending:
            self._send()
        while offset < end:
            # What is left after a part must be large enough to be one.
            stop = end if end - offset <= _MOST_BYTES else offset + _MOST_BYTES - LEAST_BYTES
            source = {"Bucket": bucket_of(path), "Key": key_of(path)}
            answer = self._call(
                "upload_part_copy",
                UploadId=self._id,
                PartNumber=len(self._parts) + 1,
                CopySource=source,
                CopySourceRange=f"bytes={offset}-{stop - 1}",
            )
            self._note(answer["CopyPartResult"]["ETag"])
            offset = stop

    def _send(self) -> None:
        answer = self._call(
            "upload_part", UploadId=self._id, PartNumber=len(self._parts) + 1, Body=bytes(self._pending)
        )
        self._note(answer["ETag"])
        self._pending.clear()

    def _note(self, tag: str) -> None:
        self._parts.append({"PartNumber": len(self._parts) + 1, "ETag": tag})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._pending or not self._parts:
                    self._send()
                self._call(
                    "complete_multipart_upload",
                    UploadId=self._id,
                    MultipartUpload={"Parts": self._parts},
                    IfNoneMatch="*",
                )
                return
        except OSError as refused:
            if is_refused_as_ended(refused) and is_marked(self._path, self._mark):
                return  # an answer was lost, not the work
            self._abort()
            if is_refused_as_there(refused):
                raise FileExistsError(errno.EEXIST, "it is there already", self._path.name) from None
            raise
        except BaseException:
            self._abort()
            raise
        self._abort()

    def _abort(self) -> None:
        with suppress(OSError):
            self._call("abort_multipart_upload", UploadId=self._id)

    def _call(self, name: str, **options: Any) -> Any:
        path = self._path
        return path.fs.call_s3(name, Bucket=bucket_of(path), Key=key_of(path), **options)
