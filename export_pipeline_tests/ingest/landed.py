"""Putting files into the landing directory of a test, and looking at what came of them."""

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
from upath import UPath

from export_pipeline.objects import for_arrow, is_remote, local
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF

NOW = datetime(2026, 2, 4, 12, 30, 0, 123456, tzinfo=UTC)
"""When the batches of these tests are taken."""

ABSENT = object()


def line(**changes: Any) -> str:
    """A line that is accepted as an event, with ``changes``; ``ABSENT`` leaves a key out."""
    event = {"event": "like", "contentId": "video_1", "userId": "user_00000001", "deviceType": "ios"}
    event |= {"timestamp": "2026-02-04T10:00:00Z", "receivedAt": "2026-02-04T10:00:01Z"}
    return json.dumps({key: value for key, value in (event | changes).items() if value is not ABSENT})


def lines(*numbers: int) -> str:
    """Lines that are accepted, one for each of ``numbers``, which make their event ids."""
    return "".join(line(eventId=f"e{number}") + "\n" for number in numbers)


def land(settings: Settings, name: str, content: str | bytes, target: str = "events") -> UPath:
    """A file in the landing directory; gzip if its name says so and the content is text."""
    path = settings.landing / target / name
    if isinstance(content, str):
        content = gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()
    if is_remote(path):
        path.write_bytes(content)
        return path
    local(path).parent.mkdir(parents=True, exist_ok=True)
    local(path).write_bytes(content)
    return path


def stored(store: Store, target: str = "events") -> list[dict[str, Any]]:
    """The rows in the store, in the order of their event ids or users."""
    rows = [
        row
        for path in store.files(TABLE_OF[target])
        for row in pq.read_table(for_arrow(path), partitioning=None).to_pylist()
    ]
    return sorted(rows, key=lambda row: (row.get("eventId", ""), row["userId"]))


def event_ids(store: Store, target: str = "events") -> list[str]:
    """The event ids in the store, sorted; one that is there twice is listed twice."""
    return [row["eventId"] for row in stored(store, target)]


def kept(settings: Settings) -> list[dict[str, Any]]:
    """The lines in quarantine, in the order of file and line."""
    files = sorted(settings.quarantine.rglob("*.parquet")) if settings.quarantine.exists() else []
    rows = [row for path in files for row in pq.read_table(for_arrow(path), partitioning=None).to_pylist()]
    return sorted(rows, key=lambda row: (row["file"], row["line"]))


def reasons(settings: Settings) -> list[str]:
    """The reasons of the lines in quarantine, in the order of file and line."""
    return [row["reason"] for row in kept(settings)]


def left_over(settings: Settings) -> list[str]:
    """What is in the landing directory and under ``tmp`` that a finished run should have removed."""
    trees = [path for root in (settings.landing, settings.tmp) if root.exists() for path in root.rglob("*")]
    return [
        str(path.relative_to(settings.root))
        for path in trees
        if (path.is_file() or path.name.startswith(".") or path.parent == settings.tmp)
        and "locks" not in path.relative_to(settings.root).parts
    ]
