"""A person gets all that is held of them and nothing of others, in one archive that was read back."""

import json
import tempfile
import zipfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from export_pipeline.delivery.checking import verify_file
from export_pipeline.errors import Conflict, DamagedData, InvalidRequest, NotFound, StorageFull
from export_pipeline.exports import parse_request, verify, write_export
from export_pipeline.exports.archives import archive_problems
from export_pipeline.ledger import Ledger
from export_pipeline.objects import files_below
from export_pipeline.privacy import archive as writing
from export_pipeline.privacy.access import Access
from export_pipeline.privacy.asking import request_access
from export_pipeline.privacy.places import clear_access
from export_pipeline.privacy.reading import planned_again
from export_pipeline.retention import retain
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW, Land, land_rows
from export_pipeline_tests.privacy.conftest import Made, archive_of
from export_pipeline_tests.privacy.people import (
    DEVICES,
    USERS,
    Link,
    add_links,
    add_user_rows,
    expected,
    is_shown,
    is_withheld,
    links,
)
from export_pipeline_tests.privacy.process import die
from export_pipeline_tests.rows import NOON, row, table
from export_pipeline_tests.work import counted_steps

TYPES = {"events": "engagement", "quality": "quality", "ads": "ad"}

events = st.lists(
    st.tuples(
        st.sampled_from(tuple(TYPES)), st.sampled_from(USERS + DEVICES), st.sampled_from((*DEVICES, None))
    ),
    max_size=25,
)


@given(linked=links(), happened=events, asked=st.sampled_from(USERS + DEVICES))
@trying(max_examples=8, deadline=None)
def test_what_is_shown_and_what_is_withheld_is_all_there_is_of_a_person(
    linked: list[Link], happened: list[tuple[str, str, str | None]], asked: str
) -> None:
    rows: dict[str, list[Mapping[str, Any]]] = {name: [] for name in TYPES}
    for number, (data_type, user, device) in enumerate(happened):
        rows[data_type].append(row(number, data_type, userId=user, deviceId=device))
    with tempfile.TemporaryDirectory() as home:
        settings = load({"EXPORT_PIPELINE_HOME": home, "EXPORT_PIPELINE_WORKERS": "1"})
        store, ledger = Store(settings), Ledger(settings)
        add_links(store, linked)
        for data_type, of_type in rows.items():
            if of_type:
                land_rows(store, ledger, of_type, data_type)
        job = Access(settings, store, ledger, clock=lambda: NOW).make(asked, "command")
        archive, person = archive_of(settings, job), expected(asked, linked)
        for data_type, name in TYPES.items():
            right = [each["eventId"] for each in rows[data_type] if is_shown(person, each)]
            assert [each["eventId"] for each in archive.rows(name)] == right
        withheld = {name: sum(is_withheld(person, each) for each in of) for name, of in rows.items()}
        assert archive.json("manifest.json")["withheld"] == withheld
        assert (job.rows, job.withheld) == (
            sum(is_shown(person, each) for of in rows.values() for each in of),
            sum(withheld.values()),
        )
        assert {(link["userId"], link["deviceId"]) for link in archive.json("devices.json")} == {
            link for link in linked if link[0] in person.gone
        }


def test_lines_are_those_of_an_export(
    land: Land, made: Made, settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    values = {"data": '{"currentTime":1.50,"größe":"10 \\"Zoll\\""}', "country": None}
    land([row(n, timestamp=NOON - timedelta(minutes=997 * n % 4000), **values) for n in range(60)])
    values = {"startDate": "2026-11-17", "endDate": "2026-11-20", "compression": "none"}
    request = parse_request({**values, "filters": {"userIds": ["user_00000003"]}}, now=NOW, settings=settings)
    write_export(request, tmp_path / "out", settings=settings, store=store, ledger=ledger, now=NOW)
    lines = (tmp_path / "out/events/part-00000.jsonl").read_bytes()
    assert len(lines.splitlines()) == 12
    assert made("user_00000003").read("engagement_events.jsonl") == lines


@pytest.mark.parametrize("window_rows", [1, 7])
def test_small_windows_give_the_same_bytes(
    land: Land, access: Access, settings: Settings, store: Store, ledger: Ledger, window_rows: int
) -> None:
    land([row(n, userId="ada", timestamp=NOON + timedelta(seconds=n // 3 * 7 % 11)) for n in range(50)])
    small = settings.model_copy(update={"window_rows": window_rows})
    jobs = [each.make("ada", "command") for each in (access, Access(small, store, ledger, clock=lambda: NOW))]
    one, other = (archive_of(settings, job).read("engagement_events.jsonl") for job in jobs)
    assert one == other


def test_the_same_rows_at_the_same_instant_give_the_same_archive(
    land: Land, settings: Settings, ledger: Ledger, access: Access
) -> None:
    land([row(n, userId="ada") for n in range(20)])
    job = request_access(settings, ledger, "ada", now=NOW, created_by="command")
    access.collect(job.id)
    first = (settings.tmp / "access" / job.id / f"{job.id}.zip").read_bytes()
    access.collect(job.id)
    access.publish(job.id)
    assert archive_of(settings, ledger.jobs.get(job.id, NOW)).path.read_bytes() == first


def test_what_the_user_tables_say_is_in_it_as_it_was_stored(made: Made, store: Store) -> None:
    profile = {"userId": "ada", "topicAffinities": '{"music":0.50}', "engagementSummary": None}
    older = {**profile, "createdAt": NOON - timedelta(days=9), "topicAffinities": '{"music":0.1}'}
    add_user_rows(store, "profiles", [{**profile, "createdAt": NOON}, older])
    add_links(store, [("ada", "phone"), ("ada", "tablet"), ("bob", "tablet")])
    assigned = {"experimentId": "feed", "assignedAt": NOON}
    add_user_rows(
        store,
        "experiments",
        [{"userId": user, "variant": user, **assigned} for user in ("ada", "bob", "phone", "tablet")],
    )
    archive = made("ada")
    assert archive.read("profile.json").decode() == (
        '{"userId": "ada", "createdAt": "2026-11-20T12:00:00Z", '
        '"topicAffinities": {"music":0.50}, "engagementSummary": null}\n'
    )
    assert archive.json("devices.json") == [
        {"userId": "ada", "deviceId": "phone", "linkedAt": "2026-11-20T12:00:00Z", "contested": False},
        {"userId": "ada", "deviceId": "tablet", "linkedAt": "2026-11-20T12:00:00Z", "contested": True},
    ]
    assert [each["variant"] for each in archive.json("experiments.json")] == ["ada", "phone"]


def test_a_person_of_whom_nothing_is_held_is_told_so(made: Made, land: Land) -> None:
    land([row(1, userId="ada")])
    archive = made("nobody")
    assert "Nothing is held" in archive.page
    assert (archive.json("profile.json"), archive.json("devices.json")) == (None, [])
    assert archive.json("manifest.json")["rowCount"] == 0


def test_the_page_tells_what_is_held_and_runs_nothing(made: Made, land: Land, store: Store) -> None:
    hostile = "<script>alert(1)</script>"
    land([row(n, userId=hostile, timestamp=NOON - timedelta(days=n)) for n in range(3)])
    land([row(9, userId="shared")])
    add_links(store, [(hostile, "shared"), ("bob", "shared"), (hostile, "<b>'&")])
    profile = {"createdAt": NOON, "topicAffinities": json.dumps({hostile: 0.5}), "engagementSummary": "{}"}
    add_user_rows(store, "profiles", [{"userId": hostile, **profile}])
    page = made(hostile).page
    assert "<script" not in page
    assert "<b>'" not in page
    assert all(told in page for told in ("2026-11-18", "2026-11-20", "1 more events", "&lt;script&gt;"))
    assert page.count("<rect ") == 3


def test_an_archive_is_verified_by_its_own_manifest(made: Made, land: Land, settings: Settings) -> None:
    land([row(n, userId="ada") for n in range(9)])
    path = made("ada").path
    assert verify_file(path).ok
    assert (verify(settings.exports).problems, verify(settings.exports).exports) == ((), 1)


@pytest.mark.parametrize("name", ["engagement_events.jsonl", "profile.json", "index.html", "manifest.json"])
def test_an_archive_that_was_changed_is_noticed(made: Made, land: Land, tmp_path: Path, name: str) -> None:
    land([row(n, userId="ada") for n in range(9)])
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(made("ada").path) as archive, zipfile.ZipFile(changed, "w") as copy:
        for each in archive.namelist():
            content = archive.read(each)
            copy.writestr(each, content.replace(b"9", b"8", 1) + b" " if each == name else content)
    assert archive_problems(changed)
    assert not verify_file(changed).ok


def test_rows_of_somebody_else_never_get_out(
    land: Land, access: Access, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    land([row(n, userId=("ada", "bob")[n % 2]) for n in range(9)])
    as_it_is = writing.find_rows

    def wrong(reading: Any, store: Any, ledger: Any, person: Any, data_type: str) -> Any:
        found = as_it_is(reading, store, ledger, person, data_type)
        if data_type == "events":
            reading.execute("update held set userId = 'bob' where eventId = 'evt_00000004'")
        return found

    monkeypatch.setattr(writing, "find_rows", wrong)
    with pytest.raises(DamagedData, match="somebody else"):
        access.make("ada", "command")
    assert not list(settings.exports.rglob("*.zip"))


POINTS = ("access.started", "access.written", "access.published", "access.completed")


@pytest.mark.backends("s3")
@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_it_is_made_once_by_the_next_try(
    land: Land, access: Access, settings: Settings, ledger: Ledger, point: str
) -> None:
    land([row(n, userId="ada") for n in range(9)])
    job = request_access(settings, ledger, "ada", now=NOW, created_by="command")
    die(settings, job.id, NOW, point)
    if ledger.jobs.get(job.id, NOW).state == "processing":
        access.collect(job.id)
    done = access.publish(job.id)
    assert (done.state, done.rows) == ("complete", 9)
    assert archive_problems(archive_of(settings, done).path) == []
    clear_access(settings, ledger, NOW)
    assert [path.name for path, _, _ in files_below(settings.exports)] == [f"{job.id}.zip"]
    assert not list((settings.tmp / "access").iterdir())


def erase_meanwhile(settings: Settings) -> None:
    """What an erasure tells the ledger of a day it changed."""
    engine = create_engine(f"sqlite:///{settings.root}/ledger.db")
    with engine.begin() as connection:
        connection.execute(text("update data_versions set erasures = erasures + 1"))
    engine.dispose()


def test_what_an_erasure_changed_meanwhile_is_collected_again(
    land: Land, access: Access, settings: Settings, store: Store, ledger: Ledger
) -> None:
    land([row(n, userId="ada") for n in range(9)])
    job = request_access(settings, ledger, "ada", now=NOW, created_by="command")
    access.collect(job.id)
    store.table("engagement_events").delete("eventId == 'evt_00000004'")
    erase_meanwhile(settings)
    assert access.publish(job.id).rows == 8


def test_of_a_person_erased_meanwhile_nothing_appears(
    land: Land, access: Access, settings: Settings, ledger: Ledger
) -> None:
    land([row(n, userId="ada") for n in range(9)])
    job = request_access(settings, ledger, "ada", now=NOW, created_by="command")
    access.collect(job.id)
    ledger.jobs.fail(job.id, "SUBJECT_ERASED", "the person was erased", NOW)
    with pytest.raises(Conflict):
        access.publish(job.id)
    clear_access(settings, ledger, NOW)
    assert not [path for path in settings.root.rglob(f"*{job.id}*") if path.suffix != ".lock"]


@pytest.mark.backends("s3")
def test_an_archive_is_kept_for_its_seven_days_and_goes_with_retention(
    made: Made, settings: Settings, store: Store, ledger: Ledger
) -> None:
    path, end = made("ada").path, NOW + timedelta(days=7)
    retain(settings, store, ledger, end - timedelta(seconds=1))
    clear_access(settings, ledger, end)
    assert path.exists()
    removed = retain(settings, store, ledger, end)["accessExports"]
    assert removed.files == 1
    assert not path.exists()


def test_a_damaged_store_file_ends_the_job_with_a_reason(
    land: Land, access: Access, settings: Settings, store: Store, ledger: Ledger
) -> None:
    land([row(n, userId="ada") for n in range(9)])
    for path in store.files("engagement_events"):
        Path(path).write_bytes(b"PAR1 nonsense PAR1")
    job = request_access(settings, ledger, "ada", now=NOW, created_by="command")
    with pytest.raises(DamagedData):
        access.collect(job.id)
    assert ledger.jobs.get(job.id, NOW).error_code == "INTERNAL_ERROR"


def test_a_store_file_that_is_merged_away_meanwhile_is_planned_again(
    land: Land, access: Access, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    land([row(n, userId="ada") for n in range(9)])
    as_it_is, gone = Store.files_of_users, ["/merged/away.parquet"]

    def planned(self: Store, *arguments: Any) -> list[str]:
        return [*as_it_is(self, *arguments), *(gone.pop() for _ in gone[:1])]

    monkeypatch.setattr(Store, "files_of_users", planned)
    assert access.make("ada", "command").rows == 9
    assert not gone


def test_rows_of_a_batch_that_is_not_committed_are_not_shown(
    land: Land, made: Made, store: Store, ledger: Ledger
) -> None:
    land([row(1, userId="ada")])
    batch = ledger.take_batch("events", "landing", ["b.jsonl"], NOON)
    rows = [row(2, userId="ada", batchSequence=batch.sequence)]
    store.append("engagement_events", [table(rows)], {"batch": batch.id})
    assert [each["eventId"] for each in made("ada").rows()] == ["evt_00000001"]


def test_python_does_no_more_for_more_rows(land: Land, access: Access) -> None:
    def steps(rows: int, user: str) -> int:
        land([row(n, userId=user, eventId=f"{user}{n:06}") for n in range(rows)])
        access.make(user, "command")
        with counted_steps() as work:
            access.make(user, "command")
        return work.steps

    few, many = steps(20, "ada"), steps(4000, "bob")
    assert many < few * 1.3


def test_a_full_disk_is_said() -> None:
    def read() -> None:
        raise duckdb.IOException("IO Error: Could not write file: No space left on device: ada")

    with pytest.raises(StorageFull) as said:
        planned_again(read)
    assert "ada" not in said.value.message


def test_only_access_exports_are_made(access: Access, settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        access.collect("exp_0123456789")
    with pytest.raises(InvalidRequest):
        access.make("", "command")
    assert ledger.jobs.open(NOW) == ()
