"""A job goes from one state to the next once, whoever tries, and forgets whom its filter named."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from export_pipeline.databases import LEDGER, address
from export_pipeline.errors import Conflict, InvalidRequest, NotFound, RateLimited
from export_pipeline.ledger import Job, Jobs, Ledger, NewJob
from export_pipeline.ledger.jobs import EXPORTS, ON_DEMAND, USER
from export_pipeline.settings import Settings, load

pytestmark = pytest.mark.backends("postgres")

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
WEEK = NOW + timedelta(days=7)
REQUEST = {"startDate": "2026-11-18", "endDate": "2026-11-19", "dataTypes": ["events"]}
USERS = ("user_00000001", "user_00000002")


@pytest.fixture
def jobs(ledger: Ledger) -> Jobs:
    return ledger.jobs


def new(jobs: Jobs, now: datetime = NOW, **values: Any) -> Job:
    defaults: dict[str, Any] = {
        "request": REQUEST,
        "user_ids": (),
        "estimated_rows": 1000,
        "estimated_bytes": 5000,
        "estimated_completion": LATER,
        "created_by": "command",
    }
    return jobs.create(NewJob(**defaults | values), now)


def completed(jobs: Jobs, job: Job) -> Job:
    jobs.start(job.id, 1, LATER)
    return jobs.complete(job.id, 1, rows=7, bytes=70, path="on_demand/x", now=LATER, expires_at=WEEK)


def test_a_new_job_is_queued_and_comes_back_as_it_was_asked_for(jobs: Jobs) -> None:
    job = new(jobs)
    assert job.id.startswith("exp_")
    assert (job.state, job.attempt, job.progress, job.request) == ("queued", 0, 0, REQUEST)
    assert jobs.get(job.id, NOW) == job


def test_a_job_is_worked_on_and_complete(jobs: Jobs) -> None:
    job = new(jobs)
    assert jobs.start(job.id, 1, NOW).state == "processing"
    assert jobs.progress(job.id, 1, 250, NOW).progress == 25
    done = jobs.complete(job.id, 1, rows=1001, bytes=70, path="on_demand/x", now=LATER, expires_at=WEEK)
    assert (done.state, done.progress, done.rows, done.completed_at) == ("complete", 100, 1001, LATER)


def test_progress_stays_under_100_while_more_rows_come_than_were_expected(jobs: Jobs) -> None:
    job = new(jobs, estimated_rows=0)
    jobs.start(job.id, 1, NOW)
    assert jobs.progress(job.id, 1, 5000, NOW).progress == 99


def test_a_failed_job_says_why(jobs: Jobs) -> None:
    job = new(jobs)
    failed = jobs.fail(job.id, "SUBJECT_ERASED", "a person was erased", LATER)
    assert (failed.state, failed.error_code, failed.completed_at) == ("failed", "SUBJECT_ERASED", None)


def act(jobs: Jobs, job_id: str, what: str) -> Job:
    if what == "start":
        return jobs.start(job_id, 9, LATER)
    if what == "progress":
        return jobs.progress(job_id, 1, 1, LATER)
    if what == "complete":
        return jobs.complete(job_id, 1, rows=1, bytes=1, path="p", now=LATER, expires_at=WEEK)
    if what == "fail":
        return jobs.fail(job_id, "INTERNAL_ERROR", "no", LATER)
    return jobs.cancel(job_id, LATER)


ACTS = ("start", "progress", "complete", "fail", "cancel")


@pytest.mark.parametrize("ended", ["complete", "failed", "cancelled"])
@pytest.mark.parametrize("what", ACTS)
def test_nothing_leaves_an_end_state(jobs: Jobs, ended: str, what: str) -> None:
    job = new(jobs)
    if ended == "complete":
        completed(jobs, job)
    elif ended == "failed":
        jobs.fail(job.id, "INTERNAL_ERROR", "no", NOW)
    else:
        jobs.cancel(job.id, NOW)
    before = jobs.get(job.id, NOW)
    with pytest.raises(Conflict, match=f"has ended; it is {ended}"):
        act(jobs, job.id, what)
    assert jobs.get(job.id, NOW) == before


@pytest.mark.parametrize("what", ["progress", "complete"])
def test_what_nobody_works_on_makes_no_progress(jobs: Jobs, what: str) -> None:
    with pytest.raises(Conflict, match="is queued"):
        act(jobs, new(jobs).id, what)


@pytest.mark.parametrize("what", ACTS)
def test_a_job_that_does_not_exist_is_not_found(jobs: Jobs, what: str) -> None:
    with pytest.raises(NotFound, match=r"there is no job exp_0{24}"):
        act(jobs, f"exp_{0:024}", what)


def test_of_many_that_start_an_attempt_one_wins(settings: Settings, jobs: Jobs) -> None:
    job = new(jobs)

    def started(_: int) -> bool:
        try:
            Ledger(settings).jobs.start(job.id, 1, NOW)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(started, range(16))) == 1


def test_of_completing_and_cancelling_at_the_same_time_one_wins(settings: Settings, jobs: Jobs) -> None:
    for _ in range(8):
        job = new(jobs)
        jobs.start(job.id, 1, NOW)

        def tried(what: str, job: Job = job) -> bool:
            try:
                act(Ledger(settings).jobs, job.id, what)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(tried, ["complete", "cancel"])) == 1


def test_an_overtaken_attempt_can_change_nothing(jobs: Jobs) -> None:
    job = new(jobs)
    jobs.start(job.id, 1, NOW)
    jobs.progress(job.id, 1, 100, NOW)
    assert jobs.start(job.id, 2, LATER).processed_rows == 0
    for what in ("progress", "complete"):
        with pytest.raises(Conflict, match="worked on by attempt 2"):
            act(jobs, job.id, what)
    with pytest.raises(Conflict, match="worked on by attempt 2"):
        jobs.fail(job.id, "INTERNAL_ERROR", "no", LATER, attempt=1)
    with pytest.raises(Conflict, match="worked on by attempt 2"):
        jobs.start(job.id, 1, LATER)


def test_a_complete_job_is_expired_from_the_end_of_its_time_on(jobs: Jobs) -> None:
    job = completed(jobs, new(jobs))
    assert jobs.get(job.id, WEEK - timedelta(seconds=1)).state == "complete"
    assert jobs.get(job.id, WEEK).state == "expired"
    assert [j.id for j in jobs.list(WEEK, status="expired")[0]] == [job.id]
    assert jobs.list(WEEK, status="complete")[2] == 0
    assert jobs.expire_due(WEEK - timedelta(seconds=1)) == ()
    assert jobs.expire_due(WEEK) == (job.id,)
    assert jobs.expire_due(WEEK) == ()
    assert jobs.get(job.id, NOW).state == "expired"


def test_the_job_after_the_last_of_a_day_is_refused_until_midnight(settings: Settings) -> None:
    jobs = Ledger(settings.model_copy(update={"jobs_per_day": 2})).jobs
    new(jobs, NOW - timedelta(days=1))
    new(jobs)
    jobs.cancel(new(jobs).id, NOW)
    with pytest.raises(RateLimited, match="2 exports were asked for today") as refused:
        new(jobs)
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    assert timedelta() < NOW + timedelta(seconds=refused.value.retry_after) - midnight <= timedelta(seconds=1)
    assert new(jobs, midnight).state == "queued"


def test_jobs_of_another_kind_do_not_count_against_the_day(settings: Settings) -> None:
    jobs = Ledger(settings.model_copy(update={"jobs_per_day": 1})).jobs
    new(jobs, kind="scheduled")
    assert new(jobs).state == "queued"


def test_of_many_that_ask_at_the_same_time_only_as_many_as_a_day_allows_are_queued(tmp_path: Any) -> None:
    settings = load({"EXPORT_PIPELINE_HOME": str(tmp_path / "x"), "EXPORT_PIPELINE_JOBS_PER_DAY": "5"})
    ledger = Ledger(settings)

    def asked(_: int) -> bool:
        try:
            new(ledger.jobs)
        except RateLimited:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(asked, range(12))) == 5


def test_pages_list_every_job_once_newest_first(jobs: Jobs) -> None:
    ids = [new(jobs).id for _ in range(5)]
    first, cursor, total = jobs.list(NOW, limit=2)
    assert total == 5
    new(jobs)  # shifts no page
    second, cursor, _ = jobs.list(NOW, limit=2, cursor=cursor)
    last, cursor, _ = jobs.list(NOW, limit=2, cursor=cursor)
    assert cursor is None
    assert [job.id for job in (*first, *second, *last)] == ids[::-1]


def test_a_list_can_be_of_one_state(jobs: Jobs) -> None:
    cancelled = new(jobs)
    jobs.cancel(cancelled.id, NOW)
    queued = new(jobs)
    assert [job.id for job in jobs.list(NOW, status="cancelled")[0]] == [cancelled.id]
    assert [job.id for job in jobs.open(NOW)] == [queued.id]


@pytest.mark.parametrize(
    ("field", "value"), [("limit", 0), ("limit", 101), ("status", "done"), ("cursor", "x"), ("cursor", "٣")]
)
def test_a_list_that_cannot_be_is_refused_with_the_field(jobs: Jobs, field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        jobs.list(NOW, **{field: value})
    assert refused.value.field == field


def test_open_jobs_keep_the_order_in_which_they_were_asked_for(jobs: Jobs) -> None:
    ids = [new(jobs, NOW - timedelta(seconds=n)).id for n in range(4)]
    jobs.start(ids[2], 1, NOW)
    assert [job.id for job in jobs.open(NOW)] == ids


def stored_bytes(settings: Settings) -> bytes:
    return b"".join(path.read_bytes() for path in settings.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_users_of_a_filter_are_encrypted_while_the_job_is_open_and_then_forgotten(
    settings: Settings, jobs: Jobs, end: str
) -> None:
    job = new(jobs, user_ids=USERS)
    assert jobs.user_ids(job.id) == USERS
    assert b"user_0000" not in stored_bytes(settings)
    jobs.start(job.id, 1, NOW)
    act(jobs, job.id, end)
    assert jobs.user_ids(job.id) == ()


def test_users_of_a_filter_show_in_no_representation(jobs: Jobs) -> None:
    asked = NewJob(REQUEST, USERS, 1, 1, NOW, "command")
    job = jobs.create(asked, NOW)
    assert "user_0000" not in repr(asked) + repr(job)


def test_the_database_itself_refuses_a_job_that_ended_and_still_holds_users(
    settings: Settings, jobs: Jobs
) -> None:
    new(jobs, user_ids=USERS)
    engine = create_engine(address(settings, LEDGER))
    with engine.begin() as connection, pytest.raises(IntegrityError, match="jobs_forget_users"):
        connection.execute(text("update jobs set state = 'cancelled'"))


def test_an_access_export_is_no_export_in_the_list(jobs: Jobs) -> None:
    job = new(jobs, kind=USER)
    assert job.id.startswith("usr_exp_")
    assert jobs.list(NOW)[0] == ()
    assert (jobs.open(NOW, [ON_DEMAND]), jobs.open(NOW)) == ((), (job,))
    with pytest.raises(NotFound):
        jobs.get(job.id, NOW, EXPORTS)


def test_what_is_no_id_of_a_job_is_not_repeated(jobs: Jobs) -> None:
    with pytest.raises(NotFound, match="begins with exp_") as raised:
        jobs.get("user_00000001", NOW)
    assert "user_00000001" not in raised.value.message
