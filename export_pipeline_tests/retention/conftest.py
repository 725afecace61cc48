"""Rows of many days, their exports, and rounds of retention."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from export_pipeline.exports import DailyExport
from export_pipeline.ledger import Ledger
from export_pipeline.retention import Item, retain
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import export_rows, land_rows
from export_pipeline_tests.rows import row

TODAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 4, 20, tzinfo=UTC)

Fill = Callable[..., None]
Round = Callable[..., dict[str, Item]]
Export = Callable[..., DailyExport]


def noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.fixture
def fill(store: Store, ledger: Ledger) -> Fill:
    """Rows of a day: ``fill(day, 5, "ads")``."""

    def filled(day: date, rows: int = 3, data_type: str = "events") -> None:
        first = noon(day)
        land_rows(
            store,
            ledger,
            [
                row(n, data_type, timestamp=first + timedelta(seconds=n), eventId=f"{day}_{n}")
                for n in range(rows)
            ],
            data_type,
        )

    return filled


@pytest.fixture
def round_(settings: Settings, store: Store, ledger: Ledger) -> Round:
    """A round of retention."""

    def done(now: datetime = NOW, **changes: Any) -> dict[str, Item]:
        return retain(settings, store, ledger, now, **changes)

    return done


@pytest.fixture
def export(settings: Settings, store: Store, ledger: Ledger) -> Export:
    """Make a daily export."""

    def exported(day: date, now: datetime, **changes: Any) -> DailyExport:
        return export_rows(settings, store, ledger, day=day, now=now, **changes)

    return exported
