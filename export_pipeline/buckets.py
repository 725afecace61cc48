"""What only an object store has: listings that tell one version from another, removals that depend on it or
say what they could not do, uploads that nobody finished, and what a bucket keeps of what was removed.

Every path here is of an object store (see ``objects``).
"""

import errno
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from upath import UPath

_AT_ONCE = 1000
_THREADS = 8
_MARK = "write"


@dataclass(frozen=True)
class Found:
    """An object in a listing: its name below the folder with ``/``, its bytes, when it was written in
    seconds since 1970, and its ``version``, which another content would not have."""

    path: UPath
    name: str
    size: int
    written: float
    version: str


@dataclass(frozen=True)
class Upload:
    """Bytes on their way to the object ``path`` that are no object yet; ``begun`` in seconds since 1970."""

    path: UPath
    name: str
    id: str
    begun: float


def bucket_of(path: UPath) -> str:
    """The bucket that ``path`` is in."""
    return str(path.path.partition("/")[0])


def key_of(path: UPath) -> str:
    """The key of an object."""
    return str(path.path.partition("/")[2])


def new_mark() -> dict[str, Any]:
    """What tells the object of one write from that of any other, as options of the call that begins it."""
    return {"Metadata": {_MARK: uuid.uuid4().hex}}


def is_marked(path: UPath, mark: Mapping[str, Any]) -> bool:
    """Whether the object ``path`` is of the write with this mark: one that was tried again, as the answer of
    the store was lost, finds its own work."""
    try:
        found = _call(path, "head_object", Key=key_of(path)).get("Metadata", {})
    except FileNotFoundError:
        return False
    return bool(found.get(_MARK) == mark["Metadata"][_MARK])


def is_refused_as_there(error: BaseException) -> bool:
    """Whether the store refused to write an object because there is one already."""
    return code_of(error) == "PreconditionFailed" or (
        isinstance(error, OSError) and error.errno == errno.EINVAL and "pre-conditions" in str(error)
    )


def is_refused_as_ended(error: BaseException) -> bool:
    """Whether the store refused to end an upload that has ended: the object is there, or no upload is."""
    return isinstance(error, FileNotFoundError) or is_refused_as_there(error)


def listed(folder: UPath, *, deep: bool = True) -> Iterator[Found]:
    """The objects below ``folder`` in the order of their names, a page at a time, named as they are.

    Args:
        deep: whether those in folders of it too.
    """
    prefix = _prefix(folder)
    options = {} if deep else {"Delimiter": "/"}
    for page in _pages(folder, "list_objects_v2", "ContinuationToken", Prefix=prefix, **options):
        for each in page.get("Contents", ()):
            if name := each["Key"].removeprefix(prefix):
                yield Found(folder / name, name, each["Size"], each["LastModified"].timestamp(), each["ETag"])


def names(folder: UPath) -> list[str]:
    """What lies directly in ``folder``, objects and folders that hold some, by name and in order."""
    # Not by a delimiter: a store may go on telling of folders of which all objects were removed.
    return sorted({found.name.partition("/")[0] for found in listed(folder)})


def delete(paths: Iterable[UPath]) -> None:
    """Remove objects; one that is not there is none to remove.

    Raises:
        OSError: if the store did not remove one.
    """
    if refused := _delete([(path, {}) for path in paths], ()):
        raise OSError(f"the object store did not remove {refused[0][0]}: {refused[0][1]}")


def delete_tree(path: UPath) -> None:
    """Remove the object ``path``, those below it, and those that stand for folders there.

    Raises:
        OSError: if the store did not remove one.
    """
    below = list(listed(path))
    delete([path, *(found.path for found in below if not found.name.endswith("/"))])
    # A path has no slash at its end, which these keys have.
    folders = [{"Key": _prefix(path) + found.name} for found in below if found.name.endswith("/")]
    for start in range(0, len(folders), _AT_ONCE):
        some = folders[start : start + _AT_ONCE]
        answer = _call(path, "delete_objects", Delete={"Objects": some, "Quiet": True})
        if refused := answer.get("Errors"):
            raise OSError(f"the object store did not remove {path}: {refused[0]['Code']}")


def delete_unchanged(versions: Mapping[UPath, str]) -> None:
    """Remove the objects that still have the version given; any other stays.

    Raises:
        OSError: if the store did not remove one for another reason.
    """
    # A store may not know this condition: what has changed by now is not even asked for.
    same = [path for path, version in _now(versions).items() if version == versions[path]]
    refused = _delete(
        [(path, {"ETag": versions[path]}) for path in same], ("PreconditionFailed", "NoSuchKey")
    )
    if refused:
        raise OSError(f"the object store did not remove {refused[0][0].name}: {refused[0][1]}")


def _now(versions: Mapping[UPath, str]) -> dict[UPath, str]:
    found: dict[UPath, str] = {}
    for folder in {path.parent for path in versions}:
        found |= {each.path: each.version for each in listed(folder, deep=False) if each.path in versions}
    return found


def _delete(
    wanted: Sequence[tuple[UPath, dict[str, str]]], allowed: Sequence[str]
) -> list[tuple[UPath, str]]:
    """Remove objects; those that were not, with the reason, less those whose reason is ``allowed``."""
    if not wanted:
        return []
    first = wanted[0][0]

    def remove(some: Sequence[tuple[UPath, dict[str, str]]]) -> list[tuple[UPath, str]]:
        paths = {key_of(path): path for path, _ in some}
        objects = [{"Key": key_of(path), **condition} for path, condition in some]
        answer = _call(first, "delete_objects", Delete={"Objects": objects, "Quiet": True})
        refused = [(paths[each["Key"]], str(each["Code"])) for each in answer.get("Errors", ())]
        return [each for each in refused if each[1] not in allowed]

    parts = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
    if len(parts) == 1:
        return remove(parts[0])
    with ThreadPoolExecutor(_THREADS) as threads:
        return [each for refused in threads.map(remove, parts) for each in refused]


def unfinished(folder: UPath) -> Iterator[Upload]:
    """Uploads below ``folder`` that were begun and neither completed nor aborted; the store keeps their
    bytes."""
    prefix = _prefix(folder)
    markers: dict[str, str] = {}
    while True:
        page = _call(folder, "list_multipart_uploads", Prefix=prefix, **markers)
        for each in page.get("Uploads", ()):
            name = each["Key"].removeprefix(prefix)
            yield Upload(folder / name, name, each["UploadId"], each["Initiated"].timestamp())
        if not page.get("IsTruncated"):
            return
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def abort(upload: Upload) -> None:
    """Give up an upload and remove its bytes; one that has ended is none to give up."""
    with suppress(FileNotFoundError):
        _call(upload.path, "abort_multipart_upload", Key=key_of(upload.path), UploadId=upload.id)


def keeps_removed(folder: UPath) -> tuple[str, ...]:
    """Why what is removed below ``folder`` is not gone: what in its bucket keeps the bytes."""
    reasons = []
    versioning = (_asked(folder, "versioning") or {}).get("Status")
    if versioning == "Enabled":
        reasons.append("its versioning is on, which keeps what is removed or overwritten as an old version")
    elif versioning == "Suspended" and _has_old_versions(folder):
        reasons.append("it holds old versions of objects, from when its versioning was on")
    lock = (_asked(folder, "object lock") or {}).get("ObjectLockConfiguration", {})
    if lock.get("ObjectLockEnabled") == "Enabled":
        reasons.append("its object lock is on, which keeps objects from being removed")
    replication = (_asked(folder, "replication") or {}).get("ReplicationConfiguration", {})
    if any(rule.get("Status") == "Enabled" for rule in replication.get("Rules", ())):
        reasons.append("it is replicated to another bucket, which this deployment does not erase from")
    return tuple(reasons)


def unanswered(folder: UPath) -> tuple[str, ...]:
    """Which of versioning, object lock and replication the store tells nothing of: it does not know them, or
    may not say."""
    return tuple(name for name in _QUESTIONS if _asked(folder, name) is None)


_QUESTIONS = {
    "versioning": ("get_bucket_versioning", ""),
    "object lock": ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
    "replication": ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
}
"""How the store is asked, and how it says that there is no such thing."""

_TROUBLE = ("NoSuchBucket", "InternalError", "SlowDown", "ServiceUnavailable", "503", "500")


def _asked(folder: UPath, question: str) -> dict[str, Any] | None:
    """What the store says of a bucket, empty if there is no such thing; None if it does not say."""
    call, none = _QUESTIONS[question]
    try:
        return dict(_call(folder, call))
    except OSError as error:
        code = code_of(error)
        if code is None or code in _TROUBLE:
            raise
        return {} if code == none else None


def _has_old_versions(folder: UPath) -> bool:
    page = _call(folder, "list_object_versions", Prefix=_prefix(folder), MaxKeys=_AT_ONCE)
    while True:
        if any(not each["IsLatest"] for each in page.get("Versions", ())):
            return True
        if not page.get("IsTruncated"):
            return False
        markers = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
        page = _call(folder, "list_object_versions", Prefix=_prefix(folder), MaxKeys=_AT_ONCE, **markers)


def code_of(error: BaseException) -> str | None:
    """The store's code of an error that came from one of its answers."""
    for each in (error, error.__cause__):
        if isinstance(each, ClientError):
            return str(each.response.get("Error", {}).get("Code", ""))
    return None


def _prefix(folder: UPath) -> str:
    return key_of(folder).rstrip("/") + "/" if key_of(folder) else ""


def _pages(folder: UPath, call: str, token: str, **options: Any) -> Iterator[Mapping[str, Any]]:
    page = _call(folder, call, **options)
    yield page
    while page.get("IsTruncated"):
        page = _call(folder, call, **options, **{token: page[f"Next{token}"]})
        yield page


def _call(path: UPath, name: str, **options: Any) -> Any:
    return path.fs.call_s3(name, Bucket=bucket_of(path), **options)
