"""Writing the archive of one person's data, and reading it back before anybody sees it.

Owns how its files are made and put together; their names and its manifest are those of ``exports.archives``.
The same rows at the same instant give the same bytes.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from export_pipeline.days import days_between
from export_pipeline.errors import DamagedData
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.exports.archives import (
    DEVICES,
    EXPERIMENTS,
    INDEX,
    KIND,
    PROFILE,
    ArchiveManifest,
    Document,
    archive_problems,
    rows_name,
)
from export_pipeline.exports.due import is_closed
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.making import Waiting
from export_pipeline.exports.manifest import DayEntry, FileEntry, Manifest, instant_text
from export_pipeline.files import flush, to_json
from export_pipeline.ledger import Ledger
from export_pipeline.privacy.holdings import Rows, UserRow, find_rows, lines, user_rows
from export_pipeline.privacy.identity import Person
from export_pipeline.privacy.page import Story, page
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.zipping import Packed, pack, packed_zip

_LARGEST_LINE = 1 << 24

Progress = Callable[[int, int], None]
"""Told the rows just written, and how many are found so far."""


@dataclass(frozen=True)
class Sources:
    """Where an archive comes from, and how it is told of."""

    settings: Settings
    store: Store
    ledger: Ledger
    waiting: Waiting
    progress: Progress


def write_archive(
    path: Path,
    job_id: str,
    person: Person,
    reading: duckdb.DuckDBPyConnection,
    sources: Sources,
    now: datetime,
) -> ArchiveManifest:
    """Write the archive of ``person`` to ``path``, in a directory of its own, flushed to disk and read back.

    Raises:
        duckdb.IOException: if a store file is gone or cannot be read.
        DamagedData: if what is read back is not what was written.
    """
    found: list[Rows] = []
    packed: list[Packed] = []
    for data_type in DATA_TYPES:
        rows = find_rows(reading, sources.store, sources.ledger, person, data_type)
        found.append(rows)
        told = _told(lines(reading, rows, sources.settings.window_rows), found, sources.progress)
        packed.append(pack(rows_name(data_type), told if rows.count else (), _beside(path, data_type)))
    profiles, devices, experiments = (
        user_rows(reading, sources.store, person, landing) for landing in USER_TABLES
    )
    mine = next((row for row in profiles if row["userId"] == person.user_id), None)
    story = Story(
        job_id, instant_text(now), person, found, mine, devices, experiments,
        sources.settings.raw_retention_days,
    )  # fmt: skip
    shared = ({**row, "contested": row["deviceId"] in person.contested} for row in devices)
    documents = {
        INDEX: page(story),
        PROFILE: _profile(mine, [row for row in profiles if row is not mine]),
        DEVICES: _list(shared, "devices"),
        EXPERIMENTS: _list(experiments, "experiments"),
    }
    described = {name: pack(name, [content], _beside(path, name)) for name, content in documents.items()}
    manifest = ArchiveManifest(
        _manifest(job_id, found, packed, sources, now),
        {rows.data_type: rows.withheld for rows in found},
        tuple(Document(each.name, each.size, each.sha256) for each in described.values()),
    )
    last = pack(MANIFEST, [to_json(manifest.to_json())], _beside(path, MANIFEST))
    order = [described[INDEX], described[PROFILE], *packed, described[DEVICES], described[EXPERIMENTS], last]
    with open(path, "xb") as file:
        for piece in packed_zip(order, manifest.export.created_at):
            for block in piece.read(0, piece.length):
                file.write(block)
    for each in order:
        each.path.unlink()
    flush(path)
    _read_back(path, manifest, person)
    return manifest


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{name}.packed")


def _told(content: Iterable[bytes], found: Sequence[Rows], progress: Progress) -> Iterator[bytes]:
    total = sum(rows.count for rows in found)
    for piece in content:
        yield piece
        progress(bytes(piece).count(b"\n"), total)


def _manifest(
    job_id: str, found: Sequence[Rows], packed: Sequence[Packed], sources: Sources, now: datetime
) -> Manifest:
    known = {now.date()}.union(*(rows.look.states for rows in found), *(rows.days for rows in found))
    days = list(days_between(min(known), max(known)))
    return Manifest(
        export_id=job_id,
        kind=KIND,
        start=days[0],
        end=days[-1],
        data_types=tuple(DATA_TYPES),
        format="jsonl",
        compression="none",
        content_ids=(),
        event_types=(),
        user_count=1,
        version=1,
        replaces=None,
        complete=_is_complete(found, sources, now),
        days=tuple(
            DayEntry(day, rows.data_type, rows.look[day].version, rows.days.get(day, 0))
            for rows in found
            for day in days
        ),
        files=tuple(
            FileEntry(
                file.name,
                rows.data_type,
                rows.count,
                file.size,
                file.sha256,
                None if rows.first_us is None else instant_text(rows.first_us),
                None if rows.last_us is None else instant_text(rows.last_us),
            )
            for rows, file in zip(found, packed, strict=True)
        ),
        created_at=instant_text(now),
    )


def _is_complete(found: Sequence[Rows], sources: Sources, now: datetime) -> bool:
    """Whether every day with rows of the person is closed."""
    for rows in found:
        waiting = sources.waiting(rows.data_type)
        if not all(is_closed(day, now, sources.settings, waiting) for day in rows.days):
            return False
    return True


def _profile(row: UserRow | None, others: Sequence[UserRow]) -> bytes:
    """The profile, null if there is none; those of anonymous ids, as a rule none, stand in it."""
    text = _object(row, "profiles") if row else "null"
    if others:
        linked = ", ".join(_object(other, "profiles") for other in others)
        text = f'{text[:-1]}, "linkedProfiles": [{linked}]}}' if row else f'{{"linkedProfiles": [{linked}]}}'
    return f"{text}\n".encode()


def _list(rows: Iterable[UserRow], landing: str) -> bytes:
    return (
        ("[\n" + ",\n".join(_object(row, landing) for row in rows) + "\n]\n").replace("[\n\n]", "[]").encode()
    )


def _object(row: UserRow, landing: str) -> str:
    """A row as JSON; what is JSON already stays as it was stored, digit for digit."""
    stored = {field.name for field in USER_TABLES[landing].fields if field.type == "object"}
    values = (
        f"{json.dumps(name)}: {value if name in stored and value is not None else _value(value)}"
        for name, value in row.items()
    )
    return "{" + ", ".join(values) + "}"


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read_back(path: Path, manifest: ArchiveManifest, person: Person) -> None:
    """Raises ``DamagedData`` unless the archive holds what was written, and rows of nobody else."""
    if problems := archive_problems(path):
        raise DamagedData(f"the archive read back: {problems[0]}")
    ids = pa.array(sorted(person.ids), pa.string())
    with zipfile.ZipFile(path) as archive:
        for entry in manifest.export.files:
            if entry.rows and not _all_are(ids, archive, entry.name):
                raise DamagedData(f"the archive read back: {entry.name} holds rows of somebody else")


def _all_are(ids: pa.Array, archive: zipfile.ZipFile, name: str) -> bool:
    options: Mapping[str, object] = {
        "read_options": pyarrow.json.ReadOptions(block_size=_LARGEST_LINE),
        "parse_options": pyarrow.json.ParseOptions(
            explicit_schema=pa.schema([("userId", pa.string())]), unexpected_field_behavior="ignore"
        ),
    }
    with archive.open(name) as file, pyarrow.json.open_json(file, **options) as batches:
        return all(pc.all(pc.is_in(batch.column("userId"), value_set=ids)).as_py() for batch in batches)
