"""What was done in the portal, by whom, when and from where; ids of jobs and requests, never of people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, delete, func, insert, select
from sqlalchemy.sql.elements import ColumnElement

from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.paging import read_page
from export_pipeline.ledger.tables import audit


@dataclass(frozen=True)
class Entry:
    """One thing done. ``how`` is how who did it had logged in, ``subject`` the id of what it was done to."""

    at: datetime
    who: str
    how: str
    address: str
    action: str
    subject: str
    request_id: str


class Audit:
    """The log of one deployment; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(self, entry: Entry) -> None:
        """Add an entry."""
        with self._engine.begin() as connection:
            connection.execute(
                insert(audit).values(
                    at=entry.at,
                    who=entry.who,
                    how=entry.how,
                    address=entry.address,
                    action=entry.action,
                    subject=entry.subject,
                    request_id=entry.request_id,
                )
            )

    def list(self, limit: int = 20, cursor: str | None = None) -> tuple[Sequence[Entry], str | None, int]:
        """Entries newest first, the cursor of the next page (None on the last), and how many there are.

        Raises:
            InvalidRequest: naming ``limit`` or ``cursor``.
        """
        with reading(self._engine) as connection:
            rows, following, total = read_page(connection, audit, [], limit, cursor)
        found = [
            Entry(row.at, row.who, row.how, row.address, row.action, row.subject, row.request_id)
            for row in rows
        ]
        return found, following, total

    def older(self, before: datetime) -> int:
        """How many entries are from before ``before``."""
        with reading(self._engine) as connection:
            return connection.execute(select(func.count()).where(_older(before))).scalar() or 0

    def forget(self, before: datetime) -> int:
        """Remove the entries from before ``before``; how many there were."""
        with self._engine.begin() as connection:
            return connection.execute(delete(audit).where(_older(before))).rowcount


def _older(before: datetime) -> ColumnElement[bool]:
    return audit.c.at < before
