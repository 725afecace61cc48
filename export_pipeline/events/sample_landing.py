"""The landing directory the sample fills: folders, names of files, lines that wait for their day."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from export_pipeline.errors import InvalidRequest
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.files import write_atomically
from export_pipeline.gzip_member import member
from export_pipeline.storage_full import is_full, no_room

FILE_LINES = 200_000
_PREFIX = "sample-"


def name(day: date, number: int, label: str = "") -> str:
    """The name of a landing file of ``day``, without what compression adds; files with a label come last."""
    return f"{_PREFIX}{day.isoformat()}-{label}{number:05d}.jsonl"


def write(folder: Path, file_name: str, content: Any, compressed: bool) -> None:
    """Write one landing file, gzip with no time in its header if ``compressed``; it appears whole.

    Raises:
        StorageFull: if no room is left.
    """
    if compressed:
        content, file_name = member(content), file_name + ".gz"
    try:
        write_atomically(folder / file_name, content)
    except OSError as error:
        if is_full(error):
            raise no_room(f"write {folder.name}/{file_name}") from error
        raise


@dataclass
class _Waiting:
    chunks: list[bytes] = field(default_factory=list)
    count: int = 0


class Landing:
    """Counts what is written, and keeps lines until the files of their day are.

    Raises:
        InvalidRequest: if ``to`` is not a directory that can be written.
    """

    def __init__(self, to: Path, progress: Callable[[int], None] | None) -> None:
        self._to = to
        self._progress = progress
        self._waiting: dict[tuple[date, str], list[_Waiting]] = {}
        targets = [*DATA_TYPES, *(f"users/{table}" for table in USER_TABLES)]
        self.written = {target: {"files": 0, "lines": 0} for target in targets}
        try:
            for target in targets:
                (to / target).mkdir(parents=True, exist_ok=True)
                for remains in (to / target).glob(f".{_PREFIX}*.tmp"):
                    remains.unlink()
        except OSError as error:
            raise InvalidRequest(
                f"to is {to}; it must be a directory that can be written ({error.strerror})", field="to"
            ) from error

    def note(self, target: str, lines: int) -> None:
        """Count a file that was written."""
        self.written[target]["files"] += 1
        self.written[target]["lines"] += lines
        if self._progress:
            self._progress(lines)

    def wait(self, day: date, target: str, content: bytes, count: int) -> None:
        """Hold lines back until ``day`` ends; no file of them gets more than ``FILE_LINES``."""
        files = self._waiting.setdefault((day, target), [])
        if not files or files[-1].count + count > FILE_LINES:
            files.append(_Waiting())
        files[-1].chunks.append(content)
        files[-1].count += count

    def end(self, first: date, last: date) -> None:
        """Write what waits for the days from ``first`` to ``last``."""
        for offset in range((last - first).days + 1):
            day = first + timedelta(days=offset)
            for target in self.written:
                for number, file in enumerate(self._waiting.pop((day, target), [])):
                    write(self._to / target, name(day, number, "x"), b"".join(file.chunks), number % 2 == 1)
                    self.note(target, file.count)
