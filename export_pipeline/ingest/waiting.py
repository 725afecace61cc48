"""Which days may still get rows from what has landed and is not stored: such a day is not closed."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial

import duckdb

from export_pipeline.days import utc_now
from export_pipeline.errors import DamagedData
from export_pipeline.ingest import landing
from export_pipeline.ingest.batches import LANDING
from export_pipeline.ingest.landing import WaitingFile
from export_pipeline.ingest.lines import LineReader
from export_pipeline.ingest.parsing import Parser, register_lines, with_text
from export_pipeline.ingest.targets import validation_of
from export_pipeline.ledger import Ledger
from export_pipeline.ranges import Changed
from export_pipeline.settings import Settings

READ_LIMIT = 1 << 28
"""Bytes of waiting text above which they are not read and every day counts as waiting."""

_GZIP_RATIO = 8
_ATTEMPTS = 5


def waiting_days(
    settings: Settings, ledger: Ledger, data_type: str, *, now: datetime | None = None
) -> set[date] | None:
    """The days (UTC) of ``data_type`` for which lines wait or are being taken; None if it may be any day.

    Lines that will be rejected are for no day; those that turn out duplicates or suppressed do count.
    """
    judged_at = now or utc_now()
    for _ in range(_ATTEMPTS):
        files = [
            *((file, judged_at) for file in landing.waiting_files(settings, data_type)),
            *(
                (file, batch.taken_at)
                for batch in ledger.open_batches(data_type)
                if batch.source == LANDING
                for file in landing.claimed_files(settings, data_type, batch.id)
            ),
        ]
        try:
            if sum(map(_text_bytes, {file for file, _ in files})) > READ_LIMIT:
                return None
            days: set[date] = set()
            for taken_at in {taken_at for _, taken_at in files}:
                some = [file for file, at in files if at == taken_at]
                days |= _days_in(some, data_type, taken_at, settings.raw_retention_days)
            return days
        except (FileNotFoundError, Changed, DamagedData) as error:
            # An ingest that runs now has moved a file on; look again.
            if isinstance(error, DamagedData) and all(file.path.exists() for file, _ in files):
                raise
    return None


def waiting_for(settings: Settings, ledger: Ledger) -> Callable[[str], set[date] | None]:
    """Answers for each data type what ``waiting_days`` says of it."""
    return partial(waiting_days, settings, ledger)


def _text_bytes(file: WaitingFile) -> int:
    return file.size * (_GZIP_RATIO if file.path.suffix == ".gz" else 1)


def _days_in(
    files: Sequence[WaitingFile], data_type: str, taken_at: datetime, retention_days: int
) -> set[date]:
    judge = validation_of(data_type, taken_at, retention_days)
    days: set[date] = set()
    # A chunk of lines fits into memory; rows are spilled nowhere, least of all to the working directory.
    with duckdb.connect(config={"temp_directory": ""}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        parser = Parser(connection, judge.keys, judge.objects)
        for chunk in LineReader(files).chunks():
            if chunk.lines.num_rows:
                register_lines(connection, with_text(connection, chunk.lines))
                parser.parse()
                query = f"select distinct timestamp::date from ({judge.sql()}) where code is null"
                days |= {day for (day,) in connection.execute(query).fetchall()}
    return days
