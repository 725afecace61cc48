"""The catalogue says what the contract promises."""

import pytest

from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES

PROMISED = {
    "events": {
        "impression": "position entryPoint feedId",
        "playStart": "startupTime rendition codec autoplay",
        "watchProgress": "currentTime duration percentComplete rendition bitrate",
        "completion": "watchTime looped loopCount",
        "swipe": "fromContentId toContentId watchTimeOnFrom direction",
        "interaction": "interactionType value",
        "like": "",
        "share": "platform",
        "save": "",
        "feedEntry": "entryPoint",
        "feedExit": "totalSessionTime videosWatched adsWatched exitMethod",
    },
    "quality": {
        "rebuffer": "duration rendition networkType",
        "qualityChange": "fromQuality toQuality reason",
        "error": "errorCode errorMessage errorType networkType deviceInfo",
    },
    "ads": {
        "impression": "adId adNetworkId contentIdBefore position",
        "completion": "adId watchTime didComplete didSkip",
        "click": "adId adNetworkId destination",
    },
}


def test_lists_the_promised_events_and_fields_in_order() -> None:
    listed = {
        name: {event.name: " ".join(f.name for f in event.fields) for event in data_type.events}
        for name, data_type in DATA_TYPES.items()
    }
    assert listed == PROMISED
    assert list(DATA_TYPES) == list(PROMISED)


def test_each_data_type_has_its_own_table() -> None:
    tables = {name: data_type.table for name, data_type in DATA_TYPES.items()}
    assert tables == {"events": "engagement_events", "quality": "quality_events", "ads": "ad_events"}


@pytest.mark.parametrize("name", DATA_TYPES)
def test_rows_have_the_promised_fields_in_order_with_current_time_in_quality_only(name: str) -> None:
    first = ["event", "contentId", "userId", "timestamp", "sessionId", "deviceType", "currentTime"]
    promised = [*first, "data", "deviceId", "country", "eventId", "receivedAt", "dataType"]
    if name != "quality":
        promised.remove("currentTime")
    assert [f.name for f in DATA_TYPES[name].row_fields] == promised


def test_content_may_be_missing_for_feed_entry_feed_exit_swipe_and_ads_only() -> None:
    without = {
        (name, event.name)
        for name, data_type in DATA_TYPES.items()
        for event in data_type.events
        if not event.needs_content
    }
    ads = {("ads", event) for event in PROMISED["ads"]}
    assert without == ads | {("events", "feedEntry"), ("events", "feedExit"), ("events", "swipe")}


@pytest.mark.parametrize("name", DATA_TYPES)
def test_csv_spreads_data_over_its_fields_and_an_extra_column(name: str) -> None:
    data_type = DATA_TYPES[name]
    columns = list(data_type.csv_columns)
    assert len(columns) == len(set(columns))
    spread = [column for column in columns if column.startswith("data.")]
    assert spread == [*(f"data.{field}" for field in data_type.data_fields), "data.extra"]
    first = columns.index(spread[0])
    rows = [f.name for f in data_type.row_fields]
    assert columns[:first] == rows[: rows.index("data")]
    assert columns[first + len(spread) :] == rows[rows.index("data") + 1 :]


def test_no_field_is_called_extra_so_the_extra_column_is_free() -> None:
    assert all("extra" not in data_type.data_fields for data_type in DATA_TYPES.values())


def test_user_tables_are_keyed_by_fields_they_have() -> None:
    keys = {name: table.key for name, table in USER_TABLES.items()}
    assert keys == {
        "profiles": ("userId",),
        "devices": ("userId", "deviceId"),
        "experiments": ("userId", "experimentId"),
    }
    for table in USER_TABLES.values():
        assert {*table.key, table.newest_by} <= {f.name for f in table.fields}
