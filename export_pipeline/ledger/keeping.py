"""What retention did: the first day kept of a data type, daily exports that expired, how far metrics are.

A day that was dropped stays outside retention for good, whatever the settings say later. Of an expired daily
export its version is remembered, so that one made again never takes a number that meant other rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Engine, Row, delete, insert, select, update

from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.tables import (
    batch_days,
    batches,
    data_versions,
    expired_exports,
    kept_from,
    metric_days,
    retention_rounds,
)


@dataclass(frozen=True)
class ExpiredExport:
    """The newest version of a daily export that was removed, and the data version it was made from."""

    data_type: str
    format: str
    day: date
    version: int
    data_version: int
    expired_at: datetime


class Keeping:
    """What is kept of one deployment; safe to share between threads. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def first_day(self, data_type: str) -> date | None:
        """The first day of a data type that was not dropped; None if none ever was."""
        with reading(self._engine) as connection:
            query = select(kept_from.c.day).where(kept_from.c.data_type == data_type)
            return connection.execute(query).scalar()

    def close_before(self, data_type: str, day: date) -> None:
        """Note that days before ``day`` are about to be dropped; the first day kept never moves back."""
        with self._engine.begin() as connection:
            mine = kept_from.c.data_type == data_type
            held = connection.execute(select(kept_from.c.day).where(mine)).scalar()
            if held is None:
                connection.execute(insert(kept_from).values(data_type=data_type, day=day))
            elif held < day:
                connection.execute(update(kept_from).where(mine).values(day=day))

    def rows_before(self, data_type: str, day: date) -> int:
        """The rows that the ledger counts on days before ``day``."""
        query = select(data_versions.c.rows).where(
            data_versions.c.data_type == data_type, data_versions.c.day < day
        )
        with reading(self._engine) as connection:
            return sum(connection.execute(query).scalars())

    def forget_days(self, data_type: str, before: date) -> None:
        """Forget the data versions of days before ``before``, and that batches touched them."""
        of_type = select(batches.c.id).where(batches.c.target == data_type)
        with self._engine.begin() as connection:
            connection.execute(
                delete(data_versions).where(
                    data_versions.c.data_type == data_type, data_versions.c.day < before
                )
            )
            connection.execute(
                delete(batch_days).where(batch_days.c.day < before, batch_days.c.batch_id.in_(of_type))
            )

    def note_expired(self, export: ExpiredExport) -> None:
        """Remember a daily export that is about to be removed, unless a newer version is remembered."""
        key = _key(export.data_type, export.format, export.day)
        values = {
            "version": export.version,
            "data_version": export.data_version,
            "expired_at": export.expired_at,
            "announced": False,
        }
        with self._engine.begin() as connection:
            held = connection.execute(select(expired_exports.c.version).where(*key)).scalar()
            if held is None:
                names = {"data_type": export.data_type, "format": export.format, "day": export.day}
                connection.execute(insert(expired_exports).values(**names, **values))
            elif held <= export.version:
                connection.execute(update(expired_exports).where(*key).values(**values))

    def expired(self, data_type: str, format: str, day: date) -> ExpiredExport | None:
        """The newest version of a daily export that was removed; None if none was."""
        with reading(self._engine) as connection:
            query = select(expired_exports).where(*_key(data_type, format, day))
            row = connection.execute(query).one_or_none()
        return None if row is None else _expired(row)

    def unannounced(self) -> tuple[ExpiredExport, ...]:
        """The expired daily exports of which Dagster does not know yet, oldest day first."""
        query = (
            select(expired_exports)
            .where(expired_exports.c.announced.is_(False))
            .order_by(expired_exports.c.day, expired_exports.c.data_type, expired_exports.c.format)
        )
        with reading(self._engine) as connection:
            return tuple(map(_expired, connection.execute(query)))

    def announced(self, export: ExpiredExport) -> None:
        """Note that Dagster knows of an expired daily export."""
        key = _key(export.data_type, export.format, export.day)
        with self._engine.begin() as connection:
            connection.execute(
                update(expired_exports)
                .where(*key, expired_exports.c.version == export.version)
                .values(announced=True)
            )

    def metrics(self) -> dict[date, Mapping[str, Any]]:
        """What the metrics of each day were computed from, as it was noted."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(metric_days.c.day, metric_days.c.computed_from))
            return {day: dict(computed_from) for day, computed_from in rows}

    def note_metrics(self, day: date, computed_from: Mapping[str, Any], now: datetime) -> None:
        """Note what the metrics of ``day`` that are in the store were computed from; plain JSON."""
        with self._engine.begin() as connection:
            connection.execute(delete(metric_days).where(metric_days.c.day == day))
            connection.execute(
                insert(metric_days).values(day=day, computed_from=dict(computed_from), computed_at=now)
            )

    def note_round(self, removed: Mapping[str, Any], now: datetime) -> None:
        """Note what a round of retention has removed, in the place of the round before; plain JSON."""
        with self._engine.begin() as connection:
            connection.execute(delete(retention_rounds))
            connection.execute(insert(retention_rounds).values(at=now, removed=dict(removed)))

    def last_round(self) -> tuple[datetime, Mapping[str, Any]] | None:
        """When the last round of retention was, and what it removed; None if there was none."""
        with reading(self._engine) as connection:
            row = connection.execute(select(retention_rounds)).one_or_none()
        return None if row is None else (row.at, row.removed)

    def forget_metrics(self, before: date) -> None:
        """Forget the metrics of days before ``before``."""
        with self._engine.begin() as connection:
            connection.execute(delete(metric_days).where(metric_days.c.day < before))


def _key(data_type: str, format: str, day: date) -> tuple[Any, ...]:
    return (
        expired_exports.c.data_type == data_type,
        expired_exports.c.format == format,
        expired_exports.c.day == day,
    )


def _expired(row: Row[Any]) -> ExpiredExport:
    return ExpiredExport(row.data_type, row.format, row.day, row.version, row.data_version, row.expired_at)
