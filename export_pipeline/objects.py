"""Where the trees of data lie: folders below the state root, or prefixes of an S3 bucket; paths of one kind.

Owns how S3 is reached, and what differs between the two: what makes a write whole or nothing, uploads that
stream, and how pyarrow and DuckDB read. Everything else uses the methods of a path (``UPath``), which are
the same for both. Credentials are found by the usual means of AWS.
"""

import errno
import io
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import duckdb
import fsspec
import pyarrow as pa
from botocore.exceptions import BotoCoreError
from upath import UPath

from export_pipeline import buckets, files
from export_pipeline.duckdb_objects import Objects
from export_pipeline.ranges import Ranges

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

PART_BYTES = 16 << 20
"""Bytes of an object that are sent at once: an object has at most 10,000 such parts."""

READ_BYTES = 4 << 20
"""Bytes of an object that are asked for at once by what reads on."""

AnyPath = UPath | Path
AnyPathT = TypeVar("AnyPathT", bound=UPath | Path)
"""A path of a tree of data, or one of this machine that somebody named."""

_BLOCK_BYTES = 1 << 20
_SCHEME = "s3://"

ATTEMPTS = 7
"""How often a request is sent before it has failed, within six seconds: a store that is gone is told soon,
which somebody who waits bears; a run is tried again as a whole."""
_CONNECT_SECONDS = 5
_READ_SECONDS = 20
"""How long a store may say nothing; one that never does is told after as many attempts."""
_TREES = ("landing", "store", "exports", "quarantine", "certificates", "tmp")

# Told by its name, as not everybody has a bucket.
fsspec.register_implementation("s3", "export_pipeline.s3_filesystem.PatientFileSystem", clobber=True)


def place(url: str, endpoint: str = "", region: str = "") -> UPath:
    """The path of ``url``, ``s3://bucket/prefix`` or a local path.

    Args:
        endpoint: where a store answers that is not AWS, such as ``https://objects.example.com``.
        region: its region, if it is not found by the usual means of AWS.
    """
    if not url.startswith(_SCHEME):
        return UPath(url)
    client: dict[str, Any] = {"region_name": region} if region else {}
    style = {"s3": {"addressing_style": "path"}} if endpoint else {}
    return UPath(
        url,
        endpoint_url=endpoint or None,
        client_kwargs=client,
        config_kwargs={
            # Said, as presigned URLs would be of an older version.
            "signature_version": "s3v4",
            # By s3fs, which does it for all: one in the other would wait for the product of both.
            "retries": {"total_max_attempts": 1},
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "max_pool_connections": 32,
            **style,
        },
        # Others write there too: nothing that was seen once may be believed later.
        use_listings_cache=False,
        default_fill_cache=False,
        default_cache_type="none",
    )


def is_remote(path: AnyPath) -> bool:
    """Whether ``path`` is of an object store; otherwise it is one of this machine."""
    return not isinstance(path, Path)


def local(path: AnyPath) -> Path:
    """The same path of this machine, for what only reads such; not for one of an object store."""
    assert not is_remote(path)
    return cast(Path, path)


def write(path: AnyPath, content: bytes, *, absent: bool = False) -> None:
    """Write ``content`` to ``path``, whole or not at all.

    Args:
        absent: whether it must not be there yet; of several writers one wins.

    Raises:
        FileExistsError: if it is there and must not be.
    """
    if not isinstance(path, Path):
        mark = buckets.new_mark()
        try:
            path.fs.pipe_file(path.path, content, mode="create" if absent else "overwrite", **mark)
        except OSError as error:
            if not absent or not buckets.is_refused_as_there(error):
                raise
            if not buckets.is_marked(path, mark):
                raise FileExistsError(errno.EEXIST, "it is there already", path.name) from None
    elif absent:
        _link_atomically(path, content)
    else:
        files.write_atomically(path, content)


def _link_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        files.write_atomically(temporary, content)
        os.link(temporary, path)
        files.flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: AnyPath, *, absent: bool = False) -> Iterator[BinaryIO]:
    """A new file at ``path``, written in the block from its beginning to its end.

    An object appears whole when the block ends, and not at all if it fails; memory holds one part of it.
    A file of this machine is flushed to disk when the block ends; while it is written it can be seen, so
    write it below a folder that nobody reads yet.

    Args:
        absent: whether no object must be there when the block ends; a file of this machine never may.

    Raises:
        FileExistsError: if it is there and must not be.
    """
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb", buffering=0) as file:
            yield cast(BinaryIO, file)
            os.fsync(file.fileno())
        return
    mark = buckets.new_mark()
    upload = path.fs.open(path.path, "xb" if absent else "wb", block_size=PART_BYTES, **mark)
    try:
        yield cast(BinaryIO, upload)
        upload.close()
    except BaseException as error:
        upload.closed = True
        if buckets.is_refused_as_ended(error) and buckets.is_marked(path, mark):
            return
        with suppress(OSError, BotoCoreError):
            upload.discard()
        if absent and buckets.is_refused_as_there(error):
            raise FileExistsError(errno.EEXIST, "it is there already", path.name) from None
        raise


def bring(made: Path, place: UPath) -> None:
    """Move a file of this machine to its place in a tree of data, where it appears whole."""
    if not is_remote(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        made.rename(local(place))
        files.flush(local(place).parent)
        return
    with open(made, "rb") as file, writing(place) as sent:
        shutil.copyfileobj(file, sent, READ_BYTES)
    made.unlink()


def remove(path: AnyPath) -> None:
    """Remove the file or tree at ``path``, if there is one."""
    if is_remote(path):
        buckets.delete_tree(cast(UPath, path))
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(local(path))
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(path: UPath) -> Iterator[BinaryIO]:
    """As ``writing``, for a file that others read meanwhile: what was there before stays until the end."""
    if is_remote(path):
        with writing(path) as upload:
            yield upload
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = local(path).with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(local(path))
        files.flush(local(path.parent))
    finally:
        temporary.unlink(missing_ok=True)


def reading(path: AnyPath, version: str = "") -> io.BufferedReader:
    """The file at ``path``, to be read from its beginning or anywhere; memory holds a little of it.

    Args:
        version: of an object, as a listing told it.

    Raises:
        Changed: here or later, if it is an object that has changed.
        FileNotFoundError: here or later, if it is not there.
    """
    if isinstance(path, Path):
        return open(path, "rb")
    return io.BufferedReader(Ranges(path, version), 1 << 18)


def remove_file(path: UPath) -> None:
    """Remove the file at ``path``, if there is one."""
    if is_remote(path):
        buckets.delete([path])
    else:
        path.unlink(missing_ok=True)


def remove_files(paths: Collection[UPath], below: UPath) -> dict[UPath, int]:
    """Remove those of ``paths``, files below ``below``, that are there; them with the bytes they had.

    Raises:
        OSError: if one cannot be removed.
    """
    if not paths:
        return {}
    if not is_remote(below):
        return dict(_unlinked(paths))
    wanted = set(paths)
    found = {path: size for path, size, _ in files_below(below) if path in wanted}
    buckets.delete(found)
    return found


def _unlinked(paths: Iterable[UPath]) -> Iterator[tuple[UPath, int]]:
    for path in paths:
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            continue
        yield path, size


def part(path: AnyPath, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a file from ``start`` to before ``end``, in blocks; fewer if it ends before.

    Raises:
        FileNotFoundError: if there is none.
    """
    if isinstance(path, Path):
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            while start < end and (block := file.read(min(end - start, _BLOCK_BYTES))):
                start += len(block)
                yield block
        return
    while start < end:
        block = path.fs.cat_file(path.path, start=start, end=min(end, start + READ_BYTES))
        if not block:
            return
        start += len(block)
        yield block


def flush(path: AnyPath) -> None:
    """Force a file or folder of this machine to disk; an object that was written is safe already."""
    if not is_remote(path):
        files.flush(local(path))


def files_below(folder: AnyPathT) -> Iterator[tuple[AnyPathT, int, float]]:
    """Every file below ``folder`` with its bytes and when it was written, in seconds since 1970."""
    if is_remote(folder):
        for found in buckets.listed(cast(UPath, folder)):
            if not found.name.endswith("/"):
                yield cast(AnyPathT, found.path), found.size, found.written
        return
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                state = path.stat()
                yield cast(AnyPathT, path), state.st_size, state.st_mtime


def inside(folder: UPath) -> list[UPath]:
    """What lies directly in ``folder``, files and folders, by name, found by one listing; nothing if it is
    not there."""
    if not is_remote(folder):
        return sorted(folder.iterdir()) if folder.is_dir() else []
    return [folder / name for name in buckets.names(folder)]


def relative(path: AnyPath, folder: AnyPath) -> str:
    """The name of ``path`` as seen from ``folder``, in which it lies, with ``/`` between."""
    if isinstance(path, Path):
        return path.relative_to(local(folder)).as_posix()
    assert is_remote(folder)
    name, prefix = path.path, folder.path.rstrip("/") + "/"  # type: ignore[union-attr]
    if not name.startswith(prefix):
        raise ValueError(f"{path} is not below {folder}")
    return str(name.removeprefix(prefix))


def holds_rows(folder: UPath) -> bool:
    """Whether there is a Parquet file below ``folder``."""
    return any(path.suffix == ".parquet" for path, _, _ in files_below(folder))


def label(path: AnyPath) -> str:
    """``path`` as seen from the state root, by which whoever runs the deployment finds it; of any other, the
    name. Where the root lies is told to nobody."""
    names = path.as_posix().split("/")
    tree = max((place for place, name in enumerate(names) if name in _TREES), default=len(names) - 1)
    return "/".join(names[tree:])


def for_arrow(path: UPath) -> "str | pa.NativeFile":
    """What pyarrow reads a file from, with ranges of its own."""
    if not is_remote(path):
        return str(path)
    return _arrow_of(path).open_input_file(path.path)


def _arrow_of(path: UPath) -> "FileSystem":
    options = path.storage_options
    return arrow_filesystem(
        options.get("endpoint_url") or "", options["client_kwargs"].get("region_name", "")
    )


@lru_cache(maxsize=8)
def arrow_filesystem(endpoint: str, region: str) -> "FileSystem":
    """How pyarrow reaches the object store, see ``place``."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    scheme, _, host = endpoint.rpartition("://")
    return S3FileSystem(
        endpoint_override=host or None,
        scheme=scheme or "https",
        region=region or None,
        connect_timeout=_CONNECT_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS - 2),
    )


def for_duckdb(connection: duckdb.DuckDBPyConnection, path: AnyPath) -> None:
    """Let ``connection`` read the tree that ``path`` is of, by the text of its files' paths."""
    if not isinstance(path, Path) and not connection.filesystem_is_registered("s3"):
        connection.register_filesystem(Objects(_arrow_of(path)))
