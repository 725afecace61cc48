"""An export into a directory of the caller's choice appears whole, or not at all."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.errors import Conflict, InvalidRequest
from export_pipeline.exports import Manifest, parse_request, verify, write_export
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import at
from export_pipeline_tests.rows import row

Export = Callable[..., Manifest]


@pytest.fixture
def export(settings: Settings, store: Store, ledger: Ledger) -> Export:
    def exported(out: Path, overwrite: bool = False, progress: Any = None, **values: Any) -> Manifest:
        asked = {"startDate": "2026-11-18", "endDate": "2026-11-20", **values}
        return write_export(
            parse_request(asked, now=NOW, settings=settings),
            out,
            settings=settings,
            store=store,
            ledger=ledger,
            overwrite=overwrite,
            progress=progress,
            now=NOW,
        )

    return exported


@pytest.mark.parametrize("format", ["jsonl", "csv"])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_days_and_data_types_come_out_together(
    land: Land, export: Export, tmp_path: Path, format: str, compression: str
) -> None:
    for before in range(4):
        land([row(n, timestamp=at(12) - timedelta(days=before, seconds=n)) for n in range(5)])
    land([row(n, "ads") for n in range(3)], "ads")
    manifest = export(
        tmp_path / "new" / "out", dataTypes=["ads", "events"], format=format, compression=compression
    )
    assert [(day.data_type, day.rows) for day in manifest.days] == [("ads", n) for n in (0, 0, 3)] + [
        ("events", 5)
    ] * 3
    assert [file.data_type for file in manifest.files] == ["ads", "events"]
    assert verify(tmp_path / "new" / "out").problems == ()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_a_part_runs_over_midnight(land: Land, export: Export, tmp_path: Path) -> None:
    land([row(n, timestamp=at(12) - timedelta(days=n % 3)) for n in range(9)])
    (file,) = export(tmp_path / "out").files
    assert (file.rows, file.first_timestamp, file.last_timestamp) == (
        9,
        "2026-11-18T12:00:00Z",
        "2026-11-20T12:00:00Z",
    )


def test_the_manifest_shows_filters_but_users_only_as_a_count(
    land: Land, export: Export, tmp_path: Path
) -> None:
    land([row(n) for n in range(35)])
    filters = {"contentIds": ["vid_1"], "userIds": ["user_00000001", "user_00000002"]}
    manifest = export(tmp_path / "out", filters=filters)
    assert manifest.row_count == 2
    assert manifest.to_json()["filters"] == {"contentIds": ["vid_1"], "eventTypes": [], "userCount": 2}
    assert "user_0000" not in (tmp_path / "out" / "manifest.json").read_text()


def test_the_range_is_not_complete_while_its_last_day_is_open(
    land: Land, export: Export, tmp_path: Path
) -> None:
    assert export(tmp_path / "closed").complete
    assert not export(tmp_path / "open", endDate="2026-11-21").complete


def test_progress_adds_up_to_the_rows(land: Land, export: Export, tmp_path: Path) -> None:
    land([row(n) for n in range(30)])
    told: list[int] = []
    export(tmp_path / "out", progress=told.append)
    assert sum(told) == 30


def test_an_empty_directory_is_used(export: Export, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(tmp_path / "out")
    assert verify(tmp_path / "out").ok


def test_a_directory_with_something_in_it_is_refused(export: Export, tmp_path: Path) -> None:
    export(tmp_path / "out")
    with pytest.raises(Conflict, match="is not empty"):
        export(tmp_path / "out")


def test_overwriting_replaces_an_export_as_a_whole(land: Land, export: Export, tmp_path: Path) -> None:
    export(tmp_path / "out", dataTypes=["ads"])
    land([row(1)])
    assert export(tmp_path / "out", overwrite=True).row_count == 1
    assert verify(tmp_path / "out").problems == ()
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def test_overwriting_never_removes_what_another_program_calls_a_manifest(
    export: Export, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(Conflict, match="something else than an export"):
        export(out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["manifest.json"]


def test_overwriting_never_removes_what_was_put_beside_an_export(export: Export, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out)
    (out / "events" / "notes.txt").write_text("mine")
    with pytest.raises(Conflict, match="something else than an export"):
        export(out, overwrite=True)
    assert (out / "events" / "notes.txt").read_text() == "mine"


def test_overwriting_never_removes_what_is_no_export(export: Export, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(Conflict, match="something else than an export"):
        export(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").exists()


@pytest.mark.parametrize("inside", ["exports/mine", "", ".."])
def test_the_state_root_is_never_written_to(export: Export, settings: Settings, inside: str) -> None:
    with pytest.raises(InvalidRequest, match="outside the state root"):
        export(settings.root / inside, overwrite=True)


def test_a_file_is_no_directory(export: Export, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InvalidRequest, match="a file; it must be a directory"):
        export(tmp_path / "out", overwrite=True)
