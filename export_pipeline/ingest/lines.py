"""From landing files to lines: reading plain and gzip files in chunks of bounded size, cut at newlines.

Knows bytes, files and line numbers; nothing of JSON. A line ends at ``\\n`` or at the end of its file; one
that holds only white space is no line; a byte order mark at the start of a file is dropped. What cannot be
handed on as a line (too long, the rest of a damaged gzip file) comes out beside the lines, as ``Unreadable``.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from isal import isal_zlib

from export_pipeline.errors import DamagedData
from export_pipeline.ingest.landing import WaitingFile
from export_pipeline.objects import is_remote, label, reading
from export_pipeline.outages import answering
from export_pipeline.ranges import Changed

MAX_LINE_BYTES = 1 << 20
"""A longer line is rejected (contract, section 2)."""

KEPT_LINE_BYTES = 1 << 24
"""Of a line longer than this only the beginning is kept, so that memory stays bounded."""

CHUNK_BYTES = 1 << 25
PIECE_BYTES = 1 << 18

TOO_LONG, DAMAGED_GZIP = "too_long", "damaged_gzip"

LINES = pa.schema([("file", pa.int32()), ("line", pa.int64()), ("raw", pa.binary())])

_AHEAD = 4
"""Objects whose reading has begun, of which memory holds a range each."""

_BOM = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"
_GzipError = cast("type[Exception]", isal_zlib.error)  # its stub says that it is an instance
_GZIP_WINDOW = 31  # zlib's way of saying: with a gzip header


@dataclass(frozen=True)
class Unreadable:
    """A line that is rejected before it is parsed. ``line`` counts from 1; ``raw`` has no line end."""

    file: int
    line: int
    reason: str
    detail: str
    raw: bytes


@dataclass
class Chunk:
    """Some lines of some files, in order.

    ``lines`` has the columns ``LINES``: ``file`` (position in the list that is read), ``line`` (from 1) and
    ``raw`` (the bytes with their line end). ``bytes_read`` counts bytes of the files as they lie on disk.
    """

    lines: pa.Table
    unreadable: list[Unreadable] = field(default_factory=list)
    bytes_read: int = 0


class _Damaged(Exception):
    """The rest of a gzip file cannot be read."""


@dataclass
class _Segment:
    """Where the text of a file begins in the buffer, and how many of its lines came before that."""

    start: int
    file: int
    lines_before: int = 0


@dataclass
class _LongLine:
    """The beginning of a line that does not fit, and its length so far."""

    kept: bytes
    length: int


class LineReader:
    """Reads files one after the other; ``chunks`` gives their lines, each once."""

    def __init__(self, files: Sequence[WaitingFile], chunk_bytes: int = CHUNK_BYTES) -> None:
        self._files = files
        self._chunk_bytes = chunk_bytes
        self._buffer = bytearray()
        self._segments: list[_Segment] = []
        self._long: _LongLine | None = None
        self._unreadable: list[Unreadable] = []
        self._unreadable_bytes = 0
        self._bytes_read = 0

    def chunks(self) -> Iterator[Chunk]:
        """The lines of all files in chunks of about ``chunk_bytes``.

        Raises:
            Changed: if a file is not there in the version that was listed.
            DamagedData: if a file cannot be read, naming it.
            TransientError: if the object store does not answer.
        """
        for position, (waiting, file) in enumerate(_opened(self._files)):
            try:
                with answering():
                    yield from self._read(position, file)
            except OSError as error:
                path = waiting.path
                if is_remote(path):
                    raise Changed(f"{path.name} is not there any more") from None
                raise DamagedData(
                    f"{label(path)} cannot be read: {error.strerror or error}; "
                    "make it readable or move it away"
                ) from None
        if self._buffer or self._unreadable or self._bytes_read:
            yield self._emit(len(self._buffer))

    def _read(self, position: int, opened: Callable[[], BinaryIO]) -> Iterator[Chunk]:
        start = len(self._buffer)
        self._segments.append(_Segment(start, position))
        at_start = True
        with closing(opened()) as file:
            try:
                for piece in self._pieces(file):
                    self._buffer += self._after_long_line(piece) if self._long else piece
                    if at_start and len(self._buffer) - start >= len(_BOM):
                        at_start = False
                        if self._buffer.startswith(_BOM, start):
                            del self._buffer[start : start + len(_BOM)]
                    if len(self._buffer) + self._unreadable_bytes >= self._chunk_bytes:
                        yield self._emit(self._buffer.rfind(b"\n") + 1)
                        if len(self._buffer) > KEPT_LINE_BYTES:
                            self._long = _LongLine(bytes(self._buffer[:KEPT_LINE_BYTES]), len(self._buffer))
                            self._buffer.clear()
            except _Damaged as damage:
                self._cut_rest(str(damage))
        if self._long:
            self._end_long_line()
        elif len(self._buffer) > self._segments[-1].start and not self._buffer.endswith(b"\n"):
            self._buffer += b"\n"

    def _next(self, file: BinaryIO) -> bytes:
        piece = file.read(PIECE_BYTES)
        self._bytes_read += len(piece)
        return piece

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        piece = self._next(file)
        if piece.startswith(_GZIP_MAGIC):
            yield from self._gunzipped(file, piece)
            return
        while piece:
            yield piece
            piece = self._next(file)

    def _gunzipped(self, file: BinaryIO, pending: bytes) -> Iterator[bytes]:
        decompressor = None
        held_back = False
        while True:
            if not pending and not held_back:
                pending = self._next(file)
                if not pending and decompressor is None:
                    return
                if not pending:
                    raise _Damaged("the gzip file ends early; this is what could be read after the last line")
            if decompressor is None:
                pending = pending.lstrip(b"\0")  # zeros after a member are padding
                if not pending:
                    continue
                decompressor = isal_zlib.decompressobj(_GZIP_WINDOW)
            try:
                text = decompressor.decompress(pending, PIECE_BYTES)
            except _GzipError:
                raise _Damaged(
                    "the gzip file is damaged; this is what could be read after the last line"
                ) from None
            pending, held_back = decompressor.unconsumed_tail, len(text) == PIECE_BYTES
            if decompressor.eof:
                pending, decompressor, held_back = decompressor.unused_data, None, False
            if text:
                yield text

    def _refuse(self, unreadable: Unreadable) -> None:
        self._unreadable.append(unreadable)
        self._unreadable_bytes += len(unreadable.raw)

    def _after_long_line(self, piece: bytes) -> bytes:
        assert self._long
        end = piece.find(b"\n")
        self._long.length += len(piece) if end < 0 else end
        if end < 0:
            return b""
        self._end_long_line()
        return piece[end + 1 :]

    def _end_long_line(self) -> None:
        assert self._long
        segment = self._segments[-1]
        segment.lines_before += 1
        self._refuse(_too_long(segment.file, segment.lines_before, self._long.kept, self._long.length))
        self._long = None

    def _cut_rest(self, damage: str) -> None:
        segment = self._segments[-1]
        cut = max(self._buffer.rfind(b"\n", segment.start) + 1, segment.start)
        rest = self._long.kept if self._long else bytes(self._buffer[cut : cut + KEPT_LINE_BYTES])
        line = segment.lines_before + self._buffer.count(b"\n", segment.start, cut) + 1
        self._refuse(Unreadable(segment.file, line, DAMAGED_GZIP, damage, rest))
        self._long = None
        del self._buffer[cut:]

    def _emit(self, end: int) -> Chunk:
        text, self._buffer = self._buffer, self._buffer[end:]
        del text[end:]
        lines = self._cut(text)
        chunk = Chunk(lines, self._unreadable, self._bytes_read)
        self._unreadable, self._unreadable_bytes, self._bytes_read = [], 0, 0
        return chunk

    def _cut(self, text: bytearray) -> pa.Table:
        octets = np.frombuffer(text, np.uint8)
        offsets = _line_starts(octets)
        starts = offsets[:-1]
        first_line = np.searchsorted(starts, [segment.start for segment in self._segments])
        segment_of = np.searchsorted([s.start for s in self._segments], starts, side="right") - 1
        before = np.array([s.lines_before for s in self._segments], np.int64) - first_line
        number = np.arange(1, len(starts) + 1, dtype=np.int64) + before[segment_of]
        file = np.array([s.file for s in self._segments], np.int32)[segment_of]
        last = self._segments[-1]
        self._segments = [_Segment(0, last.file, last.lines_before + len(starts) - int(first_line[-1]))]
        raw = pa.Array.from_buffers(
            pa.binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(text)]
        )
        keep = self._keep(octets, offsets, file, number, text)
        lines = pa.table([file, number, raw], LINES)
        return lines if keep is None else lines.filter(pa.array(keep))

    def _keep(
        self,
        octets: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int32],
        file: npt.NDArray[np.int32],
        number: npt.NDArray[np.int64],
        text: bytearray,
    ) -> npt.NDArray[np.bool_] | None:
        # Both are rare, so the common chunk is passed on without a copy.
        keep = None
        if (octets[offsets[:-1]] <= ord(" ")).any():
            inked = ~np.isin(octets, np.frombuffer(b" \t\r\n", np.uint8))
            keep = np.logical_or.reduceat(inked, offsets[:-1])
        for i in np.flatnonzero(np.diff(offsets) > MAX_LINE_BYTES + len("\n")):
            line = bytes(text[offsets[i] : offsets[i + 1]]).removesuffix(b"\n").removesuffix(b"\r")
            if len(line) > MAX_LINE_BYTES:
                keep = np.ones(len(number), np.bool_) if keep is None else keep
                keep[i] = False
                self._refuse(_too_long(int(file[i]), int(number[i]), line[:KEPT_LINE_BYTES], len(line)))
        return keep


def _opened(files: Sequence[WaitingFile]) -> Iterator[tuple[WaitingFile, Callable[[], BinaryIO]]]:
    """Each file with what opens it; the first bytes of some objects that come next are asked for already."""
    coming: deque[BinaryIO] = deque()
    for position, waiting in enumerate(files):
        if not is_remote(waiting.path):
            yield waiting, partial(reading, waiting.path)
            continue
        while len(coming) < _AHEAD and position + len(coming) < len(files):
            following = files[position + len(coming)]
            coming.append(reading(following.path, following.version))
        yield waiting, coming.popleft


def _line_starts(octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Where the lines of ``octets`` start, and where the last one ends."""
    # A piece at a time, so that what is between the steps stays in the processor's cache.
    ends = [np.zeros(1, np.int32)]
    for start in range(0, len(octets), PIECE_BYTES):
        found = np.flatnonzero(octets[start : start + PIECE_BYTES] == ord("\n"))
        ends.append((found + (start + 1)).astype(np.int32))
    return np.concatenate(ends)


def _too_long(file: int, line: int, kept: bytes, length: int) -> Unreadable:
    detail = f"the line has {length} bytes; it may have {MAX_LINE_BYTES}"
    if len(kept) < length:
        detail += f"; its first {len(kept)} are kept"
    return Unreadable(file, line, TOO_LONG, detail, kept)
