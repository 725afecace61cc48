"""How DuckDB reads objects: as files of a file system of fsspec's kind, by ranges that pyarrow asks for.

DuckDB lets several threads read one file, each by a seek and a read that others can come between. So here
each thread has a place of its own in a file; with the files of other file systems what it reads can be torn.
"""

import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from fsspec import AbstractFileSystem

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

_SCHEME = "s3"


class Objects(AbstractFileSystem):  # type: ignore[misc]
    """The objects that ``filesystem`` reaches, named ``s3://bucket/key``; they are read only."""

    protocol = _SCHEME
    cachable = False

    def __init__(self, filesystem: "FileSystem") -> None:
        super().__init__()
        self._objects = filesystem

    def open(self, path: str, mode: str = "rb", **options: Any) -> "_File":
        """The object at ``path``.

        Raises:
            FileNotFoundError: if it is not there.
            PermissionError: if it is to be written.
        """
        if mode not in ("r", "rb"):
            raise PermissionError("objects are read only here")
        return _File(self._objects.open_input_file(self._strip_protocol(path)))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """What there is at ``path``."""
        found = self._objects.get_file_info(self._strip_protocol(path))
        if not (found.is_file or _is_folder(found)):
            raise FileNotFoundError(path)
        return _told(found)

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What is directly below ``path``."""
        from pyarrow.fs import FileSelector

        selected = FileSelector(self._strip_protocol(path), allow_not_found=True)
        found = [_told(each) for each in self._objects.get_file_info(selected)]
        return found if detail else [each["name"] for each in found]

    def modified(self, path: str) -> datetime:
        """When the object at ``path`` was written."""
        written: datetime = self.info(path)["mtime"]
        return written


def _told(found: "FileInfo") -> dict[str, Any]:
    kind = "directory" if _is_folder(found) else "file"
    return {"name": found.path, "size": found.size, "type": kind, "mtime": found.mtime}


def _is_folder(found: "FileInfo") -> bool:
    return str(found.type.name) == "Directory"


class _File:
    """An object that is read, by each thread from a place of its own."""

    def __init__(self, content: pa.NativeFile) -> None:
        self._content = content
        self._size = content.size()
        self._thread = threading.local()

    def read(self, count: int = -1) -> bytes:
        begin = self.tell()
        left = max(0, self._size - begin)
        data: bytes = self._content.read_at(left if count < 0 else min(count, left), begin)
        self._thread.place = begin + len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._thread.place = offset + (0, self.tell(), self._size)[whence]
        return self.tell()

    def tell(self) -> int:
        place: int = getattr(self._thread, "place", 0)
        return place

    def flush(self) -> None:
        """There is nothing to write."""

    def close(self) -> None:
        self._content.close()
