"""Equality: whether a file holds the rows of the store, all of them, in export order.

Rows are compared by their values, so a writer may differ in what does not change them:

- white space, escapes and ``.000`` of an instant, an object as JSON text in a string;
- in CSV also: whether null and the empty text differ, how a number is written, the prefix that defuses a
  formula, and ``data.extra``, the unknown keys of ``data``, which only this project writes.
"""

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import duckdb

from export_pipeline.events.catalogue import DATA_TYPES, DataType
from export_pipeline.sql import literal, parquet, quoted

_EXTRA = "data.extra"
_DEFUSED = literal(r"^'[=+\-@\t\r]")
_PREFIX = literal("'")


@dataclass(frozen=True)
class Fingerprint:
    """What rows amount to: how many, the sum of their hashes, and the sum of the hashes of places and ids."""

    rows: int
    content: int
    order: int


class NotEqual(Exception):
    """A writer's rows are not the store's."""


def stored(files: Sequence[str], data_type: str, format: str, until: str | None = None) -> Fingerprint:
    """The fingerprint of the rows in the store's ``files``, before the instant ``until`` if it is given."""
    return _fingerprint(_stored(files, DATA_TYPES[data_type], format, until), "order by timestamp, eventId")


def check(
    paths: Sequence[str],
    expected: Fingerprint,
    files: Sequence[str],
    data_type: str,
    format: str,
    until: str | None = None,
) -> None:
    """Compare the rows of the export files at ``paths`` with ``expected``, the fingerprint of ``files``.

    Raises:
        NotEqual: saying in which columns rows differ.
    """
    kind = DATA_TYPES[data_type]
    header = _check_fields(paths, kind, format)
    theirs = _jsonl(paths, kind) if format == "jsonl" else _csv(paths, kind, header)
    found = _fingerprint(theirs, "")
    if found == expected:
        return
    ours = _stored(files, kind, format, until)
    columns = [name for name in _names(kind, format) if name != "eventId"]
    counts = ", ".join(f"count(*) filter (a.{quoted(n)} is distinct from b.{quoted(n)})" for n in columns)
    row = _only(f"select {counts} from ({ours}) a join ({theirs}) b using (eventId)")
    different = {name: count for name, count in zip(columns, row, strict=True) if count}
    raise NotEqual(
        f"{found.rows} rows where the store has {expected.rows}; "
        f"{'the same' if found.order == expected.order else 'another'} order; "
        f"rows that differ, by column: {different}"
    )


def _fingerprint(rows: str, order: str) -> Fingerprint:
    """``rows`` has a column a field, the instants in milliseconds; ``order`` is empty for rows in order."""
    content = _only(f"select count(*), coalesce(sum(hash(whole)), 0) from ({rows}) whole")
    places = _only(
        "select coalesce(sum(hash(place, eventId)), 0) "
        f"from (select eventId, row_number() over ({order}) as place from ({rows}))"
    )
    return Fingerprint(int(content[0]), int(content[1]), int(places[0]))


def _only(query: str) -> tuple[int, ...]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        found: tuple[int, ...] | None = connection.execute(query).fetchone()
        assert found is not None
        return found


@cache
def _names(kind: DataType, format: str) -> list[str]:
    columns = kind.csv_columns if format == "csv" else tuple(field.name for field in kind.row_fields)
    return [name for name in columns if name != _EXTRA]


def _check_fields(paths: Sequence[str], kind: DataType, format: str) -> list[str]:
    """The fields of the first row or the header, refused if they are not those of the contract in order."""
    with gzip.open(paths[0]) if _compression(paths) == "gzip" else open(paths[0], "rb") as file:
        first = file.readline().decode()
    found = next(csv.reader([first])) if format == "csv" else list(json.loads(first))
    right = _names(kind, format)
    if [name for name in found if name != _EXTRA] != right:
        raise NotEqual(f"the fields of the first row are {', '.join(found)}; they must be {', '.join(right)}")
    return found


def _stored(files: Sequence[str], kind: DataType, format: str, until: str | None) -> str:
    columns = []
    for field in kind.row_fields:
        name = quoted(field.name)
        if field.name == "dataType":
            columns.append(f"{literal(kind.name)} as {name}")
        elif field.datetime:
            columns.append(f"epoch_ms({name}) as {name}")
        elif field.type == "object" and format == "jsonl":
            columns.append(f"json_extract({name}, '$')::varchar as {name}")
        elif field.type == "object":
            columns += [
                f"{_cell(kind, f'data.{key}', f'parsed[{place}]')} as {quoted(f'data.{key}')}"
                for place, key in enumerate(kind.data_fields, 1)
            ]
        elif format == "csv":
            columns.append(f"{_cell(kind, field.name, name)} as {name}")
        else:
            columns.append(name)
    paths = ", ".join(literal(f"$.{key}") for key in kind.data_fields)
    parsed = f", json_extract_string(data, [{paths}]) as parsed" if format == "csv" else ""
    before = f"where timestamp < {literal(until)}::timestamptz" if until else ""
    return f"select {', '.join(columns)} from (select *{parsed} from {parquet(files)} {before})"


def _jsonl(paths: Sequence[str], kind: DataType) -> str:
    types, columns = [], []
    for field in kind.row_fields:
        name = quoted(field.name)
        plain = "DOUBLE" if field.type == "number" else "VARCHAR"
        types.append(f"{name}: '{'JSON' if field.type == 'object' else plain}'")
        if field.datetime:
            columns.append(f"epoch_ms({name}::timestamp) as {name}")
        elif field.type == "object":
            text = f"json_extract(json_extract_string({name}, '$'), '$')::varchar"
            columns.append(
                f"case json_type({name}) when 'VARCHAR' then {text} else {name}::varchar end as {name}"
            )
        else:
            columns.append(name)
    return (
        f"select {', '.join(columns)} from read_json([{', '.join(map(literal, paths))}], "
        f"format = 'newline_delimited', columns = {{{', '.join(types)}}}, "
        f"compression = {literal(_compression(paths))})"
    )


def _csv(paths: Sequence[str], kind: DataType, header: Sequence[str]) -> str:
    instants = {field.name for field in kind.row_fields if field.datetime}
    columns = []
    for cell in _names(kind, "csv"):
        name = quoted(cell)
        value = f"epoch_ms({name}::timestamp)" if cell in instants else _cell(kind, cell, name)
        columns.append(f"{value} as {name}")
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
    return (
        f"select {', '.join(columns)} from read_csv([{', '.join(map(literal, paths))}], header = true, "
        f"auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = '', "
        f"columns = {{{types}}}, max_line_size = 10000000, compression = {literal(_compression(paths))})"
    )


def _compression(paths: Sequence[str]) -> str:
    return "gzip" if paths[0].endswith(".gz") else "none"


def _cell(kind: DataType, name: str, value: str) -> str:
    """A CSV cell as what it says: no null, no prefix, numbers and nested values in one spelling."""
    types = {f.name: f.type for f in kind.row_fields}
    types |= {f"data.{f.name}": f.type for event in kind.events for f in event.fields}
    if types[name] in ("number", "integer"):
        return f"coalesce(try_cast({value} as double)::varchar, {value}::varchar, '')"
    plain = (
        f"case when starts_with({value}, {_PREFIX}) and regexp_matches({value}, {_DEFUSED}) "
        f"then substr({value}, 2) else coalesce({value}, '') end"
    )
    if types[name] in ("any", "object"):
        return f"coalesce(json_extract(try_cast({value} as json), '$')::varchar, {plain})"
    return plain
