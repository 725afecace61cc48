"""A delivered export of which a day has changed is made again, and who got it is told once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.delivery.recurring import create
from export_pipeline.exports import verify
from export_pipeline.exports.scheduled import queue_due
from export_pipeline.exports.service import clear, run_job
from export_pipeline.ledger import Job, Ledger
from export_pipeline.ledger.attempts import Outcome
from export_pipeline.ledger.posting import EXPORT_READY, EXPORT_RESTATED, Message
from export_pipeline.operations.delivered import restate, stale_deliveries
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import Land, land_rows
from export_pipeline_tests.operations.process import die
from export_pipeline_tests.rows import row

NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
YESTERDAY = datetime(2026, 11, 22, 12, tzinfo=UTC)


def nothing(_: str) -> tuple[Any, ...]:
    return ()


@pytest.fixture
def land(store: Store, ledger: Ledger) -> Land:
    def landed(*numbers: int) -> int:
        rows = [row(n, timestamp=YESTERDAY + timedelta(seconds=n)) for n in numbers]
        return land_rows(store, ledger, rows, "events")

    return landed


@pytest.fixture
def deliver(settings: Settings, store: Store, ledger: Ledger) -> Callable[..., Job]:
    """A daily export by schedule, made and delivered by e-mail."""

    def delivered(*, received: bool = True, **values: Any) -> Job:
        wanted = {"frequency": "daily", "delivery": {"email": "data@example.com"}, **values}
        create(settings, ledger, wanted, NOW - 5 * HOUR, created_by="command")
        (job,) = queue_due(settings, store, ledger, NOW, nothing).jobs
        done = run_job(settings, store, ledger, job.id, 1, clock=lambda: NOW)
        if received:
            with ledger._engine.begin() as connection:
                connection.exec_driver_sql("update messages set state = 'success', next_attempt_at = null")
        return done

    return delivered


def restated(ledger: Ledger) -> list[Message]:
    return [message for message in ledger.messages.list()[0] if message.event == EXPORT_RESTATED]


@pytest.mark.backends("s3")
def test_the_next_version_takes_its_place_and_who_got_it_is_told_once(
    settings: Settings, store: Store, ledger: Ledger, land: Land, deliver: Callable[..., Job]
) -> None:
    land(1, 2, 3)
    job = deliver()
    assert list(stale_deliveries(settings, ledger, NOW + HOUR)) == []
    land(4, 5)
    (stale,) = stale_deliveries(settings, ledger, NOW + HOUR)
    assert (stale.job_id, stale.version, stale.due_at) == (job.id, 1, NOW + HOUR)
    for _ in range(2):
        restate(settings, store, ledger, job.id, now=NOW + HOUR)
    (message,) = restated(ledger)
    assert message.data == {
        "exportId": job.id,
        "dateRange": {"start": "2026-11-22", "end": "2026-11-22"},
        "version": 2,
        "replaces": 1,
        "reason": "late_data",
        "rowsAdded": 2,
        "rowsRemoved": 0,
    }
    shown = ledger.jobs.get(job.id, NOW + HOUR)
    assert (shown.path, shown.rows) == (f"scheduled/{job.id}-v2", 5)
    clear(settings, ledger, NOW + HOUR)
    assert verify(settings.exports).exports == 2
    assert verify(settings.exports).problems == ()


def test_who_has_not_got_it_yet_is_sent_the_new_version_and_nothing_more(
    settings: Settings, store: Store, ledger: Ledger, land: Land, deliver: Callable[..., Job]
) -> None:
    land(1)
    job = deliver(received=False)
    land(2)
    assert restate(settings, store, ledger, job.id, now=NOW + HOUR) is not None
    assert restated(ledger) == []


def test_an_increment_and_an_export_of_days_that_are_not_kept_stay_as_they_are(
    settings: Settings, store: Store, ledger: Ledger, land: Land, deliver: Callable[..., Job]
) -> None:
    land(1)
    job = deliver()
    land(2)
    ledger.keeping.close_before("events", NOW.date())
    assert list(stale_deliveries(settings, ledger, NOW + HOUR)) == []
    assert restate(settings, store, ledger, job.id, now=NOW + HOUR) is None


def test_rows_that_a_filter_leaves_out_are_nobody_s_news(
    settings: Settings, store: Store, ledger: Ledger, land: Land, deliver: Callable[..., Job]
) -> None:
    land(1, 2, 3)
    job = deliver(filters={"userIds": ["user_00000001"]})
    land(7)
    assert restate(settings, store, ledger, job.id, now=NOW + HOUR) is not None
    assert restated(ledger) == []
    land(6)
    made = restate(settings, store, ledger, job.id, now=NOW + 2 * HOUR)
    assert made is not None
    assert (made.version, made.row_count) == (3, 2)
    assert len(restated(ledger)) == 1


@pytest.mark.backends("s3")
@pytest.mark.parametrize("point", ["restatement.published", "restatement.shown"])
def test_a_restatement_that_is_killed_is_put_right_and_told_once(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    land: Land,
    deliver: Callable[..., Job],
    point: str,
) -> None:
    land(1, 2, 3)
    job = deliver()
    land(4)
    die(settings, job.id, NOW + HOUR, point)
    shown = point == "restatement.shown"
    assert len(restated(ledger)) == shown
    assert ledger.jobs.get(job.id, NOW + HOUR).path == f"scheduled/{job.id}{'-v2' if shown else ''}"
    # What was published and is not shown is no version of anybody's.
    clear(settings, ledger, NOW + HOUR)
    assert (settings.exports / f"scheduled/{job.id}-v2/manifest.json").exists() == shown
    for stale in list(stale_deliveries(settings, ledger, NOW + HOUR)):
        assert restate(settings, store, ledger, stale.job_id, now=NOW + HOUR) is not None
    assert [message.data["version"] for message in restated(ledger)] == [2]
    assert ledger.jobs.get(job.id, NOW + HOUR).rows == 4
    assert verify(settings.exports).exports == 2
    assert list((settings.tmp / "exports").iterdir()) == []


def test_what_a_killed_restatement_published_is_written_over_if_nobody_cleared_it_away(
    settings: Settings, store: Store, ledger: Ledger, land: Land, deliver: Callable[..., Job]
) -> None:
    land(1)
    job = deliver()
    land(2)
    die(settings, job.id, NOW + HOUR, "restatement.published")
    land(3)
    assert restate(settings, store, ledger, job.id, now=NOW + 2 * HOUR) is not None
    (message,) = restated(ledger)
    assert (message.data["version"], message.data["rowsAdded"]) == (2, 2)
    assert verify(settings.exports).problems == ()


def test_a_receiver_of_whom_nobody_knows_whether_it_got_the_version_before_is_told(
    settings: Settings, store: Store, ledger: Ledger, land: Land, deliver: Callable[..., Job]
) -> None:
    land(1)
    job = deliver(received=False)
    (sending,), _ = ledger.attempts.turn([], NOW, 1, {}, 1)
    land(2)
    assert restate(settings, store, ledger, job.id, now=NOW + HOUR) is not None
    assert [message.data["version"] for message in restated(ledger)] == [2]
    for error, told in (("no connection: refused", 1), ("no answer within 30 s", 2)):
        unheard = Outcome(sending, False, NOW, 0, None, "", error, NOW + 3 * HOUR)
        ledger.attempts.turn([unheard], NOW, 0, {}, 0)
        land(told + 2)
        assert restate(settings, store, ledger, job.id, now=NOW + (told + 1) * HOUR) is not None
        assert len(restated(ledger)) == told
        claimed, _ = ledger.attempts.turn([], NOW + 4 * HOUR, 9, {}, 9)
        sending = next(one for one in claimed if one.message.event == EXPORT_READY)


def test_what_an_incremental_schedule_made_first_is_no_news_as_its_next_increment_has_what_came(
    settings: Settings, store: Store, ledger: Ledger, land: Land, deliver: Callable[..., Job]
) -> None:
    land(1)
    job = deliver(mode="incremental")
    land(2)
    assert list(stale_deliveries(settings, ledger, NOW + HOUR)) == []
    assert restate(settings, store, ledger, job.id, now=NOW + HOUR) is None
    (following,) = queue_due(settings, store, ledger, NOW + 24 * HOUR, nothing).jobs
    assert run_job(settings, store, ledger, following.id, 1, clock=lambda: NOW + 24 * HOUR).rows == 1
