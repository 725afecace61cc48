"""``query`` shows the store and can neither change it nor look elsewhere."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from export_pipeline.errors import InvalidRequest, TransientError
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF, arrow_schema
from export_pipeline.store.views import query, records, text
from export_pipeline_tests.rows import NOON, row, table


def test_every_table_is_a_view_even_while_it_is_empty(settings: Settings, store: Store) -> None:
    for target, name in TABLE_OF.items():
        result = query(settings, store, f"select * from {name}")
        assert result.columns == arrow_schema(target).names
        assert result.fetchall() == []


@pytest.mark.backends("s3")
def test_instants_are_utc(settings: Settings, store: Store) -> None:
    store.append("engagement_events", [table([row(0)])], {"batch": "b1"})
    result = query(settings, store, "select timestamp, date_trunc('day', timestamp) from engagement_events")
    assert result.fetchall() == [(NOON.replace(tzinfo=None), datetime(2026, 11, 20))]


@pytest.mark.backends("s3")
def test_the_newest_row_of_a_user_counts(settings: Settings, store: Store) -> None:
    def profile(second: int, likes: int) -> dict[str, object]:
        return {
            "userId": "user_00000001",
            "createdAt": datetime(2026, 11, 1, 0, 0, second, tzinfo=UTC),
            "topicAffinities": None,
            "engagementSummary": f'{{"likes":{likes}}}',
            "batchSequence": 1,
        }

    rows = pa.Table.from_pylist(
        [profile(1, 1), profile(3, 3), profile(2, 2)], schema=arrow_schema("users/profiles")
    )
    store.append("user_profiles", [rows], {"batch": "b1"})
    result = query(settings, store, "select \"engagementSummary\" ->> '$.likes' from user_profiles")
    assert result.fetchall() == [("3",)]


@pytest.mark.parametrize(
    "sql",
    [
        "create table t (i int)",
        "copy (select 1) to 'out.csv'",
        "select 1; select 2",
        "select * from read_csv('/etc/passwd')",
        "attach 'other.db'",
        "set threads = 1",
        "install httpfs",
        "selec",
        "",
    ],
)
def test_a_statement_that_does_more_than_read_the_views_is_refused(
    settings: Settings, store: Store, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest) as refused:
        query(settings, store, sql)
    assert refused.value.field == "sql"
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.backends("s3")
def test_explaining_a_copy_does_not_run_it(settings: Settings, store: Store) -> None:
    store.append("engagement_events", [table([row(0)])], {"batch": "b1"})
    (path,) = store.files("engagement_events")
    before = path.read_bytes()
    copy = f"copy (select 1) to '{path}' (format csv, use_tmp_file false)"
    with pytest.raises(InvalidRequest, match="one statement that only reads"):
        records(query(settings, store, f"explain analyze {copy}"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("sql", ['"userId"::integer', "error('no ' || \"userId\")"])
@pytest.mark.parametrize("shown", [records, text])
def test_an_error_over_a_row_does_not_quote_it(
    settings: Settings, store: Store, sql: str, shown: Callable[[Any], object]
) -> None:
    store.append("engagement_events", [table([row(0)])], {"batch": "b1"})
    with pytest.raises(InvalidRequest, match="Error while it ran") as refused:
        shown(query(settings, store, f"select {sql} from engagement_events"))
    assert row(0)["userId"] not in refused.value.message


@pytest.mark.backends("s3")
@pytest.mark.parametrize("shown", [records, text])
def test_a_file_that_is_removed_meanwhile_is_told_as_such(
    settings: Settings, store: Store, shown: Callable[[Any], object]
) -> None:
    store.append("engagement_events", [table([row(n) for n in range(10)])], {"batch": "b1"})
    result = query(settings, store, 'select "eventId" from engagement_events')
    for path in store.files("engagement_events"):
        path.unlink()
    with pytest.raises(TransientError, match="try again"):
        shown(result)
