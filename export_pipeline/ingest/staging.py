"""The rows of one batch between reading and storing: judged, deduplicated, counted, sorted.

Rows wait in a DuckDB database of the process that spills into a scratch directory, so memory does not follow
the batch. A line ends in exactly one way: rejected, suppressed, duplicate or accepted. Whether it is
suppressed is asked before whether it is a duplicate: an erased person's lines count the same every time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from upath import UPath

from export_pipeline import objects
from export_pipeline.ahead import ahead
from export_pipeline.ingest.lines import LINES, Chunk, Unreadable
from export_pipeline.ingest.parsing import Parser, register_lines, with_text
from export_pipeline.ingest.plain import NO_FORM, PlainForms
from export_pipeline.ingest.validation import LEFT, Validation
from export_pipeline.ledger import Counts
from export_pipeline.sql import literal, parquet, quoted

MEMORY_LIMIT = "1GB"
THREADS = 2

ROWS_A_CHUNK = 1 << 18
"""Rows handed to the store at a time, about: what memory holds, and what becomes a file a day and bucket."""

LEFT_BYTES = 1 << 24
"""Lines that are not of the common form are judged when there are this many bytes of them."""

WINDOW_BYTES = 1 << 25
"""Bytes of rejected lines handed to the quarantine at a time, about."""

SUPPRESSED, DUPLICATE = -1, -2
"""What ``code`` holds for lines that are neither rejected nor stored."""


class Staging:
    """The staged lines of a batch: ``fill``, then settle, then read counts, rejects and rows."""

    def __init__(self, validation: Validation, scratch: Path) -> None:
        """Open an empty staging area that spills into the directory ``scratch``."""
        self._validation = validation
        self._connection = duckdb.connect(
            config={
                "threads": THREADS,
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": str(scratch),
                "preserve_insertion_order": False,
            }
        )
        self._execute("set TimeZone = 'UTC'")
        self._parser = Parser(self._connection, validation.keys, validation.objects)
        self._left: list[pa.Table] = []
        self._reading = self._connection.cursor()
        self._forms = validation.plain and PlainForms(self._reading, validation.plain)
        register_lines(self._connection, with_text(self._connection, LINES.empty_table()))
        self._parser.parse()
        self._execute(f"create temp table staged as {validation.sql()}")
        self._execute("""
            create temp table unreadable (
                file integer, line bigint, reason varchar, detail varchar, raw blob
            )""")

    def close(self) -> None:
        """Free the memory and the files of the staging area."""
        self._connection.close()

    def _execute(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        return self._connection.execute(sql, parameters)

    def fill(self, chunks: Iterable[Chunk], read: Callable[[int], None] | None = None) -> None:
        """Judge the lines of ``chunks``; those after the one that is judged are read meanwhile.

        Args:
            read: told the bytes of each chunk that was judged.
        """
        with ahead(map(self._prepared, chunks)) as prepared:
            for chunk, lines in prepared:
                if lines.num_rows:
                    self._left.append(self._take_plain(lines) if self._forms else lines)
                if chunk.unreadable:
                    self._refuse(chunk.unreadable)
                if sum(lines.nbytes for lines in self._left) > LEFT_BYTES:
                    self._judge_left()
                if read:
                    read(chunk.bytes_read)
        self._judge_left()

    def _prepared(self, chunk: Chunk) -> tuple[Chunk, pa.Table]:
        # Called beside everything else, so with a cursor of its own.
        lines = with_text(self._reading, chunk.lines)
        if self._forms and lines.num_rows:
            lines = lines.append_column("unknown_keys", self._forms.mark(lines["text"]))
        return chunk, lines

    def _judge_left(self) -> None:
        if self._left:
            register_lines(self._connection, pa.concat_tables(self._left))
            self._left = []
            self._parser.parse()
            self._execute(f"insert into staged {self._validation.sql()}")
            self._connection.unregister("lines")

    def _take_plain(self, lines: pa.Table) -> pa.Table:
        """Stage the lines of the common form and return the others, without what is known of their form."""
        register_lines(self._connection, lines)
        self._execute(f"insert into staged {self._validation.plain_sql()}")
        self._connection.unregister("lines")
        is_left = lines["unknown_keys"].to_numpy() == NO_FORM
        refused = self._connection.sql(f"select file, line from staged where code = {LEFT}").to_arrow_table()
        if refused.num_rows:
            self._execute(f"delete from staged where code = {LEFT}")
            is_left |= np.isin(_places(lines), _places(refused))
        return lines.drop_columns("unknown_keys").filter(pa.array(is_left))

    def _refuse(self, unreadable: Sequence[Unreadable]) -> None:
        columns = ("file", "line", "reason", "detail", "raw")
        table = pa.table({name: [getattr(line, name) for line in unreadable] for name in columns})
        self._connection.register("refused", table)
        self._execute("insert into unreadable select * from refused")
        self._connection.unregister("refused")

    def suppress(self, suppressions: pa.Table, key: bytes) -> None:
        """Set aside the rows of erased people that happened not after their erasure.

        Args:
            suppressions: columns ``key_hash`` and ``erased_at``, as the ledger keeps them.
            key: with which an id is hashed: the hex SHA-256 of the key in hex followed by the id.
        """
        self._connection.register("suppressions", suppressions)
        self._execute(
            f"""
            update staged set code = {SUPPRESSED} where rowid in (
                select staged.rowid
                from staged
                join (select distinct "userId" from staged where code is null) as people using ("userId")
                join suppressions on key_hash = sha256(concat(?::varchar, "userId"))
                where code is null
                    and staged.{quoted(self._validation.instant)} <= timezone('UTC', erased_at)
            )""",
            [key.hex()],
        )
        self._connection.unregister("suppressions")

    def settle_repeated(self) -> None:
        """Set aside every row but the first, by file and line, of those that are duplicates of each other."""
        identity = ", ".join(map(quoted, self._validation.identity))
        self._execute(f"""
            update staged set code = {DUPLICATE} where rowid in (
                select rowid from (
                    select rowid, row_number() over (partition by {identity} order by file, line) as place
                    from staged
                    where code is null and hash({identity}) in (
                        select hash({identity}) from staged where code is null
                        group by all having count(*) > 1
                    )
                ) where place > 1
            )""")

    def settle_stored(self, files: Sequence[UPath]) -> None:
        """Set aside the rows that are duplicates of rows in the Parquet ``files`` of the store."""
        if not files:
            return
        objects.for_duckdb(self._connection, files[0])
        same = " and ".join(
            f"staged.{quoted(name)} is not distinct from stored.{quoted(name)}"
            for name in self._validation.identity
        )
        columns = ", ".join(self._as_staged(name) for name in self._validation.identity)
        self._execute(f"""
            update staged set code = {DUPLICATE} where rowid in (
                select staged.rowid from (select {columns} from {parquet(files)}) as stored
                join staged on {same}
                where code is null
            )""")

    def _as_staged(self, name: str) -> str:
        instant = name in self._instants
        return f"timezone('UTC', {quoted(name)}) as {quoted(name)}" if instant else quoted(name)

    @property
    def _instants(self) -> set[str]:
        described = self._execute(
            "select column_name, data_type from duckdb_columns where table_name = 'staged'"
        )
        return {name for name, kind in described.fetchall() if kind == "TIMESTAMP"}

    def counts(self) -> Counts:
        """What became of the lines. Unknown keys, drift and clamping are counted of accepted lines."""
        row = self._execute(f"""
            select count(*), count(*) filter (code is null), count(*) filter (code >= 0),
                count(*) filter (code = {DUPLICATE}), count(*) filter (code = {SUPPRESSED}),
                coalesce(sum(unknown_keys) filter (code is null), 0),
                coalesce(sum(drift) filter (code is null), 0),
                count(*) filter (code is null and clamped)
            from staged""").fetchone()
        unreadable = self._execute("select count(*) from unreadable").fetchone()[0]
        return Counts(*map(int, row)) + Counts(received=unreadable, rejected=unreadable)

    def days(self) -> dict[date, int]:
        """The rows that are to be stored, by day (UTC)."""
        rows = self._execute(f"""
            select {quoted(self._validation.instant)}::date as day, count(*) from staged
            where code is null group by day order by day""")
        return dict(rows.fetchall())

    def rejected(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rejected lines in order: ``file, line, reason, field, detail, raw``.

        Args:
            names: the name of each file, by its position.
        """
        rules = self._validation.rules
        why = {
            "code": pa.array(range(len(rules)), pa.int16()),
            "reason": [rule.reason for rule in rules],
            "field": pa.array([rule.field for rule in rules], pa.string()),
            "detail": [rule.detail for rule in rules],
        }
        self._connection.register("rules", pa.table(why))
        files = {"file": pa.array(range(len(names)), pa.int32()), "name": pa.array(names, pa.string())}
        self._connection.register("names", pa.table(files))
        self._execute("""
            create or replace temp view refusals as
            select *, file::hugeint * 1e12::hugeint + line as place from (
                select file, line, reason, field, detail, raw from staged join rules using (code)
                union all
                select file, line, reason, null, detail, raw from unreadable
            )""")
        # Rejected lines can be long, so how many are in memory is decided by their bytes.
        windows = self._execute(f"""
            select min(place), max(place) from (
                select place, sum(octet_length(raw)) over (order by place) // {WINDOW_BYTES} as part
                from refusals
            ) group by part order by part""").fetchall()
        for first, last in windows:
            yield from self._connection.sql(f"""
                select name as file, line, reason, field, detail, raw from refusals join names using (file)
                where place between {first} and {last} order by place""").to_arrow_reader(ROWS_A_CHUNK)

    def rows(self, sequence: int) -> Iterator[pa.Table]:
        """The rows to be stored, in order of their instant, with ``sequence`` as ``batchSequence``.

        Each table holds about ``ROWS_A_CHUNK`` rows, and its instants are not before those of the last.
        """
        instant = quoted(self._validation.instant)
        instants = self._instants
        columns = ", ".join(
            f"timezone('UTC', {quoted(name)}) as {quoted(name)}" if name in instants else quoted(name)
            for name in self._validation.columns
        )
        order = ", ".join(
            f"staged.{quoted(name)}" for name in (self._validation.instant, *self._validation.identity)
        )
        for start, end in self._windows():
            query = self._connection.sql(f"""
                select {columns}, {sequence}::bigint as "batchSequence" from staged
                where code is null and staged.{instant} >= {start} and staged.{instant} < {end}
                order by {order}""")
            reader = query.to_arrow_reader(ROWS_A_CHUNK)
            held: list[pa.RecordBatch] = []
            for batch in reader:
                held.append(batch)
                if sum(part.num_rows for part in held) >= ROWS_A_CHUNK:
                    yield pa.Table.from_batches(held)
                    held = []
            if held:
                yield pa.Table.from_batches(held)

    def _windows(self) -> list[tuple[str, str]]:
        # Sorting a window at a time keeps the sort in memory; a minute with more rows than that spills.
        instant = quoted(self._validation.instant)
        minutes = self._execute(f"""
            select date_trunc('minute', {instant})::varchar as minute, count(*) from staged
            where code is null group by all order by min({instant})""").fetchall()
        windows: list[list[str]] = []
        rows = ROWS_A_CHUNK
        for minute, count in minutes:
            if rows + count > ROWS_A_CHUNK and rows:
                windows.append([f"timestamp {literal(minute)}", ""])
                rows = 0
            rows += count
            windows[-1][1] = f"timestamp {literal(minute)} + interval 1 minute"
        return [(start, end) for start, end in windows]


def _places(lines: pa.Table) -> npt.NDArray[np.int64]:
    """A number for each line that no other line of the batch has; no file has as many lines as the factor."""
    places: npt.NDArray[np.int64] = lines["file"].to_numpy().astype(np.int64) << 40
    places += lines["line"].to_numpy()
    return places
