"""An export without a person is the export of rows without that person; everything else is as it was."""

import gzip
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from export_pipeline.errors import DamagedData
from export_pipeline.exports import DailyExport, Manifest, daily_folder, export_day, verify
from export_pipeline.exports.editing import Edit
from export_pipeline.exports.manifest import DayEntry, from_json
from export_pipeline.exports.rewriting import Rewritten, rewrite_all, rewrite_daily, rewrite_job
from export_pipeline.exports.service import clear, lock_name, request_export, run_job
from export_pipeline.faults import reach
from export_pipeline.ledger import Job, Ledger
from export_pipeline.objects import inside
from export_pipeline.privacy.matching import Needles
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests import processes
from export_pipeline_tests.exports.conftest import NOW, land_rows
from export_pipeline_tests.exports.encoded import DAY
from export_pipeline_tests.rows import row

USER, OWN, ODD, CONTESTED = (
    "user_77770001",
    "0b5e1f8e-4a53-4c0e-9d55-6f0f0a7b1c2d",
    "=anon,1",
    "shared-device-1",
)
IDS, ROW_IDS = [USER, OWN, ODD], [USER, OWN, ODD, CONTESTED]
LATER = NOW + timedelta(hours=1)
KINDS = [(format, compression) for format in ("jsonl", "csv") for compression in ("gzip", "none")]


def edit_of(ids: Sequence[str] = IDS, users: Sequence[str] = ROW_IDS) -> Edit:
    return Edit(users, Needles(users), Needles(ids))


def raised(day: DayEntry) -> int:
    return day.data_version + 1


TOLD = [
    "{}",
    '{"a":"x\\ny, \\"z\\""}',
    '{"interactionType":"=1+1","value":{"q":[1]}}',
    f'{{"interactionType":"{USER}","value":["{USER}",77]}}',
    f'{{"note":"by {OWN}, see {USER}.","interactionType":"{ODD}"}}',
    f'{{"feedId":"x{USER}","entryPoint":"{USER}x","note":"{CONTESTED}"}}',
]
WITHOUT = [
    *TOLD[:3],
    '{"interactionType":"[erased]","value":["[erased]",77]}',
    '{"note":"by [erased], see [erased].","interactionType":"[erased]"}',
    TOLD[5],
]


def of_everybody(days: int = 1, per_day: int = 120) -> list[dict[str, Any]]:
    """Rows of the person and of others, who tell of the person."""
    people = [*ROW_IDS, "user_1", "user_2", "=other", 'say "hi"', "a,b"]
    return [
        row(
            before * 1000 + n,
            userId=people[(n * 7 + before) % len(people)],
            timestamp=row(n // 3)["timestamp"] - timedelta(days=before),
            data=TOLD[n % len(TOLD)],
            deviceId=[None, OWN, CONTESTED, "", f"{USER}"][n % 5],
            contentId=["vid_1", USER, "line\nbreak", "-1"][n % 4],
            sessionId=f"s.{USER}.{n}" if n % 11 == 0 else "ses_1",
        )
        for before in range(days)
        for n in range(per_day)
    ]


def without(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as they are after the person was erased, by hand."""
    gone = {USER: "[erased]", OWN: "[erased]", None: None}
    return [
        {
            **each,
            "data": WITHOUT[TOLD.index(each["data"])],
            "deviceId": gone.get(each["deviceId"], each["deviceId"]),
            "contentId": gone.get(each["contentId"], each["contentId"]),
            "sessionId": each["sessionId"].replace(f".{USER}.", ".[erased]."),
        }
        for each in rows
        if each["userId"] not in ROW_IDS
    ]


class Home:
    """A deployment whose windows and parts are small, and its rows."""

    def __init__(
        self, where: Path | Mapping[str, str], rows: Sequence[Mapping[str, Any]], *types: str
    ) -> None:
        place = {"EXPORT_PIPELINE_HOME": str(where)} if isinstance(where, Path) else where
        self.settings = load(
            {
                **place,
                "EXPORT_PIPELINE_WORKERS": "2",
                "EXPORT_PIPELINE_WINDOW_ROWS": "13",
                "EXPORT_PIPELINE_PART_BYTES": "4096",
            }
        )
        self.store, self.ledger = Store(self.settings), Ledger(self.settings)
        for data_type in types or ("events",):
            land_rows(self.store, self.ledger, rows, data_type)

    def daily(self, format: str = "jsonl", **changes: Any) -> DailyExport:
        return export_day(
            "events", format, changes.pop("day", DAY), settings=self.settings, store=self.store,
            ledger=self.ledger, now=NOW,
        )  # fmt: skip

    def job(self, **values: Any) -> Job:
        asked = {"startDate": str(DAY - timedelta(days=1)), "endDate": str(DAY), **values}
        job = request_export(self.settings, self.store, self.ledger, asked, now=NOW, created_by="command")
        return run_job(self.settings, self.store, self.ledger, job.id, 1, clock=lambda: NOW)

    def shown(self, job_id: str) -> UPath:
        return self.settings.exports / str(self.ledger.jobs.get(job_id, NOW).path)

    def rewrite_daily(self, format: str = "jsonl", edit: Edit | None = None) -> Rewritten | None:
        edit = edit or edit_of()
        found = list(
            rewrite_daily(self.settings, self.ledger, "events", format, DAY, edit, raised, now=LATER)
        )
        assert len(found) < 2
        return found[0] if found else None

    def rewrite_all(self) -> list[Rewritten]:
        return list(rewrite_all(self.settings, self.ledger, edit_of(), raised, now=LATER))


def parts(folder: Path | UPath) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("part-*"))}


def manifest_of(folder: Path | UPath) -> Manifest:
    return from_json(json.loads((folder / "manifest.json").read_bytes()))


@pytest.fixture(scope="module")
def before_and_after(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Home]:
    """A deployment of two days with the person's rows, and one of the rows that stay."""
    folder, rows = tmp_path_factory.mktemp("rewriting"), of_everybody(days=2)
    return Home(folder / "a", rows, "events", "ads"), Home(folder / "b", without(rows), "events", "ads")


@pytest.mark.parametrize(("format", "compression"), KINDS)
def test_a_rewritten_export_is_that_of_the_rows_that_stay(
    before_and_after: tuple[Home, Home], format: str, compression: str
) -> None:
    rows, (before, after) = of_everybody(days=2), before_and_after
    values = {"format": format, "compression": compression, "dataTypes": ["ads", "events"]}
    job, expected = before.job(**values), after.job(**values)
    [done] = rewrite_job(before.settings, before.ledger, job.id, edit_of(), raised, now=LATER)
    assert verify(before.shown(job.id)).problems == ()
    assert parts(before.shown(job.id)) == parts(after.shown(expected.id))
    old, new = done.manifest, manifest_of(after.shown(expected.id))
    assert [file.sha256 for file in old.files] == [file.sha256 for file in new.files]
    assert [(day.date, day.rows, day.data_version) for day in old.days] == [
        (day.date, day.rows, day.data_version + 1) for day in new.days
    ]
    gone = len(rows) - len(without(rows))
    assert old.replaces is not None
    assert (old.version, old.replaces.version, old.replaces.rows_added, old.replaces.rows_removed) == (
        2, 1, 0, 2 * gone,
    )  # fmt: skip
    assert [len(done.removed[name]) for name in ("events", "ads")] == [gone, gone]
    assert set(done.removed["events"]) == {r["eventId"] for r in rows} - {r["eventId"] for r in without(rows)}
    for path in before.shown(job.id).rglob("*.*"):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert not re.search(rf"(?<![\w-])({'|'.join(map(re.escape, IDS))})(?![\w-])", content.decode())


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_daily_partition_gets_a_next_version_and_loses_those_that_hold_the_person(
    tmp_path: Path, format: str
) -> None:
    home = Home(tmp_path, [row(n) for n in range(9)])
    home.daily(format)
    land_rows(home.store, home.ledger, [row(100, userId=USER)], "events")
    home.daily(format)
    done = home.rewrite_daily(format)
    assert done is not None
    folder = daily_folder(home.settings, "events", format, DAY)
    assert sorted(path.name for path in folder.iterdir()) == ["v1", "v3"]
    assert (done.path, done.manifest.version) == (f"daily/events/{format}/{DAY}/v3", 3)
    assert done.manifest.export_id == f"exp_events_{format}_20261120_v3"
    assert (done.manifest.row_count, done.manifest.days[0].data_version) == (9, 3)
    assert verify(home.settings.exports).problems == ()
    assert parts(folder / "v1") == parts(folder / "v3")
    assert home.rewrite_daily(format) is None
    assert sorted(path.name for path in folder.iterdir()) == ["v1", "v3"]


def test_an_export_in_which_nothing_is_found_is_left_as_it_is(tmp_path: Path) -> None:
    home = Home(tmp_path, [row(n, deviceId=CONTESTED) for n in range(20)])
    export, job = home.daily(), home.job(format="csv")
    files = sorted(path for path in home.settings.exports.rglob("*"))
    inodes = [path.stat().st_ino for path in files]
    assert home.rewrite_all() == []
    assert [path.stat().st_ino for path in sorted(home.settings.exports.rglob("*"))] == inodes
    assert home.shown(job.id).name == job.id
    assert export.path.is_dir()


@pytest.mark.parametrize("format", ["jsonl", "csv"])
@pytest.mark.parametrize("user", ["ab1", "impression", "=x", "'=x", "ünï", 'a"b,c'])
def test_rows_go_whatever_the_id_looks_like(tmp_path: Path, format: str, user: str) -> None:
    others = [row(n, contentId="ab12", data='{"note":"xab1"}') for n in range(20)]
    home = Home(tmp_path, [*others, *(row(30 + n, userId=user) for n in range(5))])
    home.daily(format)
    done = home.rewrite_daily(format, edit_of([user], [user]))
    assert done is not None
    assert (done.manifest.row_count, len(done.removed["events"])) == (20, 5)
    assert verify(home.settings.exports).problems == ()


@pytest.mark.backends("s3")
def test_every_export_is_found_and_the_job_list_shows_the_new_files(environment: dict[str, str]) -> None:
    home = Home(environment, of_everybody())
    for format in ("jsonl", "csv"):
        home.daily(format)
    job = home.job(format="csv", dataTypes=["ads", "events"])
    done = home.rewrite_all()
    assert [each.path for each in done] == [
        f"daily/events/jsonl/{DAY}/v2",
        f"daily/events/csv/{DAY}/v2",
        f"on_demand/{job.id}-v2",
    ]
    now = home.ledger.jobs.get(job.id, LATER)
    assert (now.state, now.rows, now.expires_at) == ("complete", done[2].manifest.row_count, job.expires_at)
    assert now.bytes is not None
    assert job.bytes is not None
    assert now.bytes < job.bytes
    assert home.rewrite_all() == []
    clear(home.settings, home.ledger, LATER)
    assert verify(home.settings.exports).problems == ()
    assert [path.name for path in inside(home.settings.exports / "on_demand")] == [f"{job.id}-v2"]


def test_files_being_made_again_are_left_alone_until_it_is_said_which_are_shown(tmp_path: Path) -> None:
    home = Home(tmp_path, of_everybody(per_day=9))
    job = home.job()
    shown = home.shown(job.id)
    made = shown.with_name(f"{job.id}-v2")
    shutil.copytree(shown, made)
    with home.ledger.lock(lock_name(job.id)):
        clear(home.settings, home.ledger, NOW)
        assert made.is_dir()
    clear(home.settings, home.ledger, NOW)
    assert (shown.is_dir(), made.is_dir()) == (True, False)


def test_an_id_in_the_filter_of_an_export_goes_from_its_manifest(tmp_path: Path) -> None:
    home = Home(tmp_path, [row(n) for n in range(9)])
    job = home.job(filters={"contentIds": ["vid_1", USER]})
    [done] = home.rewrite_all()
    assert done.manifest.content_ids == ("vid_1", "[erased]")
    assert USER not in (home.shown(job.id) / "manifest.json").read_text()
    assert verify(home.shown(job.id)).problems == ()


def test_damaged_files_are_named_and_left_as_they_are(tmp_path: Path) -> None:
    home = Home(tmp_path, of_everybody())
    export = home.daily("csv")
    part = max(export.path.rglob("part-*"))
    part.write_bytes(gzip.compress(gzip.decompress(part.read_bytes()).replace(b"ios", b"web")))
    with pytest.raises(
        DamagedData, match=r"events/part-\d+\.csv\.gz of exp_events_csv_20261120_v1 is not what"
    ):
        home.rewrite_all()
    assert [path.name for path in export.path.parent.iterdir()] == ["v1"]


def test_files_that_no_complete_job_shows_are_removed(tmp_path: Path) -> None:
    home = Home(tmp_path, of_everybody())
    job = home.job()
    lost = home.shown(job.id).with_name("exp_0123456789abcdef01234567")
    home.shown(job.id).rename(lost)
    assert home.rewrite_all() == []
    assert not lost.exists()


def _rewrite(settings: Settings, point: str) -> None:
    settings = settings.model_copy(update={"fault_point": point})
    for _ in rewrite_all(settings, Ledger(settings), edit_of(), raised, now=LATER):
        reach(settings, "told")


@pytest.mark.backends("s3")
@pytest.mark.parametrize("point", ["rewrite.written", "rewrite.published", "rewrite.shown", "told"])
def test_a_rewriting_that_was_killed_is_put_right_and_told_by_another(
    environment: dict[str, str], point: str
) -> None:
    home = Home(environment, rows := of_everybody(per_day=40))
    job = home.job()
    expected = {f"on_demand/{job.id}-v2"}
    if point != "rewrite.shown":
        home.daily()
        expected.add(f"daily/events/jsonl/{DAY}/v2")
    processes.die(_rewrite, home.settings, point)
    assert verify(home.shown(job.id)).problems == ()
    done = home.rewrite_all()
    assert {each.path for each in done} == expected
    gone = {each["eventId"] for each in rows} - {each["eventId"] for each in without(rows)}
    assert [set(each.removed["events"]) for each in done] == [gone] * len(expected)
    assert len({each.replaced for each in done}) == 1
    assert [path.name for path in inside(home.settings.exports / "on_demand")] == [f"{job.id}-v2"]
    assert manifest_of(home.shown(job.id)).row_count == len(without(rows))
    for folder in inside(home.settings.exports / "daily" / "events" / "jsonl"):
        assert [path.name for path in inside(folder)] == ["v2"]
    assert verify(home.settings.exports).problems == ()
    assert list((home.settings.tmp / "exports").iterdir()) == []
    assert home.rewrite_all() == []
