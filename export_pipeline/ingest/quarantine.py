"""The quarantine: rejected lines with their reason, one Parquet file a batch.

Written before the batch's rows are stored, under a name that a second try of the batch overwrites.
"""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from export_pipeline.files import flush
from export_pipeline.ledger import Batch
from export_pipeline.settings import Settings

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
"""``file`` is the name of the landing file, ``line`` counts from 1, ``raw`` is the line without its end."""


def path_of(settings: Settings, batch: Batch) -> Path:
    """Where the rejected lines of ``batch`` are kept: by target and the day (UTC) on which it was taken."""
    day = batch.taken_at.astimezone(UTC).date()
    return settings.quarantine / batch.target / day.isoformat() / f"{batch.id}.parquet"


def write(settings: Settings, batch: Batch, rejected: Iterator[pa.RecordBatch]) -> None:
    """Keep the rejected lines of ``batch``; none makes no file, and removes that of a try before.

    Args:
        rejected: the columns of ``SCHEMA`` without ``batchId`` and ``takenAt``, in order.
    """
    path = path_of(settings, batch)
    first = next(rejected, None)
    if first is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        part: pa.RecordBatch | None = first
        while part is not None:
            writer.write_table(_with_batch(part, batch))
            part = next(rejected, None)
    flush(temporary)
    temporary.replace(path)
    flush(path.parent)


def _with_batch(part: pa.RecordBatch, batch: Batch) -> pa.Table:
    columns = dict(zip(part.schema.names, part.columns, strict=True))
    columns["batchId"] = pa.repeat(pa.scalar(batch.id), part.num_rows)
    columns["takenAt"] = pa.repeat(pa.scalar(batch.taken_at, SCHEMA.field("takenAt").type), part.num_rows)
    return pa.table({name: columns[name] for name in SCHEMA.names}).cast(SCHEMA)
