"""A plan whose files are gone or damaged says which of the two, wherever they are noticed first."""

from pathlib import Path

import pytest

from export_pipeline.errors import DamagedData
from export_pipeline.exports.ordering import blocks
from export_pipeline.exports.planning import plan_day
from export_pipeline.exports.request import Filters
from export_pipeline.exports.scanning import FileGone, Scan, reading
from export_pipeline.store import Store
from export_pipeline_tests.rows import NOON, row, table

pytestmark = pytest.mark.backends("s3")

TABLE = "engagement_events"


@pytest.fixture
def scan(store: Store, tmp_path: Path) -> Scan:
    store.append(TABLE, [table([row(n) for n in range(100)])], {"batch": "b1"})
    return Scan("events", NOON.date(), tuple(store.files(TABLE)), 10, Filters(), str(tmp_path / "spill"))


def read(scan: Scan) -> int:
    windows = plan_day(scan, 50).windows
    with reading(scan):
        return sum(len(rows) for rows in blocks(scan, windows))


def test_rows_are_planned_and_read(scan: Scan) -> None:
    assert read(scan) == 100


def test_a_file_that_is_gone_when_it_is_planned_is_named(scan: Scan) -> None:
    scan.files[1].unlink()
    with pytest.raises(FileGone) as gone:
        read(scan)
    assert gone.value.path == scan.files[1]


def test_a_file_that_goes_between_planning_and_reading_is_named(scan: Scan) -> None:
    windows = plan_day(scan, 50).windows
    assert read(scan) == 100  # what is known of the files is kept
    scan.files[0].unlink()
    with pytest.raises(FileGone) as gone, reading(scan):
        list(blocks(scan, windows))
    assert gone.value.path == scan.files[0]


def test_a_file_that_is_not_what_was_written_is_damaged(scan: Scan) -> None:
    content = scan.files[0].read_bytes()
    scan.files[0].write_bytes(content[:-9])
    with pytest.raises(DamagedData, match=scan.files[0].name):
        read(scan)
