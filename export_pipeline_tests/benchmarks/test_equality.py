"""A figure counts only if the rows are the store's: what the comparison accepts, and what it refuses."""

import gzip
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import equality
from benchmarks.inputs import DATA_TYPE, Input
from benchmarks.writers import ours
from export_pipeline.days import midnight

PEERS = {"clickhouse": "chdb", "polars": "polars", "duckdb_copy": "duckdb", "pandas_frame": "pandas"}


@pytest.fixture(scope="module", params=["jsonl", "csv"])
def format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def exported(format: str, day: Input, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """This project's export, which the store's rows are held against."""
    out = tmp_path_factory.mktemp("exported") / "export"
    ours.write(str(day.home), DATA_TYPE, str(day.end), format, "none", str(out))
    return next((out / DATA_TYPE).glob("part-*")).read_bytes()


def refused(content: bytes, format: str, day: Input, folder: Path) -> str:
    """Why ``content`` is not accepted as the rows of ``day``."""
    path = folder / f"changed.{format}.gz"
    path.write_bytes(gzip.compress(content, 1))
    expected = equality.stored(day.files, DATA_TYPE, format)
    with pytest.raises(equality.NotEqual) as error:
        equality.check([str(path)], expected, day.files, DATA_TYPE, format)
    return str(error.value)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_peer_writes_the_rows_of_the_store(
    peer: str, compression: str, format: str, day: Input, tmp_path: Path
) -> None:
    pytest.importorskip(PEERS[peer])
    write: Callable[..., None] = importlib.import_module(f"benchmarks.writers.{peer}").write
    until = midnight(day.end).replace(hour=12).isoformat() if peer == "pandas_frame" else None
    out = tmp_path / f"rows.{format}{'.gz' if compression == 'gzip' else ''}"
    part = {"until": until} if until else {}
    write(day.files, DATA_TYPE, format, compression, str(out), **part)
    expected = equality.stored(day.files, DATA_TYPE, format, until)
    assert expected.rows > 100
    equality.check([str(out)], expected, day.files, DATA_TYPE, format, until)


def test_our_own_export_is_accepted(exported: bytes, format: str, day: Input, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{format}"
    path.write_bytes(exported)
    expected = equality.stored(day.files, DATA_TYPE, format)
    assert expected.rows == day.rows
    equality.check([str(path)], expected, day.files, DATA_TYPE, format)


def test_a_changed_value_is_refused_and_its_column_named(
    exported: bytes, format: str, day: Input, tmp_path: Path
) -> None:
    changed = exported.replace(b"h264", b"h265", 1)
    assert changed != exported
    column = "data" if format == "jsonl" else "data.codec"
    assert f"{{'{column}': 1}}" in refused(changed, format, day, tmp_path)


def test_a_missing_row_is_refused(exported: bytes, format: str, day: Input, tmp_path: Path) -> None:
    lines = exported.splitlines(keepends=True)
    without = b"".join(lines[:-1])
    assert f"{day.rows - 1} rows where the store has {day.rows}" in refused(without, format, day, tmp_path)


def test_another_order_is_refused(exported: bytes, format: str, day: Input, tmp_path: Path) -> None:
    lines = exported.splitlines(keepends=True)
    # The first rows are those of a session's beginning, and hold no line break.
    swapped = b"".join([lines[0], lines[2], lines[1], *lines[3:]])
    assert "another order" in refused(swapped, format, day, tmp_path)


def test_fields_in_another_order_are_refused(
    exported: bytes, format: str, day: Input, tmp_path: Path
) -> None:
    first, _, rest = exported.partition(b"\n")
    moved = first.replace(b"event", b"EVENT", 1) + b"\n" + rest
    assert "they must be event, contentId" in refused(moved, format, day, tmp_path)
