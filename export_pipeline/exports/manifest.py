"""The manifest of an export: its keys, their order, and reading one back (contract, section 3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.schema import SCHEMA_VERSION
from export_pipeline.exports.request import COMPRESSIONS, FORMATS

MANIFEST_VERSION = 1
KINDS = ("daily", "scheduled", "on_demand", "user")
FULL, INCREMENTAL = "full", "incremental"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEYS = (
    "manifestVersion", "exportId", "kind", "dateRange", "dataTypes", "format", "compression", "schemaVersion",
    "filters", "version", "replaces", "complete", "days", "rowCount", "cursor", "mode", "since", "files",
    "createdAt",
)  # fmt: skip
_NEWER_KEYS = ("mode", "since")
"""Absent from a manifest that was made before there were increments."""
_FILTER_KEYS = ("contentIds", "eventTypes", "userCount")
_DAY_KEYS = ("date", "dataType", "dataVersion", "rows")
_FILE_KEYS = ("name", "dataType", "rows", "bytes", "sha256", "firstTimestamp", "lastTimestamp")
_REPLACES_KEYS = ("exportId", "version", "rowsAdded", "rowsRemoved")


class InvalidManifest(Exception):
    """A manifest that is not as the contract says; the message is the end of a sentence on why."""


@dataclass(frozen=True)
class DayEntry:
    """A day of a data type: the data version exported and the rows in the files."""

    date: date
    data_type: str
    data_version: int
    rows: int


@dataclass(frozen=True)
class FileEntry:
    """A part file, named relative to the export's directory; instants as in the rows, null without rows."""

    name: str
    data_type: str
    rows: int
    bytes: int
    sha256: str
    first_timestamp: str | None
    last_timestamp: str | None


@dataclass(frozen=True)
class Replaces:
    """The version before, and the rows that came and went since."""

    export_id: str
    version: int
    rows_added: int
    rows_removed: int


@dataclass(frozen=True)
class Manifest:
    """What an export holds and how to check it. Users of a filter are a count only.

    An increment has in ``since`` the cursors it goes on from, and lists the days it has rows of.
    """

    export_id: str
    kind: str
    start: date
    end: date
    data_types: tuple[str, ...]
    format: str
    compression: str
    content_ids: tuple[str, ...]
    event_types: tuple[str, ...]
    user_count: int
    version: int
    replaces: Replaces | None
    complete: bool
    days: tuple[DayEntry, ...]
    files: tuple[FileEntry, ...]
    created_at: str
    cursor: str | None = None
    since: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """``full``, or ``incremental`` if it holds what came since other exports."""
        return INCREMENTAL if self.since else FULL

    @property
    def row_count(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def total_bytes(self) -> int:
        """Bytes of all part files."""
        return sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object, keys in the contract's order."""
        replaces = self.replaces
        return {
            "manifestVersion": MANIFEST_VERSION,
            "exportId": self.export_id,
            "kind": self.kind,
            "dateRange": {"start": self.start.isoformat(), "end": self.end.isoformat()},
            "dataTypes": list(self.data_types),
            "format": self.format,
            "compression": self.compression,
            "schemaVersion": SCHEMA_VERSION,
            "filters": {
                "contentIds": list(self.content_ids),
                "eventTypes": list(self.event_types),
                "userCount": self.user_count,
            },
            "version": self.version,
            "replaces": replaces
            and {
                "exportId": replaces.export_id,
                "version": replaces.version,
                "rowsAdded": replaces.rows_added,
                "rowsRemoved": replaces.rows_removed,
            },
            "complete": self.complete,
            "days": [
                {
                    "date": day.date.isoformat(),
                    "dataType": day.data_type,
                    "dataVersion": day.data_version,
                    "rows": day.rows,
                }
                for day in self.days
            ],
            "rowCount": self.row_count,
            "cursor": self.cursor,
            "mode": self.mode,
            "since": list(self.since),
            "files": [
                {
                    "name": file.name,
                    "dataType": file.data_type,
                    "rows": file.rows,
                    "bytes": file.bytes,
                    "sha256": file.sha256,
                    "firstTimestamp": file.first_timestamp,
                    "lastTimestamp": file.last_timestamp,
                }
                for file in self.files
            ],
            "createdAt": self.created_at,
        }


def instant_text(moment: datetime | int) -> str:
    """An instant, or microseconds since 1970, as rows have it: RFC 3339 with ``Z``, ``.mmm`` if not zero."""
    if isinstance(moment, int):
        moment = _EPOCH + timedelta(microseconds=moment)
    moment = moment.astimezone(UTC)
    milliseconds = moment.microsecond // 1000
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{milliseconds:03d}Z" if milliseconds else "Z")


def from_json(document: object) -> Manifest:
    """The manifest that ``document`` is.

    Raises:
        InvalidManifest: naming the key, its value and what would be right.
    """
    top = _object(document, _KEYS, "it", _NEWER_KEYS)
    _same(top["manifestVersion"], MANIFEST_VERSION, "manifestVersion")
    _same(top["schemaVersion"], SCHEMA_VERSION, "schemaVersion")
    dates = _object(top["dateRange"], ("start", "end"), "dateRange")
    filters = _object(top["filters"], _FILTER_KEYS, "filters")
    manifest = Manifest(
        export_id=_text(top["exportId"], "exportId"),
        kind=_one_of(top["kind"], KINDS, "kind"),
        start=_day(dates["start"], "dateRange.start"),
        end=_day(dates["end"], "dateRange.end"),
        data_types=tuple(
            _one_of(t, tuple(DATA_TYPES), "dataTypes") for t in _list(top["dataTypes"], "dataTypes")
        ),
        format=_one_of(top["format"], FORMATS, "format"),
        compression=_one_of(top["compression"], COMPRESSIONS, "compression"),
        content_ids=tuple(_text(c, "filters.contentIds") for c in _list(filters["contentIds"], "contentIds")),
        event_types=tuple(_text(e, "filters.eventTypes") for e in _list(filters["eventTypes"], "eventTypes")),
        user_count=_count(filters["userCount"], "filters.userCount"),
        version=_count(top["version"], "version", least=1),
        replaces=None if top["replaces"] is None else _replaces(top["replaces"]),
        complete=_flag(top["complete"], "complete"),
        days=tuple(_day_entry(day) for day in _list(top["days"], "days")),
        files=tuple(_file_entry(file) for file in _list(top["files"], "files")),
        created_at=_instant(top["createdAt"], "createdAt"),
        cursor=None if top["cursor"] is None else _text(top["cursor"], "cursor"),
        since=tuple(_text(cursor, "since") for cursor in _list(top.get("since", []), "since")),
    )
    _same(top["rowCount"], manifest.row_count, "rowCount")
    _same(top.get("mode", FULL), manifest.mode, "mode")
    return manifest


def _replaces(value: object) -> Replaces:
    entry = _object(value, _REPLACES_KEYS, "replaces")
    return Replaces(
        _text(entry["exportId"], "replaces.exportId"),
        _count(entry["version"], "replaces.version", least=1),
        _count(entry["rowsAdded"], "replaces.rowsAdded"),
        _count(entry["rowsRemoved"], "replaces.rowsRemoved"),
    )


def _day_entry(value: object) -> DayEntry:
    entry = _object(value, _DAY_KEYS, "an entry of days")
    return DayEntry(
        _day(entry["date"], "days.date"),
        _one_of(entry["dataType"], tuple(DATA_TYPES), "days.dataType"),
        _count(entry["dataVersion"], "days.dataVersion"),
        _count(entry["rows"], "days.rows"),
    )


def _file_entry(value: object) -> FileEntry:
    entry = _object(value, _FILE_KEYS, "an entry of files")
    rows = _count(entry["rows"], "files.rows")
    sha256 = _text(entry["sha256"], "files.sha256")
    if not _SHA256.fullmatch(sha256):
        raise InvalidManifest(f"files.sha256 is {sha256!r}; it must be 64 hexadecimal digits")
    instants: list[str | None] = []
    for key in ("firstTimestamp", "lastTimestamp"):
        if rows:
            instants.append(_instant(entry[key], f"files.{key}"))
        else:
            _same(entry[key], None, f"files.{key}")
            instants.append(None)
    return FileEntry(
        _inside(entry["name"], "files.name"),
        _one_of(entry["dataType"], tuple(DATA_TYPES), "files.dataType"),
        rows,
        _count(entry["bytes"], "files.bytes"),
        sha256,
        *instants,
    )


def _object(
    value: object, keys: tuple[str, ...], name: str, newer: tuple[str, ...] = ()
) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InvalidManifest(f"{name} is {value!r}; it must be an object")
    if value.keys().isdisjoint(newer):
        keys = tuple(key for key in keys if key not in newer)
    if tuple(value) != keys:
        raise InvalidManifest(f"{name} has the keys {', '.join(value)}; they must be {', '.join(keys)}")
    return value


def _list(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        raise InvalidManifest(f"{name} is {value!r}; it must be a list")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidManifest(f"{name} is {value!r}; it must be a non-empty string")
    return value


def _inside(value: object, name: str) -> str:
    text = _text(value, name)
    if text.startswith("/") or ".." in text.split("/"):
        raise InvalidManifest(f"{name} is {text!r}; it must be a path inside the export")
    return text


def _one_of(value: object, choices: tuple[str, ...], name: str) -> str:
    if not isinstance(value, str) or value not in choices:
        raise InvalidManifest(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    return value


def _count(value: object, name: str, *, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidManifest(f"{name} is {value!r}; it must be an integer not below {least}")
    return value


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidManifest(f"{name} is {value!r}; it must be true or false")
    return value


def _day(value: object, name: str) -> date:
    try:
        if isinstance(value, str) and len(value) == len("2026-01-01"):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise InvalidManifest(f"{name} is {value!r}; it must be a day as YYYY-MM-DD")


def _instant(value: object, name: str) -> str:
    text = _text(value, name)
    if not _INSTANT.fullmatch(text):
        raise InvalidManifest(f"{name} is {text!r}; it must be an instant as YYYY-MM-DDTHH:MM:SS[.mmm]Z")
    return text


def _same(value: object, right: object, name: str) -> None:
    if value != right or type(value) is not type(right):
        raise InvalidManifest(f"{name} is {value!r}; it must be {right!r}")
