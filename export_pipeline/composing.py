"""Files put together from bytes and from ranges of other files; a store copies by itself those ranges of its
objects that are large enough to be parts of an upload.

Such a file is begun by one process and may be written by another, twice if that one was thought dead. Who
began it has the last word: once it is given up, or the folder cleared in which it would be, it appears no
more, whoever still writes.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from botocore.exceptions import BotoCoreError
from upath import UPath

from export_pipeline import buckets
from export_pipeline.buckets import bucket_of, is_marked, is_refused_as_ended, is_refused_as_there, key_of
from export_pipeline.objects import AnyPath, is_remote, part, remove

LEAST_BYTES = 5 << 20
"""Bytes that every part of an upload has but the last."""

_MOST_BYTES = 1 << 28  # which a store copies before it is thought to be gone
_READ_BYTES = 8 << 20


@dataclass(frozen=True)
class Extent:
    """``length`` bytes of the file at ``path`` from ``offset`` on."""

    path: AnyPath
    offset: int
    length: int


@dataclass(frozen=True)
class Begun:
    """A file at ``path`` that is not there yet; of an object, its upload and the mark that it gets."""

    path: AnyPath
    upload: str = ""
    mark: Mapping[str, Any] | None = None


def begin(path: AnyPath) -> Begun:
    """Begin the file ``path``, which must not be there when it is done."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return Begun(path)
    mark = buckets.new_mark()
    return Begun(path, str(_call(path, "create_multipart_upload", **mark)["UploadId"]), mark)


def give_up(begun: Begun) -> None:
    """Let a file that was begun never appear; one that is there stays."""
    if not isinstance(begun.path, Path):
        # What is not removed now is when the next to work there begins, or by retention.
        with suppress(OSError, BotoCoreError):
            _call(begun.path, "abort_multipart_upload", UploadId=begun.upload)


def clear(folder: AnyPath) -> None:
    """Remove the tree ``folder``, if there is one; no file appears in it any more that was begun there."""
    if is_remote(folder):
        for upload in list(buckets.unfinished(cast(UPath, folder))):
            buckets.abort(upload)
        remove(folder)
    while not is_remote(folder) and folder.exists():
        try:
            remove(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise  # otherwise somebody wrote or removed something there meanwhile


def compose(target: AnyPath | Begun, pieces: Sequence[bytes | Extent]) -> None:
    """Put ``pieces`` together, in order, as the file ``target``.

    An object appears whole or not at all; to write it again is no error, if it is of the same beginning. One
    that was not begun before is given up if this fails.

    Raises:
        FileExistsError: if there is another such object.
        FileNotFoundError: if it was given up, or a piece is not there.
    """
    begun = target if isinstance(target, Begun) else begin(target)
    try:
        _write(begun, pieces)
    except BaseException:
        if begun is not target:
            give_up(begun)
        raise


def _write(begun: Begun, pieces: Sequence[bytes | Extent]) -> None:
    if isinstance(begun.path, Path):
        begun.path.unlink(missing_ok=True)  # of a process that died here; nobody reads it yet
        with open(begun.path, "xb", buffering=0) as file:
            for piece in pieces:
                for block in _blocks_of(piece):
                    file.write(block)
            os.fsync(file.fileno())
        return
    with _Upload(begun) as upload:
        for piece in pieces:
            if isinstance(piece, Extent) and not isinstance(piece.path, Path):
                upload.copy(piece.path, piece.offset, piece.length)
            else:
                for block in _blocks_of(piece):
                    upload.add(block)


def _blocks_of(piece: bytes | Extent) -> Iterator[bytes]:
    if isinstance(piece, Extent):
        yield from part(piece.path, piece.offset, piece.offset + piece.length)
    else:
        yield piece


class _Upload:
    """An object that must not be there yet, written from its beginning on; it appears at the block's end."""

    def __init__(self, begun: Begun) -> None:
        assert not isinstance(begun.path, Path)
        assert begun.mark is not None
        self._path, self._id, self._mark = begun.path, begun.upload, begun.mark
        self._pending = bytearray()
        self._parts: list[dict[str, Any]] = []

    def __enter__(self) -> "_Upload":
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
            answer = self._part(
                "upload_part_copy", CopySource=source, CopySourceRange=f"bytes={offset}-{stop - 1}"
            )
            self._note(answer["CopyPartResult"]["ETag"])
            offset = stop

    def _send(self) -> None:
        self._note(self._part("upload_part", Body=bytes(self._pending))["ETag"])
        self._pending.clear()

    def _part(self, name: str, **options: Any) -> Any:
        return _call(self._path, name, UploadId=self._id, PartNumber=len(self._parts) + 1, **options)

    def _note(self, tag: str) -> None:
        self._parts.append({"PartNumber": len(self._parts) + 1, "ETag": tag})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            return self._is_done(error)
        try:
            if self._pending or not self._parts:
                self._send()
            parts = {"Parts": self._parts}
            _call(
                self._path,
                "complete_multipart_upload",
                UploadId=self._id,
                MultipartUpload=parts,
                IfNoneMatch="*",
            )
        except OSError as refused:
            if self._is_done(refused):
                return False
            if is_refused_as_there(refused):
                raise FileExistsError(errno.EEXIST, "it is there already", self._path.name) from None
            raise
        return False

    def _is_done(self, error: BaseException) -> bool:
        """Whether an error only means that the object is there: an answer was lost, or it was made twice."""
        return is_refused_as_ended(error) and is_marked(self._path, self._mark)


def _call(path: UPath, name: str, **options: Any) -> Any:
    return path.fs.call_s3(name, Bucket=bucket_of(path), Key=key_of(path), **options)
