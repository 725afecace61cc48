"""What is scheduled is made once for each day or week, as soon as its days are closed, whatever happens."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from export_pipeline.delivery.recurring import change, create
from export_pipeline.errors import Conflict, InvalidRequest, OutsideRetention
from export_pipeline.exports import verify
from export_pipeline.exports.manifest import Manifest, from_json
from export_pipeline.exports.scheduled import Queued, changed_day, look, next_run, queue_due, run_now
from export_pipeline.exports.service import run_job
from export_pipeline.ledger import Job, Ledger
from export_pipeline.ledger.schedules import Schedule
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests import processes
from export_pipeline_tests.exports.conftest import Land
from export_pipeline_tests.rows import row

MONDAY = date(2026, 11, 23)
HOUR = timedelta(hours=1)
BEFORE = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
DUE = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
"""Monday, at the off-peak hour."""
USER = "user_00000003"

Make = Callable[..., Schedule]
Queue = Callable[..., Queued]


def nothing(_: str) -> tuple[date, ...]:
    return ()


@pytest.fixture
def make(settings: Settings, ledger: Ledger) -> Make:
    def made(now: datetime = BEFORE, **values: Any) -> Schedule:
        given = {"frequency": "daily", "delivery": {"email": "data@example.com"}, **values}
        return create(settings, ledger, given, now, created_by="command")[0]

    return made


@pytest.fixture
def queue(settings: Settings, store: Store, ledger: Ledger) -> Queue:
    def queued(now: datetime, frequency: str | None = None, waiting: Any = nothing) -> Queued:
        return queue_due(settings, store, ledger, now, waiting, frequency)

    return queued


def ids(found: Queued) -> list[str]:
    return [job.id for job in (*found.jobs, *found.caught_up)]


def span(job: Job) -> tuple[str, str]:
    return job.request["dateRange"]["start"], job.request["dateRange"]["end"]


def test_a_daily_one_is_of_yesterday_and_made_once(make: Make, queue: Queue) -> None:
    schedule = make()
    assert ids(queue(DUE - timedelta(seconds=1))) == []
    (job,) = queue(DUE).jobs
    assert (job.id, job.kind, job.state) == (f"exp_daily_20261123_{schedule.id}", "scheduled", "queued")
    assert span(job) == ("2026-11-22", "2026-11-22")
    assert ids(queue(DUE + 20 * HOUR)) == []
    (following,) = queue(DUE + 24 * HOUR).jobs
    assert following.id == f"exp_daily_20261124_{schedule.id}"


def test_a_weekly_one_is_of_the_seven_days_before_monday(make: Make, queue: Queue) -> None:
    schedule = make(frequency="weekly")
    assert ids(queue(DUE, "daily")) == []
    (job,) = queue(DUE, "weekly").jobs
    assert job.id == f"exp_weekly_20261123_{schedule.id}"
    assert span(job) == ("2026-11-16", "2026-11-22")
    assert ids(queue(DUE + 6 * 24 * HOUR)) == []
    (following,) = queue(DUE + 7 * 24 * HOUR).jobs
    assert span(following) == ("2026-11-23", "2026-11-29")


def test_one_made_in_the_middle_of_a_week_begins_with_the_last_whole_one(make: Make, queue: Queue) -> None:
    make(now=DUE + 60 * HOUR, frequency="weekly")
    (job,) = queue(DUE + 60 * HOUR).jobs
    assert span(job) == ("2026-11-16", "2026-11-22")


def test_it_waits_until_its_days_are_closed(
    make: Make, settings: Settings, ledger: Ledger, queue: Queue
) -> None:
    schedule = make(dataTypes=["events", "ads"], frequency="weekly")

    def landed(data_type: str) -> tuple[date, ...]:
        return (date(2026, 11, 18),) if data_type == "ads" else ()

    assert ids(queue(DUE, waiting=landed)) == []
    assert ids(queue(DUE, waiting=lambda _: None)) == []
    found = look(settings, ledger, DUE, landed)
    assert found.waiting == {schedule.id: "2026-11-18 is not closed for ads while files that landed wait"}
    assert len(ids(queue(DUE + HOUR))) == 1


def test_it_waits_a_while_for_the_daily_exports_it_is_assembled_from(
    land: Land, make: Make, queue: Queue, daily: Any
) -> None:
    land([row(n) for n in range(20)])
    make(now=datetime(2026, 11, 21, tzinfo=UTC))
    at = datetime(2026, 11, 21, 3, tzinfo=UTC)
    assert ids(queue(at)) == []
    assert len(ids(queue(at + HOUR))) == 1
    make(now=at, format="csv")
    daily(format="csv")
    assert len(ids(queue(at))) == 1
    make(now=at, filters={"eventTypes": ["impression"]})
    make(now=at, filters={"userIds": [USER]})
    assert len(ids(queue(at))) == 2


def test_what_was_missed_is_caught_up_once_oldest_first_and_told_apart(make: Make, queue: Queue) -> None:
    make()
    after = queue(DUE + 3 * 24 * HOUR)
    assert [span(job)[0] for job in (*after.caught_up, *after.jobs)] == [
        "2026-11-22", "2026-11-23", "2026-11-24", "2026-11-25",
    ]  # fmt: skip
    assert (len(after.caught_up), len(after.jobs)) == (3, 1)
    assert ids(queue(DUE + 3 * 24 * HOUR)) == []


def test_one_that_was_disabled_catches_up_when_it_is_enabled(
    make: Make, queue: Queue, settings: Settings, ledger: Ledger
) -> None:
    schedule = make()
    change(settings, ledger, schedule.id, {"enabled": False}, DUE)
    assert ids(queue(DUE + 48 * HOUR)) == []
    change(settings, ledger, schedule.id, {"enabled": True}, DUE + 48 * HOUR)
    assert len(ids(queue(DUE + 48 * HOUR))) == 3


@pytest.mark.parametrize(("frequency", "made", "left_out"), [("daily", 30, 10), ("weekly", 3, 3)])
def test_days_outside_retention_are_left_out(
    settings: Settings, store: Store, ledger: Ledger, make: Make, frequency: str, made: int, left_out: int
) -> None:
    make(frequency=frequency)
    settings = settings.model_copy(update={"raw_retention_days": 30})
    found = queue_due(settings, store, ledger, DUE + 39 * 24 * HOUR, nothing)
    assert (len(ids(found)), found.left_out) == (made, left_out)
    assert min(span(job)[0] for job in found.caught_up) >= "2026-12-02"


def test_an_empty_day_is_delivered_as_an_empty_export_assembled_otherwise(
    land: Land, make: Make, queue: Queue, settings: Settings, store: Store, ledger: Ledger, daily: Any
) -> None:
    land([row(n) for n in range(20)])
    daily()
    make(now=datetime(2026, 11, 21, tzinfo=UTC), dataTypes=["events", "ads"])
    weekly = make(frequency="weekly")
    jobs = queue(DUE + 24 * HOUR)
    rows = {}
    for job in (*jobs.caught_up, *jobs.jobs):
        done = run_job(settings, store, ledger, job.id, 1, clock=lambda: DUE + 24 * HOUR)
        assert done.path == f"scheduled/{job.id}"
        rows[job.id] = done.rows
    assert sorted(rows.values()) == [0, 0, 0, 20, 20]
    assert rows[f"exp_weekly_20261123_{weekly.id}"] == 20
    assert verify(settings.exports).problems == ()
    for job_id in rows:
        manifest = manifest_of(settings, job_id)
        assert (manifest.export_id, manifest.kind, manifest.complete) == (job_id, "scheduled", True)
    messages = ledger.messages.list()[0]
    assert sorted(message.job_id or "" for message in messages) == sorted(rows)
    assert {(message.event, message.webhook_id) for message in messages} == {("export.ready", None)}
    assert ledger.messages.address(messages[0].id) == "data@example.com"
    assert ledger.schedules.last_exports([weekly.id]) == {weekly.id: f"exp_weekly_20261123_{weekly.id}"}


def manifest_of(settings: Settings, job_id: str) -> Manifest:
    return from_json(json.loads((settings.exports / "scheduled" / job_id / "manifest.json").read_bytes()))


def test_scheduled_ones_do_not_count_against_those_of_the_day(
    make: Make, queue: Queue, ledger: Ledger, settings: Settings
) -> None:
    for _ in range(25):
        make()
    assert len(ids(queue(DUE))) == 25
    assert ledger.jobs.list(DUE)[2] == 25


def _queue_in_a_process(settings: Settings, now: datetime) -> None:
    queue_due(settings, Store(settings), Ledger(settings), now, nothing)


def test_one_that_dies_on_the_way_is_followed_by_one_that_makes_the_others(
    make: Make, queue: Queue, settings: Settings, ledger: Ledger
) -> None:
    made = [make() for _ in range(3)]
    dying = settings.model_copy(update={"fault_point": "schedule.queued"})
    processes.die(_queue_in_a_process, dying, DUE)
    assert ledger.jobs.list(DUE)[2] == 1
    assert ids(queue(DUE)) == [f"exp_daily_20261123_{schedule.id}" for schedule in made[1:]]


def test_two_that_look_at_once_make_each_once(make: Make, settings: Settings, ledger: Ledger) -> None:
    for _ in range(5):
        make()
    both = [processes.start(_queue_in_a_process, settings, DUE + 48 * HOUR) for _ in range(2)]
    assert [processes.ended(process) for process in both] == [0, 0]
    assert ledger.jobs.list(DUE)[2] == 15


def test_it_is_run_now_whatever_the_hour_and_not_again_at_the_hour(
    make: Make, queue: Queue, settings: Settings, store: Store, ledger: Ledger
) -> None:
    schedule = make(enabled=False)
    with pytest.raises(Conflict, match="2026-11-22 is not closed for events before 02:00 UTC"):
        run_now(settings, store, ledger, schedule.id, BEFORE, nothing)
    at = DUE - HOUR / 2
    job = run_now(settings, store, ledger, schedule.id, at, nothing)
    assert (job.id, span(job)[0]) == (f"exp_daily_20261123_{schedule.id}", "2026-11-22")
    with pytest.raises(Conflict, match="is queued; it is delivered"):
        run_now(settings, store, ledger, schedule.id, at, nothing)
    change(settings, ledger, schedule.id, {"enabled": True}, at)
    assert ids(queue(DUE)) == []
    run_job(settings, store, ledger, job.id, 1, clock=lambda: DUE)
    again = run_now(settings, store, ledger, schedule.id, DUE, nothing)
    assert again.id == f"exp_daily_20261123_{schedule.id}_2"
    assert len(ids(queue(DUE + 24 * HOUR))) == 1


def test_one_run_now_that_came_to_nothing_is_made_at_the_hour_all_the_same(
    make: Make, queue: Queue, settings: Settings, store: Store, ledger: Ledger
) -> None:
    schedule = make()
    early = run_now(settings, store, ledger, schedule.id, DUE - HOUR / 2, nothing)
    ledger.jobs.cancel(early.id, DUE)
    assert ids(queue(DUE)) == [f"{early.id}_2"]
    assert ids(queue(DUE + HOUR)) == []


def test_a_removed_one_leaves_its_exports_and_cancels_what_is_open(
    make: Make, queue: Queue, settings: Settings, store: Store, ledger: Ledger
) -> None:
    schedule = make()
    done, opened = queue(DUE).jobs[0], queue(DUE + 24 * HOUR).jobs[0]
    run_job(settings, store, ledger, done.id, 1, clock=lambda: DUE)
    ledger.schedules.remove(schedule.id, DUE)
    assert ledger.jobs.get(done.id, DUE).state == "complete"
    assert ledger.jobs.get(opened.id, DUE).state == "cancelled"


def test_one_removed_while_it_is_looked_at_holds_up_no_other(
    make: Make, queue: Queue, ledger: Ledger
) -> None:
    removed = [make(), make(datetime(2026, 5, 4, tzinfo=UTC))]
    other = make()

    def removing(_: str) -> tuple[date, ...]:
        for schedule in removed:
            ledger.schedules.remove(schedule.id, DUE)
        removed.clear()
        return ()

    assert ids(queue(DUE, waiting=removing)) == [f"exp_daily_20261123_{other.id}"]


def test_one_of_users_holds_them_encrypted_and_exports_their_rows(
    land: Land, make: Make, queue: Queue, settings: Settings, store: Store, ledger: Ledger
) -> None:
    land([row(n) for n in range(30)])
    at = datetime(2026, 11, 21, 3, tzinfo=UTC)
    named = "user_of_the_filter"
    schedule = make(now=at, filters={"userIds": [USER, named], "eventTypes": ["impression"]})
    (job,) = queue(at).jobs
    assert ledger.jobs.user_ids(job.id) == (USER, named)
    done = run_job(settings, store, ledger, job.id, 1, clock=lambda: at)
    assert (done.state, done.request["filters"]["userCount"]) == ("complete", 2)
    holding = [p for p in settings.root.rglob("*") if p.is_file() and named.encode() in p.read_bytes()]
    assert holding == []
    assert named not in repr(schedule)


def test_one_whose_person_is_erased_is_disabled_until_it_gets_other_filters(
    make: Make, queue: Queue, settings: Settings, store: Store, ledger: Ledger
) -> None:
    schedule, other = make(filters={"userIds": [USER, "b"]}), make(filters={"userIds": ["b"]})
    assert ledger.schedules.disable_naming({USER}) == [schedule.id]
    assert ids(queue(DUE)) == [f"exp_daily_20261123_{other.id}"]
    ended = ledger.schedules.get(schedule.id)
    assert not ended.enabled
    assert "erased" in str(ended.reason)
    assert ledger.schedules.user_ids(schedule.id) == ()
    with pytest.raises(Conflict, match="erased"):
        run_now(settings, store, ledger, schedule.id, DUE, nothing)
    with pytest.raises(Conflict, match="erased"):
        change(settings, ledger, schedule.id, {"enabled": True}, DUE)
    changed, _ = change(settings, ledger, schedule.id, {"filters": {"userIds": ["b"]}, "enabled": True}, DUE)
    assert (changed.enabled, changed.reason) == (True, None)
    assert len(ids(queue(DUE))) == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"frequency": "hourly"}, "frequency"),
        ({"dataTypes": []}, "dataTypes"),
        ({"filters": {"eventTypes": ["click"]}}, "filters.eventTypes"),
        ({"format": "xml"}, "format"),
        ({"mode": "partial"}, "mode"),
        ({"enabled": "yes"}, "enabled"),
        ({"colour": "red"}, "colour"),
        ({"delivery": None}, "delivery"),
        ({"delivery": {}}, "delivery"),
        ({"delivery": {"email": "a@example.com", "url": "https://example.com"}}, "delivery"),
        ({"delivery": {"email": "a@example.com\nBcc: b@example.com"}}, "delivery.email"),
        ({"delivery": {"url": "http://example.com"}}, "delivery.url"),
        ({"delivery": {"url": "https://127.0.0.1/"}}, "delivery.url"),
        ({"delivery": {"webhookId": "whk_nothing"}}, "delivery.webhookId"),
        ({"delivery": {"webhookId": 7}}, "delivery.webhookId"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_naming_the_field(
    make: Make, settings: Settings, ledger: Ledger, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as made:
        make(**values)
    assert made.value.field == field
    assert ledger.schedules.list()[2] == ledger.webhooks.list()[2] == 0
    schedule = make()
    with pytest.raises(InvalidRequest) as changed:
        change(settings, ledger, schedule.id, values, DUE)
    assert changed.value.field == field
    assert ledger.schedules.get(schedule.id) == schedule


def test_the_next_run_is_the_next_off_peak_hour(make: Make, settings: Settings, ledger: Ledger) -> None:
    daily, weekly = make(), make(frequency="weekly")
    assert next_run(settings, daily, BEFORE) == next_run(settings, weekly, BEFORE) == DUE
    assert next_run(settings, daily, DUE) == DUE + 24 * HOUR
    assert next_run(settings, weekly, DUE) == DUE + 7 * 24 * HOUR
    off, _ = change(settings, ledger, daily.id, {"enabled": False}, DUE)
    assert next_run(settings, off, DUE) is None


@given(st.integers(0, 40), st.sampled_from(["daily", "weekly"]))
@hypothesis_settings(deadline=None, database=None)
def test_no_day_is_left_out_when_the_frequency_is_changed(deliveries: int, frequency: str) -> None:
    step, other = {"daily": 1, "weekly": 7}, {"daily": "weekly", "weekly": "daily"}[frequency]
    next_day = MONDAY + timedelta(days=deliveries * step[frequency])
    before = Schedule("sch_1", 1, frequency, "full", {}, None, True, None, next_day, "command", DUE)
    undelivered = next_day - timedelta(days=step[frequency])
    following = changed_day(before, other)
    begins = following - timedelta(days=step[other])
    assert begins <= undelivered < following
    if other == "weekly":
        assert following.weekday() == 0
    assert changed_day(before, frequency) == next_day


def test_a_changed_one_goes_on_with_what_is_not_delivered(
    make: Make, queue: Queue, settings: Settings, ledger: Ledger
) -> None:
    schedule = make(frequency="weekly")
    assert len(ids(queue(DUE))) == 1
    wednesday = DUE + 2 * 24 * HOUR
    change(settings, ledger, schedule.id, {"frequency": "daily"}, wednesday)
    found = queue(wednesday)
    assert [span(job)[0] for job in (*found.caught_up, *found.jobs)] == ["2026-11-23", "2026-11-24"]


def test_an_incremental_one_goes_on_from_the_last_that_is_complete_one_after_the_other(
    make: Make, queue: Queue, land: Land, settings: Settings, store: Store, ledger: Ledger
) -> None:
    land([row(n, timestamp=DUE - timedelta(hours=20)) for n in range(3)])
    make(mode="incremental")
    later = DUE + 2 * HOUR

    def made(now: datetime) -> Manifest:
        (job,) = (*(found := queue(now)).jobs, *found.caught_up)
        assert ids(queue(now)) == []
        done = run_job(settings, store, ledger, job.id, 1, clock=lambda: now)
        return from_json(json.loads((settings.exports / str(done.path) / "manifest.json").read_bytes()))

    first = made(later)
    assert (first.mode, first.row_count) == ("full", 3)
    land([row(n, timestamp=DUE - timedelta(hours=100)) for n in range(10, 15)])
    third_day = later + 48 * HOUR
    second = made(third_day)
    assert (second.mode, second.since, second.row_count) == ("incremental", (first.cursor,), 5)
    third = made(third_day)
    assert (third.since, third.row_count) == ((second.cursor,), 0)
    assert verify(settings.exports).problems == ()


def test_one_whose_cursor_is_too_old_fails_saying_so_and_the_next_begins_anew(
    make: Make, queue: Queue, land: Land, settings: Settings, store: Store, ledger: Ledger
) -> None:
    schedule = make(mode="incremental")

    def queued(now: datetime) -> Job:
        return next(iter((*(found := queue(now)).jobs, *found.caught_up)))

    run_job(settings, store, ledger, queued(DUE + 2 * HOUR).id, 1, clock=lambda: DUE)
    change(settings, ledger, schedule.id, {"enabled": False}, DUE)
    later = DUE + timedelta(days=100)
    change(settings, ledger, schedule.id, {"enabled": True}, later)
    with pytest.raises(OutsideRetention):
        run_job(settings, store, ledger, (job := queued(later)).id, 1, clock=lambda: later)
    failed = ledger.jobs.get(job.id, later)
    assert (failed.state, failed.error_code) == ("failed", "OUTSIDE_RETENTION")
    assert str(failed.error_message).startswith("cursor is of 2026-11-23; raw events are kept for 90 days")
    assert ledger.messages.list()[0][0].event == "export.failed"
    following = queued(later + 24 * HOUR)
    assert following.request["since"] == []


def test_an_incremental_one_takes_no_data_type_that_it_has_not_held_from_the_beginning(
    make: Make, queue: Queue, settings: Settings, store: Store, ledger: Ledger
) -> None:
    schedule = make(mode="incremental")
    (job,) = queue(DUE + 2 * HOUR).jobs
    run_job(settings, store, ledger, job.id, 1, clock=lambda: DUE)
    with pytest.raises(InvalidRequest, match="Make another schedule for quality") as refused:
        change(settings, ledger, schedule.id, {"dataTypes": ["events", "quality"]}, DUE)
    assert refused.value.field == "dataTypes"
    change(settings, ledger, schedule.id, {"format": "csv"}, DUE)


def test_one_that_becomes_incremental_goes_on_from_every_export_it_made(
    make: Make, queue: Queue, land: Land, settings: Settings, store: Store, ledger: Ledger
) -> None:
    schedule = make()
    cursors: list[str] = []
    now = DUE + 26 * HOUR
    for number, at in enumerate((DUE + 2 * HOUR, now)):
        land([row(number, timestamp=at - timedelta(hours=20))])
        (job,) = queue(at).jobs
        made = run_job(settings, store, ledger, job.id, 1, clock=partial(datetime.astimezone, at))
        cursors.insert(0, made.request["cursor"])
        # Of the first export's day: once before the second, and once after it.
        land([row(number + 8, timestamp=DUE - timedelta(hours=20))])
    change(settings, ledger, schedule.id, {"mode": "incremental"}, now)
    (job,) = queue(now + 24 * HOUR).jobs
    assert job.request["since"] == cursors
    done = run_job(settings, store, ledger, job.id, 1, clock=lambda: now + 24 * HOUR)
    assert (done.rows, done.request["dateRange"]["start"]) == (2, "2026-11-22")
    (job,) = queue(now + 48 * HOUR).jobs
    assert job.request["since"] == [done.request["cursor"]]


def test_an_increment_asked_for_while_another_is_made_is_refused(
    make: Make, queue: Queue, settings: Settings, store: Store, ledger: Ledger
) -> None:
    schedule = make(mode="incremental")
    queue(DUE + 2 * HOUR)
    with pytest.raises(Conflict, match="the increment before it is being made"):
        run_now(settings, store, ledger, schedule.id, DUE + 26 * HOUR, nothing)
