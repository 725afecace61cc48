"""An export assembled from daily exports is the export that is computed, byte for byte."""

import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st

from export_pipeline import composing, objects
from export_pipeline.exports import DailyExport, Manifest, parse_request, verify, write_export
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.exports.verification import export_problems
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW, Land, export_rows, land_rows
from export_pipeline_tests.exports.encoded import DAY, at
from export_pipeline_tests.rows import row

Daily = Callable[..., DailyExport]
RANGE = {"startDate": "2026-11-18", "endDate": "2026-11-20"}
ODD = ['{"a":"x\\ny, \\"z\\""}', "{}", '{"interactionType":"=1+1","value":{"q":[1]}}', '{"x":"\\u2028é"}']


def exported(
    settings: Settings, out: Path, **values: Any
) -> tuple[Manifest, dict[str, bytes], Mapping[str, object]]:
    """An export into ``out``: its manifest, its files, and its manifest less what is its own."""
    manifest = write_export(
        parse_request({**RANGE, **values}, now=NOW, settings=settings),
        out,
        settings=settings,
        store=Store(settings),
        ledger=Ledger(settings),
        now=NOW,
        overwrite=True,
    )
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    same = json.loads(files.pop("manifest.json"))
    del same["exportId"]
    return manifest, files, same


def three_days(per_day: int) -> list[dict[str, Any]]:
    """Rows of three days with awkward content, some of them at one instant."""
    return [
        row(
            before * 1000 + n,
            timestamp=at(12) - timedelta(days=before, seconds=n // 3),
            data=ODD[n % 4],
            contentId='a\n"b"' if n % 5 == 0 else "vid_1",
        )
        for before in range(3)
        for n in range(per_day)
    ]


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("format", ["jsonl", "csv"])
@pytest.mark.parametrize(("window_rows", "part_bytes"), [(7, 1 << 10), (50_000, 1 << 30)])
def test_assembled_mixed_and_computed_exports_are_the_same_bytes(
    settings: Settings, tmp_path: Path, window_rows: int, part_bytes: int, format: str, compression: str
) -> None:
    try_assembling(settings, tmp_path, window_rows, part_bytes, format, compression)


@pytest.mark.backends("s3")
def test_what_is_assembled_from_parts_of_several_days_is_what_is_computed(
    settings: Settings, tmp_path: Path
) -> None:
    try_assembling(settings, tmp_path, 20, 1 << 14, "csv", "gzip")


def try_assembling(
    settings: Settings, tmp_path: Path, window_rows: int, part_bytes: int, format: str, compression: str
) -> None:
    settings = settings.model_copy(update={"window_rows": window_rows, "part_bytes": part_bytes})
    store, ledger = Store(settings), Ledger(settings)
    land_rows(store, ledger, three_days(40), "events")
    land_rows(store, ledger, [row(n, "quality") for n in range(9)], "quality")
    asked = {"format": format, "compression": compression, "dataTypes": ["quality", "events"]}
    _, computed, described = exported(settings, tmp_path / "computed", **asked)
    for day in (DAY, DAY - timedelta(days=2)):
        export_rows(settings, store, ledger, "events", format, day=day)
    _, mixed, mixed_described = exported(settings, tmp_path / "mixed", **asked)
    assert (mixed, mixed_described) == (computed, described)
    export_rows(settings, store, ledger, "events", format, day=DAY - timedelta(days=1))
    export_rows(settings, store, ledger, "quality", format)
    without_store_files(store)
    _, assembled, assembled_described = exported(settings, tmp_path / "assembled", **asked)
    assert (assembled, assembled_described) == (computed, described)
    assert verify(tmp_path / "assembled").problems == ()


def without_store_files(store: Store) -> None:
    """Take the rows away, so that an export that would need them fails."""
    for table in ("engagement_events", "quality_events"):
        for path in store.files(table):
            path.unlink()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from(ODD)), max_size=30),
    st.integers(1, 12),
    st.sampled_from(["jsonl", "csv"]),
)
@tried(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_rows_and_windows_the_bytes_are_the_same(
    settings: Settings,
    tmp_path: Path,
    rows: list[tuple[int, int, str]],
    window_rows: int,
    format: str,
) -> None:
    shutil.rmtree(settings.root, ignore_errors=True)
    settings = settings.model_copy(update={"window_rows": window_rows, "part_bytes": 2048})
    store, ledger = Store(settings), Ledger(settings)
    made = [
        row(n, timestamp=at(12, second=second) - timedelta(days=before), data=data)
        for n, (before, second, data) in enumerate(rows)
    ]
    if made:
        land_rows(store, ledger, made, "events")
    _, computed, described = exported(settings, tmp_path / "computed", format=format)
    for before in range(3):
        export_rows(settings, store, ledger, "events", format, day=DAY - timedelta(days=before))
    _, assembled, assembled_described = exported(settings, tmp_path / "assembled", format=format)
    assert (assembled, assembled_described) == (computed, described)


def test_a_day_whose_rows_changed_since_its_daily_export_is_computed(
    settings: Settings, land: Land, daily: Daily, tmp_path: Path
) -> None:
    land([row(n) for n in range(5)])
    daily()
    land([row(n) for n in range(5, 8)])
    assert exported(settings, tmp_path / "out")[0].row_count == 8


def test_a_filtered_export_is_never_a_whole_daily_one(
    settings: Settings, land: Land, daily: Daily, tmp_path: Path
) -> None:
    land([row(n) for n in range(35)])
    daily()
    assert exported(settings, tmp_path / "out", filters={"contentIds": ["vid_1"]})[0].row_count == 5


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "manifest", "other rows"])
def test_a_damaged_daily_export_is_not_used(
    settings: Settings, land: Land, daily: Daily, tmp_path: Path, damage: str
) -> None:
    land([row(n) for n in range(50)])
    _, computed, _ = exported(settings, tmp_path / "computed")
    export = daily()
    part = export.path / "events" / "part-00000.jsonl.gz"
    content = part.read_bytes()
    if damage == "truncated":
        part.write_bytes(content[:-9])
    elif damage == "changed":
        part.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    elif damage == "missing":
        part.unlink()
    elif damage == "manifest":
        (export.path / "manifest.json").write_text("{")
    else:
        part.write_bytes(gzip.compress(gzip.decompress(content).replace(b"ios", b"web")))
    assert exported(settings, tmp_path / "out")[1] == computed


@pytest.mark.parametrize("before", [20, 5])
def test_a_daily_export_made_with_windows_of_another_size_is_not_used(
    settings: Settings, land: Land, tmp_path: Path, before: int
) -> None:
    land([row(n) for n in range(50)])
    now = settings.model_copy(update={"window_rows": 10})
    _, computed, _ = exported(now, tmp_path / "computed")
    other = settings.model_copy(update={"window_rows": before})
    export_rows(other, Store(other), Ledger(other))
    assert exported(now, tmp_path / "out")[1] == computed


@pytest.mark.backends("s3")
def test_a_job_of_kept_days_has_the_computed_bytes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    settings = settings.model_copy(update={"window_rows": 7, "part_bytes": 1 << 14})
    store, ledger = Store(settings), Ledger(settings)
    land_rows(store, ledger, three_days(40), "events")
    _, computed, _ = exported(settings, tmp_path / "computed", format="csv")
    for before in range(3):
        export_rows(settings, store, ledger, "events", "csv", day=DAY - timedelta(days=before))
    without_store_files(store)
    copied: list[str] = []
    compose = composing.compose
    monkeypatch.setattr(
        composing, "compose", lambda *args: (copied.append(args[0].path.name), compose(*args))[1]
    )
    asked = {**RANGE, "format": "csv"}
    job = request_export(settings, store, ledger, asked, now=NOW, created_by="command")
    done = run_job(settings, store, ledger, job.id, 1, clock=lambda: NOW)
    folder = settings.exports / str(done.path)
    assert export_problems(folder) == []
    found = {objects.relative(path, folder): path.read_bytes() for path, _, _ in objects.files_below(folder)}
    del found["manifest.json"]
    assert found == computed
    assert len(computed) > 3
    assert bool(copied) == (backend == "s3")
