"""The running product, as its operator meets it: files land, a backfill is started, a day closes."""

import gzip
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from export_pipeline.days import utc_now
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.sample import write_sample
from export_pipeline.exports import verify
from export_pipeline_tests.integration import queries
from export_pipeline_tests.integration.stack import Stack, eventually, land, log_folder, running

BACKFILLED_DAYS, RETENTION_DAYS = 3, 30
EXPORTS = [
    f"{data_type.table}_{format_}" for data_type in DATA_TYPES.values() for format_ in ("jsonl", "csv")
]


def user_ids(source: Path) -> set[bytes]:
    """Every user id in the landing files below ``source``."""
    files = [path for path in source.rglob("*") if path.is_file()]
    contents = [gzip.decompress(f.read_bytes()) if f.suffix == ".gz" else f.read_bytes() for f in files]
    return {user for content in contents for user in re.findall(rb'"userId": ?"([^"]+)"', content)}


class Deployed:
    """A stack whose schedule looks every minute, with some landed days that the schedule leaves alone."""

    def __init__(self, stack: Stack, today: date) -> None:
        self.stack = stack
        self.yesterday = today - timedelta(days=1)
        last = today - timedelta(days=10)
        self.days = [last - timedelta(days=n) for n in reversed(range(BACKFILLED_DAYS))]
        self.outside = today - timedelta(days=RETENTION_DAYS + 2)
        self.backfills: dict[str, str] = {}
        self.users: set[bytes] = set()

    def rows(self, data_type: str) -> dict[str, int]:
        """Rows by day, as the UI shows them on the page of the events."""
        found = queries.shown(self.stack, DATA_TYPES[data_type].table)
        return {day: int(metadata["rows"]) for day, metadata in found.items()}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    today = utc_now().date()
    settings = {
        "EXPORT_PIPELINE_FIRST_DAY": str(today - timedelta(days=60)),
        "EXPORT_PIPELINE_RAW_RETENTION_DAYS": str(RETENTION_DAYS),
        "EXPORT_PIPELINE_EXPORT_HOUR": "0",
        "EXPORT_PIPELINE_EXPORT_CHECK_MINUTES": "1",
        "EXPORT_PIPELINE_CLOSE_DELAY_MINUTES": "0",
    }
    home, source = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("source")
    with running(home, settings) as stack:
        there = Deployed(stack, today)
        write_sample(source, BACKFILLED_DAYS, there.days[-1], 3000, 50, 1, None)
        there.users = user_ids(source)
        land(home, source)
        eventually(
            "the landed files are ingested",
            lambda: all(set(map(str, there.days)) <= set(there.rows(name)) for name in DATA_TYPES),
        )
        # The daemon looks for backfills every half minute: they are started early and waited for late.
        there.backfills = {
            "good": queries.backfill(stack, EXPORTS, [str(day) for day in there.days]),
            "outside": queries.backfill(stack, EXPORTS[:1], [str(there.outside)]),
        }
        yield there


@pytest.fixture(scope="module")
def backfills(deployed: Deployed) -> dict[str, str]:
    """How a backfill of some days, and one of a day outside retention, ended."""

    def ended(backfill: str) -> str | None:
        status = queries.backfill_status(deployed.stack, backfill)
        return status if status.startswith("COMPLETED") or status == "FAILED" else None

    return {
        name: eventually(f"the end of the {name} backfill", partial(ended, backfill), 240)
        for name, backfill in deployed.backfills.items()
    }


def test_files_that_land_are_ingested_by_one_run_of_the_sensor(deployed: Deployed) -> None:
    (run, *more) = [run for run in queries.runs(deployed.stack) if run["jobName"] == "ingest"]
    assert not more
    assert run["tags"]["dagster/sensor_name"] == "landing"
    assert all(rows > 0 for rows in deployed.rows("events").values())


def test_a_file_that_lands_later_is_ingested_by_the_next_run(deployed: Deployed, tmp_path: Path) -> None:
    day = str(deployed.yesterday)
    event = {"event": "like", "userId": "user_00000001", "contentId": "vid_1", "deviceType": "ios"}
    later = tmp_path / "events" / "later.jsonl"
    later.parent.mkdir()
    later.write_text(json.dumps({**event, "timestamp": f"{day}T12:00:00Z"}) + "\n")
    land(deployed.stack.home, tmp_path)
    eventually(f"the row of {day} is shown", lambda: deployed.rows("events").get(day) == 1)


def test_a_backfill_of_a_range_makes_one_run_and_numbers_for_each_day(
    deployed: Deployed, backfills: dict[str, str]
) -> None:
    assert backfills["good"] == "COMPLETED_SUCCESS"
    first, last = str(deployed.days[0]), str(deployed.days[-1])
    made = [
        run
        for run in queries.runs(deployed.stack)
        if run["tags"].get("dagster/asset_partition_range_start") == first
    ]
    assert [run["tags"]["dagster/asset_partition_range_end"] for run in made] == [last]
    for data_type in DATA_TYPES.values():
        rows = deployed.rows(data_type.name)
        for format_ in ("jsonl", "csv"):
            found = queries.shown(deployed.stack, f"{data_type.table}_{format_}")
            for day in map(str, deployed.days):
                assert int(found[day]["rows"]) == rows[day]
                assert Path(found[day]["manifest"]).is_file()


def test_the_backfilled_files_verify(deployed: Deployed, backfills: dict[str, str]) -> None:
    report = verify(deployed.stack.home / "exports" / "daily")
    assert report.ok, report.problems
    assert report.exports >= len(EXPORTS) * BACKFILLED_DAYS


def test_the_checks_of_a_backfill_pass(deployed: Deployed, backfills: dict[str, str]) -> None:
    def passed() -> bool:
        checks = queries.asset(deployed.stack, "engagement_events_csv")["assetChecksOrError"]["checks"]
        latest = {check["name"]: check["executionForLatestMaterialization"] for check in checks}
        return all(latest[name]["status"] == "SUCCEEDED" for name in ("read_back", "row_count"))

    # The schedule exports another day meanwhile; its checks are under way then.
    eventually("the checks pass", passed)


def test_a_day_outside_retention_fails_and_the_log_says_which_and_why(
    deployed: Deployed, backfills: dict[str, str]
) -> None:
    assert backfills["outside"] == "COMPLETED_FAILED"
    statuses = queries.asset(deployed.stack, EXPORTS[0])["assetPartitionStatuses"]["ranges"]
    assert {
        "startKey": str(deployed.outside),
        "endKey": str(deployed.outside),
        "status": "FAILED",
    } in statuses
    eventually(
        "the failed run is logged",
        lambda: any(
            f"{EXPORTS[0]} for {deployed.outside}. 1 of 1 days failed. " in line
            and "OUTSIDE_RETENTION" in line
            for line in queries.sensor_log(deployed.stack, "failed_runs")
        ),
    )


def test_the_schedule_exports_yesterday_once_it_is_closed(deployed: Deployed) -> None:
    eventually(
        "yesterday is exported in every format",
        lambda: all(str(deployed.yesterday) in queries.shown(deployed.stack, name) for name in EXPORTS),
        180,
    )
    scheduled = [run for run in queries.runs(deployed.stack) if run["jobName"] == "daily_exports"]
    assert all(run["tags"]["dagster/schedule_name"] == "daily_exports" for run in scheduled)


def test_nothing_that_the_stack_logged_or_recorded_holds_a_user_id(
    deployed: Deployed, backfills: dict[str, str]
) -> None:
    assert len(deployed.users) > 10
    places = [deployed.stack.home / "dagster", log_folder(deployed.stack.home)]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        assert not [user for user in deployed.users if user in content], path
