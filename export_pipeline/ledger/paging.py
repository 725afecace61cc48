"""Pages of a list, newest first: which limits, states and cursors there are, and what comes after a page.

The tables listed have a ``number`` that rises in the order in which their rows were made; a cursor is the
number of the last row shown, so that rows made meanwhile move nothing from one page to the next.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select
from sqlalchemy.sql.elements import ColumnElement

from export_pipeline.errors import InvalidRequest
from export_pipeline.given import one_of, shown

MOST_LISTED = 100


def read_page(
    connection: Connection,
    table: Table,
    wanted: Sequence[ColumnElement[bool]],
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Row[Any]], str | None, int]:
    """The rows of a page, the cursor of the next page (None on the last), and how many rows there are in all.

    Args:
        wanted: what holds of every row of the list.

    Raises:
        InvalidRequest: naming ``limit`` or ``cursor``.
    """
    if not 1 <= limit <= MOST_LISTED:
        raise InvalidRequest(f"limit is {limit}; it must be from 1 to {MOST_LISTED}", field="limit")
    page = select(table).where(*wanted).order_by(table.c.number.desc()).limit(limit + 1)
    if cursor is not None:
        page = page.where(table.c.number < _number(cursor))
    found = connection.execute(page).all()
    total = connection.execute(select(func.count()).select_from(table).where(*wanted)).scalar() or 0
    return found[:limit], str(found[limit - 1].number) if len(found) > limit else None, total


def check_status(status: str | None, states: Sequence[str]) -> None:
    """Refuse a state that nothing of a list can be in; None is any.

    Raises:
        InvalidRequest: naming ``status``.
    """
    if status is not None:
        one_of(status, states, "status")


def _number(cursor: str) -> int:
    if cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18:
        return int(cursor)
    raise InvalidRequest(f"cursor is {shown(cursor)}; it must be the nextCursor of a list", field="cursor")
