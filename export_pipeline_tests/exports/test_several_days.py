"""Several days in one go: the same exports as one by one, in order, and nothing left when nobody waits."""

from collections.abc import Generator
from contextlib import closing
from datetime import date, timedelta
from typing import cast

from export_pipeline.errors import OutsideRetention
from export_pipeline.exports import DailyExport, export_days, live_daily
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import DAY, at
from export_pipeline_tests.rows import row

DAYS = [DAY - timedelta(days=back) for back in (4, 3, 2, 1, 0)]


def fill(land: Land, rows: int) -> None:
    for back in range(len(DAYS)):
        land([row(n, timestamp=at(12) - timedelta(days=back, seconds=n)) for n in range(rows)])


def exporting(
    settings: Settings, store: Store, ledger: Ledger, days: list[date]
) -> Generator[tuple[date, DailyExport | Exception], None, None]:
    return export_days("events", "jsonl", days, settings=settings, store=store, ledger=ledger, now=NOW)


def test_every_day_is_exported_in_order_and_a_bad_one_stops_none(
    land: Land, settings: Settings, store: Store, ledger: Ledger
) -> None:
    fill(land, 20)
    too_old = DAY - timedelta(days=200)
    made = list(exporting(settings, store, ledger, [*DAYS[:2], too_old, *DAYS[2:]]))
    assert [day for day, _ in made] == [*DAYS[:2], too_old, *DAYS[2:]]
    assert isinstance(made[2][1], OutsideRetention)
    exports = [cast(DailyExport, export) for day, export in made if day != too_old]
    assert [export.rows for export in exports] == [20] * 5


def test_what_is_under_way_ends_unpublished_when_nobody_waits(
    land: Land, settings: Settings, store: Store, ledger: Ledger
) -> None:
    fill(land, 400)
    settings = settings.model_copy(update={"window_rows": 100})
    with closing(exporting(settings, store, ledger, DAYS)) as making:
        day, _ = next(making)
        assert day == DAYS[0]
    assert live_daily(settings, "events", "jsonl", DAYS[0]) is not None
    assert live_daily(settings, "events", "jsonl", DAYS[-1]) is None
    assert not list((settings.tmp / "exports").glob("*"))
