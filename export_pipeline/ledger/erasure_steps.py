"""The steps of a pass of erasures: which were done, and what came of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, insert, select, update

from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.tables import data_versions, erasure_steps


@dataclass(frozen=True)
class DayChange:
    """What an erasure did to a day of a data type: rows removed, and the data versions before and after."""

    rows: int
    before: int
    after: int


def noted(step: str) -> Select[tuple[str]]:
    """A query for the passes of which a step is noted."""
    return select(erasure_steps.c.pass_id).where(erasure_steps.c.name == step)


class ErasureSteps:
    """The steps of all passes of one deployment; safe to share between threads. Every method is one
    transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, pass_id: str, name: str) -> Mapping[str, Any] | None:
        """The result of a step of a pass, None if it was not done."""
        return self.all(pass_id).get(name)

    def all(self, pass_id: str) -> dict[str, Mapping[str, Any]]:
        """The results of all steps of a pass that were done, by name."""
        with reading(self._engine) as connection:
            query = select(erasure_steps).where(erasure_steps.c.pass_id == pass_id)
            return {row.name: row.result for row in connection.execute(query)}

    def note(self, pass_id: str, name: str, result: Mapping[str, Any], now: datetime) -> None:
        """Note the result of a step, plain JSON without ids; it replaces that of a try before."""
        with self._engine.begin() as connection:
            self._note(connection, pass_id, name, result, now)

    def _note(
        self, connection: Connection, pass_id: str, name: str, result: Mapping[str, Any], now: datetime
    ) -> None:
        key = {"pass_id": pass_id, "name": name}
        values = {"result": dict(result), "done_at": now}
        where = [erasure_steps.c[column] == value for column, value in key.items()]
        if not connection.execute(update(erasure_steps).where(*where).values(values)).rowcount:
            connection.execute(insert(erasure_steps).values({**key, **values}))

    def note_removed(
        self,
        pass_id: str,
        name: str,
        result: Mapping[str, Any],
        data_type: str,
        days: Mapping[date, int],
        now: datetime,
    ) -> None:
        """Note, once, the rows that a pass removed from a data type, and raise the versions of those days.

        The result is kept with ``days`` added: by day ``rows``, and data versions ``before`` and ``after``.

        Args:
            days: the days of which a row changed, with how many rows went.
        """
        with self._engine.begin() as connection:
            done = select(erasure_steps.c.name).where(
                erasure_steps.c.pass_id == pass_id, erasure_steps.c.name == name
            )
            if connection.execute(done).scalar() is not None:
                return
            changed = {}
            for day, rows in sorted(days.items()):
                version = connection.execute(
                    update(data_versions)
                    .where(data_versions.c.data_type == data_type, data_versions.c.day == day)
                    .values(
                        version=data_versions.c.version + 1,
                        rows=data_versions.c.rows - rows,
                        erasures=data_versions.c.erasures + 1,
                        changed_at=now,
                    )
                    .returning(data_versions.c.version)
                ).scalar()
                if version is not None:
                    changed[day.isoformat()] = {"rows": rows, "before": version - 1, "after": version}
            self._note(connection, pass_id, name, {**result, "days": changed}, now)

    def changed_days(self, pass_id: str, name: str) -> dict[date, DayChange]:
        """What ``note_removed`` noted, by day."""
        result = self.get(pass_id, name) or {}
        return {
            date.fromisoformat(day): DayChange(**change) for day, change in result.get("days", {}).items()
        }
