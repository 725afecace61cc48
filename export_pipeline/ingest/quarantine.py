"""The quarantine: rejected lines with their reason, one Parquet file a batch.

Written before the batch's rows are stored, under a name that a second try of the batch overwrites. Lines that
a replay rejects again move to the file of the replay and keep where and when they came from.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from export_pipeline import ids
from export_pipeline.errors import DamagedData, InvalidRequest
from export_pipeline.ingest.lines import DAMAGED_GZIP, LINES, TOO_LONG, Chunk, Unreadable
from export_pipeline.ledger import Batch
from export_pipeline.objects import files_below, for_arrow, label, remove_file, replacing
from export_pipeline.outages import answering
from export_pipeline.settings import Settings

REPLAY = "replay"
"""The source of a batch that takes quarantined lines again; its one file is their path in the quarantine."""

SCHEMA = pa.schema(
    [
        ("batchId", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("reason", pa.string()),
        ("field", pa.string()),
        ("detail", pa.string()),
        ("takenAt", pa.timestamp("us", "UTC")),
        ("raw", pa.binary()),
    ]
)
"""``batchId`` and ``takenAt`` are of the batch that holds the line now, ``file`` is the name of the landing
file, ``line`` counts from 1, ``raw`` is the line without its end."""

_ROW_GROUP_LINES = 4096
_NO_LINES = (DAMAGED_GZIP, TOO_LONG)


@dataclass(frozen=True)
class Quarantined:
    """The quarantined lines of one batch, counted by reason; ``day`` (UTC) is when they were first taken."""

    batch_id: str
    target: str
    day: date
    reasons: Mapping[str, int]
    path: UPath

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return sum(self.reasons.values())


def path_of(settings: Settings, batch: Batch) -> UPath:
    """Where the rejected lines of ``batch`` are kept: by target and the day (UTC) of their first taking."""
    if batch.source == REPLAY:
        return replayed(settings, batch).with_name(f"{batch.id}.parquet")
    day = batch.taken_at.astimezone(UTC).date()
    return settings.quarantine / batch.target / day.isoformat() / f"{batch.id}.parquet"


def replayed(settings: Settings, batch: Batch) -> UPath:
    """The file whose lines the replay ``batch`` takes again."""
    return settings.quarantine / batch.files[0]


def write(settings: Settings, batch: Batch, rejected: Iterator[pa.RecordBatch]) -> None:
    """Keep the rejected lines of ``batch``; none makes no file, and removes that of a try before.

    Args:
        rejected: the columns of ``SCHEMA`` without ``batchId`` and ``takenAt``, in order.
    """
    path = path_of(settings, batch)
    first = next(rejected, None)
    if first is None:
        remove_file(path)
        return
    with replacing(path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        part: pa.RecordBatch | None = first
        while part is not None:
            writer.write_table(_with_batch(part, batch), row_group_size=_ROW_GROUP_LINES)
            part = next(rejected, None)


def _with_batch(part: pa.RecordBatch, batch: Batch) -> pa.Table:
    columns = dict(zip(part.schema.names, part.columns, strict=True))
    columns["batchId"] = pa.repeat(pa.scalar(batch.id), part.num_rows)
    columns["takenAt"] = pa.repeat(pa.scalar(batch.taken_at, SCHEMA.field("takenAt").type), part.num_rows)
    return pa.table({name: columns[name] for name in SCHEMA.names}).cast(SCHEMA)


def files(settings: Settings) -> list[UPath]:
    """The files of the quarantine, by name, in one listing."""
    names = (path for path, _, _ in files_below(settings.quarantine))
    return sorted((p for p in names if p.suffix == ".parquet" and not p.name.startswith(".")), key=str)


def name_of(settings: Settings, path: UPath) -> str:
    """The name of a file of the quarantine below its root, with ``/``."""
    return str(path.relative_to(settings.quarantine).as_posix())


def list_quarantined(settings: Settings) -> list[Quarantined]:
    """What is in the quarantine, by target, then day, then batch.

    Raises:
        DamagedData: if a file of it cannot be read, naming it.
    """
    found = []
    for path in files(settings):
        target = name_of(settings, path).rsplit("/", 2)[0]
        reasons: Counter[str] = Counter()
        for part in _parts(path, ["reason"]):
            counted = pc.value_counts(part["reason"])
            reasons.update({row["values"]: row["counts"] for row in counted.to_pylist()})
        day = date.fromisoformat(path.parent.name)
        found.append(Quarantined(path.stem, target, day, dict(reasons), path))
    return found


def find(settings: Settings, batch_id: str) -> Quarantined:
    """The quarantined lines of a batch.

    Raises:
        InvalidRequest: if there are none.
    """
    for entry in list_quarantined(settings):
        if entry.batch_id == batch_id:
            return entry
    raise InvalidRequest(
        f"batchId is {ids.BATCH.shown(batch_id)}; it must be that of a batch with lines in quarantine, "
        f"{ids.BATCH.right}",
        field=ids.BATCH.field,
    )


def show(settings: Settings, batch_id: str, limit: int) -> list[dict[str, Any]]:
    """The first ``limit`` quarantined lines of a batch: the columns of ``SCHEMA``, ``raw`` as text.

    Bytes that are no text come out as replacement characters. For who operates the platform only: the lines
    hold user ids.
    """
    entry = find(settings, batch_id)
    rows: list[dict[str, Any]] = []
    for part in _parts(entry.path, SCHEMA.names):
        rows += part.slice(0, limit - len(rows)).to_pylist()
        if len(rows) >= limit:
            break
    return [{**row, "raw": row["raw"].decode("utf-8", "replace")} for row in rows]


def chunks(path: UPath, names: list[str]) -> Iterator[Chunk]:
    """The quarantined lines of a file, to be taken again.

    Args:
        names: is filled with the names of the files that the lines came from, by position.
    """
    last: tuple[str, int] | None = None
    for part in _parts(path, ["file", "line", "reason", "detail", "raw"]):
        # Two files of a batch can have the same name; the line numbers start again with the second.
        file, line = part["file"].to_numpy(zero_copy_only=False), part["line"].to_numpy()
        previous_file = np.concatenate([[last[0] if last else None], file[:-1]])
        previous_line = np.concatenate([[last[1] if last else 0], line[:-1]])
        begins = (file != previous_file) | (line <= previous_line)
        position = (len(names) - 1 + np.cumsum(begins)).astype(np.int32)
        names += file[begins].tolist()
        last = (file[-1], int(line[-1]))
        is_line = ~np.isin(part["reason"].to_numpy(zero_copy_only=False), _NO_LINES)
        raw = pc.binary_join_element_wise(part["raw"], b"\n", b"")
        lines = pa.table([pa.array(position), part["line"], raw], LINES).filter(pa.array(is_line))
        others = np.flatnonzero(~is_line)
        yield Chunk(
            lines,
            [
                Unreadable(int(position[i]), row["line"], row["reason"], row["detail"], row["raw"])
                for i, row in zip(others, part.take(pa.array(others)).to_pylist(), strict=True)
            ],
        )


def _parts(path: UPath, columns: list[str]) -> Iterator[pa.Table]:
    try:
        with answering(), pq.ParquetFile(for_arrow(path)) as file:
            for part in range(file.num_row_groups):
                yield file.read_row_group(part, columns)
    except (pa.ArrowInvalid, OSError):
        raise DamagedData(f"{label(path)} cannot be read; it is a quarantine file that was damaged") from None
