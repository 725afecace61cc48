"""Daily metrics are what their words say, hold nobody's id, and outlive the events they came from."""

import json
import math
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from export_pipeline.errors import OutsideRetention
from export_pipeline.events.metrics import METRICS
from export_pipeline.events.sample import write_sample
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.retention.metrics import DayMetrics, compute_day, due_metrics, top_contents, totals
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.views import query, records
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.retention.conftest import NOW, Fill, Round, ago, noon
from export_pipeline_tests.retention.model import Cell, metrics
from export_pipeline_tests.retention.process import die_computing
from export_pipeline_tests.rows import row

DAY = ago(1)
Compute = Callable[..., DayMetrics]


@pytest.fixture
def compute(settings: Settings, store: Store, ledger: Ledger) -> Compute:
    def computed(day: date = DAY, now: Any = NOW, **changes: Any) -> DayMetrics:
        return compute_day(settings.model_copy(update=changes), store, ledger, day, now)

    return computed


def cells(settings: Settings, store: Store, day: date = DAY) -> dict[Cell, dict[str, Any]]:
    found = records(query(settings, store, f"select * from daily_metrics where date = '{day}'"))
    return {
        (cell["contentId"], cell["deviceType"]): {m.name: cell[m.name] for m in METRICS} for cell in found
    }


def alike(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether the numbers are the same; all but quotients exactly."""
    return found.keys() == expected.keys() and all(
        value == expected[name]
        or (None not in (value, expected[name]) and math.isclose(value, expected[name]))
        for name, value in found.items()
    )


def stored(store: Store, table: str) -> list[dict[str, Any]]:
    return [r for path in store.files(table) for r in pq.read_table(path, partitioning=None).to_pylist()]


def play(content: str, user: str, device: str = "ios", **values: Any) -> dict[str, Any]:
    return row(
        0, event="playStart", contentId=content, userId=user, deviceType=device, timestamp=noon(DAY),
        eventId=f"{content}{user}{device}{values}", data=json.dumps({"startupTime": 100}), **values,
    )  # fmt: skip


def test_the_numbers_of_the_sample_are_those_of_a_plain_count(
    settings: Settings, store: Store, ledger: Ledger, compute: Compute
) -> None:
    write_sample(settings.landing, 1, DAY, 20_000, 120, 3)
    ingest_landing(settings, store, ledger, now=NOW + timedelta(days=1))
    compute(now=NOW + timedelta(days=1))
    rows = {
        name: [r for r in stored(store, name) if r["timestamp"].date() == DAY]
        for name in ("engagement_events", "quality_events", "ad_events")
    }
    expected = metrics(rows["engagement_events"], rows["quality_events"], rows["ad_events"], 5)
    found = cells(settings, store)
    assert found.keys() == expected.keys()
    assert len(found) > 10
    for cell, values in expected.items():
        assert alike(found[cell], values), cell
    assert min(found[cell]["uniqueViewers"] for cell in found) >= 5


EVENT_DATA: dict[str, tuple[str, ...]] = {
    "playStart": ('{"startupTime": 250}', '{"startupTime": "250"}', '{"startupTime": -1}', "{}"),
    "watchProgress": ('{"currentTime": 2.5}', '{"currentTime": null}', '{"currentTime": 1e400}'),
    "completion": ('{"watchTime": 9.001}', '{"watchTime": true}'),
    "swipe": (
        '{"fromContentId": "a", "watchTimeOnFrom": 3}',
        '{"fromContentId": null, "watchTimeOnFrom": 1}',
    ),
    "impression": ("{}",),
    "like": ("{}",),
}


@hypothesis_settings(max_examples=12, deadline=None)
@given(
    drawn=st.lists(
        st.sampled_from([(e, d) for e, of_event in EVENT_DATA.items() for d in of_event]).flatmap(
            lambda pair: st.tuples(
                st.just(pair[0]),
                st.just(pair[1]),
                st.sampled_from(["a", "b", None, "other"]),
                st.sampled_from(["u1", "u2", "u3", "u4"]),
                st.sampled_from(["ios", "web"]),
                st.sampled_from(["s1", None]),
            )
        ),
        max_size=40,
    ),
    least=st.integers(1, 4),
)
def test_cells_are_merged_and_counted_as_the_words_say(
    drawn: list[Any], least: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings(home=tmp_path_factory.mktemp("home"), metrics_min_viewers=least, workers=2)
    store, ledger = Store(settings), Ledger(settings)
    rows = [
        row(
            n, event=event, data=data, contentId=content, userId=user, deviceType=device, sessionId=session,
            timestamp=noon(DAY) + timedelta(seconds=n),
        )
        for n, (event, data, content, user, device, session) in enumerate(drawn)
    ]  # fmt: skip
    if rows:
        land_rows(store, ledger, rows, "events")
    compute_day(settings, store, ledger, DAY, NOW)
    expected = metrics([r | {"data": r["data"].replace("1e400", "null")} for r in rows], [], [], least)
    found = cells(settings, store)
    assert found.keys() == expected.keys()
    for cell, values in expected.items():
        assert alike(found[cell], values), cell


def test_a_cell_of_too_few_viewers_is_shown_in_other_and_one_of_enough_by_itself(
    settings: Settings, store: Store, ledger: Ledger, compute: Compute
) -> None:
    rows = [play("four", f"u{n}") for n in range(4)] + [play("five", f"u{n}") for n in range(5)]
    rows.append(play("lonely", "u9"))
    land_rows(store, ledger, rows, "events")
    compute()
    found = cells(settings, store)
    assert {cell: values["uniqueViewers"] for cell, values in found.items()} == {
        ("five", "ios"): 5,
        ("other", "ios"): 5,
    }
    assert sum(values["plays"] for values in found.values()) == 10


def test_what_is_merged_loses_its_device_too_if_that_would_show_too_few(
    settings: Settings, store: Store, ledger: Ledger, compute: Compute
) -> None:
    rows = [play(f"c{n}", f"u{n}") for n in range(6)] + [play("c1", "u1", "web")]
    land_rows(store, ledger, rows, "events")
    compute()
    assert {cell: v["uniqueViewers"] for cell, v in cells(settings, store).items()} == {("other", "other"): 6}


@pytest.mark.backends("s3")
def test_metrics_stand_until_the_rows_change(
    fill: Fill, compute: Compute, settings: Settings, store: Store
) -> None:
    fill(DAY, 50)
    assert compute().computed
    assert not compute().computed
    before = cells(settings, store)
    fill(DAY, 20, "ads")
    assert compute().computed
    after = cells(settings, store)
    assert sum(v["adImpressions"] for v in after.values()) == 20
    assert (
        sum(v["impressions"] for v in after.values()) == sum(v["impressions"] for v in before.values()) == 50
    )


def test_metrics_are_due_once_a_day_has_closed_and_again_when_its_rows_change(
    fill: Fill, compute: Compute, settings: Settings, ledger: Ledger
) -> None:
    def due(now: Any = NOW, waiting: tuple[date, ...] | None = ()) -> list[date]:
        return due_metrics(settings, ledger, now, lambda _: waiting)

    fill(DAY)
    fill(ago(90))
    fill(ago(91))
    assert due() == [ago(90), DAY]
    assert due(NOW - timedelta(hours=3)) == [ago(90)]
    assert due(waiting=(DAY,)) == [ago(90)]
    assert due(waiting=None) == []
    compute()
    compute(ago(90))
    assert due() == []
    fill(DAY, 1, "quality")
    assert due() == [DAY]


def test_metrics_outlive_raw_events_and_are_not_computed_from_what_is_left(
    fill: Fill, compute: Compute, round_: Round, settings: Settings, store: Store
) -> None:
    fill(ago(90), 40)
    compute(ago(90))
    before = cells(settings, store, ago(90))
    later = NOW + timedelta(days=1)
    round_(later)
    with pytest.raises(OutsideRetention):
        compute(ago(90), now=later)
    with pytest.raises(OutsideRetention, match="stay as they are"):
        compute(ago(90), now=later, raw_retention_days=120)
    assert cells(settings, store, ago(90)) == before
    assert before


@pytest.mark.backends("s3")
def test_metrics_are_dropped_after_two_years(
    fill: Fill, compute: Compute, round_: Round, settings: Settings, store: Store, ledger: Ledger
) -> None:
    fill(ago(1), 40)
    fill(ago(2), 40)
    compute(ago(1))
    compute(ago(2))
    last = NOW - timedelta(days=2) + timedelta(days=730)
    assert round_(last)["daily_metrics"].rows == 0
    dropped = round_(last + timedelta(days=1))["daily_metrics"]
    assert dropped.rows == 1
    assert dropped.files == 1
    assert not cells(settings, store, ago(2))
    assert cells(settings, store, ago(1))
    assert list(ledger.keeping.metrics()) == [ago(1)]


def test_no_file_of_the_metrics_holds_a_user_id(fill: Fill, compute: Compute, settings: Settings) -> None:
    fill(DAY, 50)
    compute()
    folder = settings.store / "export_pipeline" / "daily_metrics"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"user_" in path.read_bytes()]
    assert not list(Path(settings.tmp / "exports").glob("*"))


def test_totals_and_top_contents_are_sums_over_cells(
    compute: Compute, settings: Settings, store: Store, ledger: Ledger
) -> None:
    rows = [play("a", f"u{n}", device) for n in range(6) for device in ("ios", "web")]
    rows += [play("b", f"u{n}") for n in range(7)]
    rows += [{**play("b", f"u{n}"), "event": "completion", "eventId": f"c{n}"} for n in range(7)]
    rows += [{**rows[-1], "eventId": "long", "contentId": "a", "data": '{"watchTime": 90.5}'}]
    land_rows(store, ledger, rows, "events")
    clicks = [{**play("a", f"u{n}"), "event": "click", "eventId": f"k{n}"} for n in range(3)]
    land_rows(store, ledger, clicks, "ads")
    compute()
    [day] = totals(store, DAY)
    assert (day.watch_time, day.ad_clicks) == (90.5, 3)
    assert (day.day, day.plays, day.rebuffer_rate) == (DAY, 19, 0)
    assert day.completion_rate == pytest.approx(8 / 19)
    assert [(content, plays) for content, plays, *_ in top_contents(store, DAY)] == [("a", 12), ("b", 7)]


@pytest.mark.parametrize("point", ["metrics.computed", "metrics.stored"])
def test_killed_while_it_computes_the_next_time_completes_it(
    point: str, fill: Fill, compute: Compute, settings: Settings, store: Store
) -> None:
    fill(DAY, 50)
    compute()
    fill(DAY, 20, "ads")
    die_computing(settings, DAY, NOW, point)
    assert compute().computed
    assert sum(cell["adImpressions"] for cell in cells(settings, store).values()) == 20
    assert len(store.files("daily_metrics")) == 1
    assert not list(Path(settings.tmp / "exports").glob("*"))
