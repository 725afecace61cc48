from datetime import UTC, date, datetime, timedelta

from export_pipeline.exports.due import CATCH_UP_DAYS, due_days, due_exports
from export_pipeline.settings import Settings, load

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
YESTERDAY = date(2026, 11, 22)


def settings(**values: str) -> Settings:
    return load({f"EXPORT_PIPELINE_{name.upper()}": value for name, value in values.items()})


def test_yesterday_is_looked_at_before_anything_was_ever_ingested() -> None:
    assert due_days(NOW, settings(), None) == [YESTERDAY]


def test_days_missed_in_the_week_before_are_looked_at_too() -> None:
    days = due_days(NOW, settings(), date(2026, 1, 1))
    assert days == [YESTERDAY - timedelta(days=n) for n in reversed(range(CATCH_UP_DAYS))]


def test_days_before_the_first_event_are_not_caught_up() -> None:
    assert due_days(NOW, settings(), date(2026, 11, 21)) == [date(2026, 11, 21), YESTERDAY]


def test_days_without_a_partition_are_not_looked_at() -> None:
    assert due_days(NOW, settings(first_day="2026-11-22"), date(2026, 1, 1)) == [YESTERDAY]


def test_days_outside_retention_are_not_looked_at() -> None:
    assert due_days(NOW, settings(raw_retention_days="2"), date(2026, 1, 1)) == [
        date(2026, 11, 21),
        YESTERDAY,
    ]


def test_a_data_type_whose_day_is_open_does_not_hold_up_the_others() -> None:
    due = due_exports(
        [YESTERDAY],
        ["events", "quality", "ads"],
        closed=lambda data_type, _: data_type != "quality",
        exported=lambda data_type, _: data_type == "ads",
    )
    assert due.ready == {YESTERDAY: ("events",)}
    assert due.waiting == {YESTERDAY: ("quality",)}


def test_nothing_is_due_when_every_day_is_exported() -> None:
    due = due_exports([YESTERDAY], ["events"], closed=lambda *_: True, exported=lambda *_: True)
    assert not due.ready
    assert not due.waiting
