"""From lines to JSON values: what counts as a JSON object here, and taking it apart once.

DuckDB's parser does the work, and takes more than JSON has (``NaN``, ``Infinity``, trailing commas); what it
should have refused is found here. A line is an object whose text is UTF-8 and in which no object has the same
key twice: readers disagree on which one counts (RFC 8259, section 4), so such a line is rejected rather than
changed. Lone surrogates are no text and are refused. Numbers keep their value: integers digit for digit,
others as the shortest text of the same double; what no double holds, such as ``1e400``, is refused, since
common readers cannot read it.

Values of unknown keys are dropped, so only what is kept is searched below its first level.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from export_pipeline.sql import literal, quoted

MAX_DEPTH = 100
"""Objects and arrays inside each other, the kept value itself being the first; many readers stop not far
above (RFC 8259, section 9, lets an implementation set a limit)."""

WHITE_SPACE = "e' \\t\\r\\n'"
"""The white space of JSON, as a SQL literal."""

_ROWS_A_BATCH = 8192  # DuckDB reads an Arrow table with one thread a record batch

# A value that is not JSON follows one of `:,[`; a trailing comma stands before a closing bracket.
LENIENT = r"[:,\[][ \t\r\n]*-?(?i:nan|inf)|,[ \t\r\n]*[\]}]"
_STRING = r'"(?:[^"\\]|\\.)*"'
_NESTED = r"(?s)^.+[\[{]"

LONG_DIGITS = "[0-9]{309}"
_MAY_OVERFLOW = rf"[eE]\+?[0-9]{{3}}|{LONG_DIGITS}"
_NOT_INTEGER = r"-?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)"


def with_text(connection: duckdb.DuckDBPyConnection, lines: pa.Table) -> pa.Table:
    """``lines``, with the columns of ``Chunk.lines``, and ``text``: the line as text, null if not UTF-8."""
    try:
        return lines.append_column("text", lines["raw"].cast(pa.string()))
    except pa.ArrowInvalid:
        connection.register("raw_lines", lines)
        decoded = connection.sql("select *, try(decode(raw)) as text from raw_lines").to_arrow_table()
        connection.unregister("raw_lines")
        return decoded


def register_lines(connection: duckdb.DuckDBPyConnection, lines: pa.Table) -> None:
    """Make ``lines``, made by ``with_text``, readable as the view ``lines``."""
    batches = lines.to_batches(max_chunksize=_ROWS_A_BATCH)
    connection.register("lines", pa.Table.from_batches(batches, lines.schema))


# A row that cannot be parsed costs as much as hundreds of others, so each is asked first.
TOP_KEYS = "case when json_valid(text) then try(json_keys(text)) end"
"""The keys of the object ``text``, in order; null if it is no JSON, none if it is no object."""


def taken_apart(keys: Iterable[str]) -> str:
    """``text`` as a struct of the JSON text of each of ``keys``; null if it is no JSON."""
    return f"case when json_valid(text) then {struct_of('text', dict.fromkeys(keys, 'JSON'))} end"


def struct_of(text: str, types: Mapping[str, str]) -> str:
    """The JSON ``text`` as a struct with a member of each name and type; null if it cannot be made."""
    return f"try(from_json({text}, {literal(json.dumps(types))}))"


class Parser:
    """Takes lines apart into the values of the known keys, as JSON text."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, keys: Sequence[str], objects: Sequence[str]
    ) -> None:
        """Prepare for objects with the known ``keys``; the values of ``objects`` hold values themselves."""
        self._connection = connection
        self._keys = keys
        self._objects = objects

    def parse(self) -> None:
        """Fill the view ``parsed`` with a row for each row of the view ``lines``, made by ``register_lines``.

        Its columns: ``file``, ``line``, ``raw``, ``text`` (null if not UTF-8); ``fault``, null or why the
        line is no object as above: ``not_utf8``, ``not_json``, ``not_object``, ``duplicate_key``,
        ``number_too_big``, ``too_deep``; ``unknown_keys``, the number of top-level keys that are not known;
        ``j``, a struct with the value of each known key as minified JSON text, null where it is absent or
        null.
        """
        self._take_apart()
        self._search_nested()
        self._find_shapes()
        shapes = [f"left join shapes as shape_{i} on shape_{i}.keys = t.keys_{i}" for i in self._positions]
        repeated = " or ".join(f"shape_{i}.repeated" for i in self._positions)
        self._execute(f"""
            create or replace temp view parsed as
            select t.file, t.line, t.raw, t.text, t.j, shape_0.unknown as unknown_keys,
                case when t.text is null then 'not_utf8'
                    when t.j is null and trim(t.text, {WHITE_SPACE}) <> 'null' or t.lenient then 'not_json'
                    when not starts_with(ltrim(t.text, {WHITE_SPACE}), '{{') then 'not_object'
                    when {repeated} then 'duplicate_key'
                    when t.overflows then 'number_too_big'
                    else faults.fault end as fault
            from taken_apart as t {" ".join(shapes)} left join faults using (file, line)""")

    @property
    def _positions(self) -> range:
        return range(len(self._objects) + 1)

    def _execute(self, sql: str) -> Any:
        return self._connection.execute(sql)

    def _take_apart(self) -> None:
        values = [f"j.{quoted(key)}" for key in self._objects]
        nested = " or ".join(
            f"coalesce(regexp_matches({value}, {literal(_NESTED)}), false)" for value in values
        )
        overflows = " or ".join(map(_overflows, values))
        keys = "".join(f", json_keys({value}) as keys_{i}" for i, value in enumerate(values, 1))
        lenient = literal(LENIENT)
        self._execute(f"""
            create or replace temp table taken_apart as
            select *, {nested or "false"} as nested, {overflows or "false"} as overflows{keys}
            from (
                select *, {taken_apart(self._keys)} as j, {TOP_KEYS} as keys_0,
                    case when regexp_matches(text, {lenient})
                        then regexp_matches(regexp_replace(text, {literal(_STRING)}, '""', 'g'), {lenient})
                        else false end as lenient
                from lines
            )""")

    def _search_nested(self) -> None:
        values = ", ".join(f"j.{quoted(key)}" for key in self._objects)
        self._execute("create or replace temp table faults (file integer, line bigint, fault varchar)")
        self._execute(f"""
            create or replace temp table level as
            select file, line, value
            from (
                select file, line, unnest([{values or "null::json"}]) as value from taken_apart where nested
            )
            where value is not null""")
        for _ in range(MAX_DEPTH):
            if not self._execute("select 1 from level limit 1").fetchone():
                return
            self._execute("""
                insert into faults
                select distinct file, line, 'duplicate_key' from (
                    select file, line, json_keys(value) as keys from level where starts_with(value, '{')
                )
                where len(keys) <> len(list_distinct(keys)) and (file, line) not in (
                    select (file, line) from faults
                )""")
            self._execute("""
                create or replace temp table level as
                select file, line, value
                from (
                    select file, line, unnest(
                        case when starts_with(value, '{') then json_extract(value, '$.*')
                            else json_extract(value, '$[*]') end
                    ) as value
                    from level
                )
                where starts_with(value, '{') or starts_with(value, '[')""")
        self._execute("""
            insert into faults
            select distinct file, line, 'too_deep' from level
            where (file, line) not in (select (file, line) from faults)""")

    def _find_shapes(self) -> None:
        # Lines with the same keys in the same order are many; what their keys say is worked out once.
        known = ", ".join(map(literal, self._keys))
        lists = " union all ".join(
            f"select distinct keys_{i} as keys from taken_apart" for i in self._positions
        )
        self._execute(f"""
            create or replace temp table shapes as
            select keys, len(keys) <> len(list_distinct(keys)) as repeated,
                len(list_filter(keys, lambda key: key not in ({known}))) as unknown
            from (select distinct keys from ({lists}) where keys is not null)""")


def _overflows(value: str) -> str:
    """Whether a number in the JSON text ``value`` is no integer and larger than any double."""
    without_text = f"regexp_replace({value}, {literal(_STRING)}, '\"\"', 'g')"
    numbers = f"regexp_extract_all({without_text}, {literal(_NOT_INTEGER)})"
    beyond = f"list_filter({numbers}, lambda number: not isfinite(number::double))"
    return (
        f"case when regexp_matches({value}, {literal(_MAY_OVERFLOW)}) then len({beyond}) > 0 else false end"
    )
