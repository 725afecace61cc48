"""What an operator is told of the bucket before anything goes wrong."""

from datetime import UTC, datetime
from typing import Any

import pytest

from export_pipeline import buckets
from export_pipeline.errors import InvalidSetting
from export_pipeline.operations import bucket
from export_pipeline.operations.bucket import bucket_alerts, bucket_notes, check_bucket, tell_at_start
from export_pipeline.settings import Settings, load

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ON_S3 = pytest.mark.parametrize("backend", [pytest.param("s3", marks=pytest.mark.system)], indirect=True)


def test_there_is_nothing_to_tell_of_data_on_this_machine(settings: Settings) -> None:
    check_bucket(settings)
    assert (bucket_notes(settings, NOW), bucket_alerts(settings, NOW)) == ([], [])


@ON_S3
def test_a_bucket_that_works_is_left_as_it_was_and_nothing_is_told(settings: Settings) -> None:
    told: list[str] = []
    tell_at_start(settings, NOW, told.append)
    assert (told, bucket_alerts(settings, NOW), list(buckets.listed(settings.data))) == ([], [], [])


@ON_S3
def test_a_bucket_that_is_not_there_is_named_by_its_setting(environment: dict[str, str]) -> None:
    settings = load(environment | {"EXPORT_PIPELINE_OBJECT_STORE": "s3://nonesuch/x"})
    with pytest.raises(InvalidSetting, match="EXPORT_PIPELINE_OBJECT_STORE names a bucket that is not there"):
        check_bucket(settings)
    assert [alert.kind for alert in bucket_alerts(settings, NOW)] == ["object store"]


@ON_S3
def test_versioning_is_told_as_what_keeps_an_erasure_from_being_final(
    environment: dict[str, str], s3: Any
) -> None:
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    settings = load(environment | {"EXPORT_PIPELINE_OBJECT_STORE": "s3://kept/x"})
    assert "versioning is on" in bucket_notes(settings, NOW)[0]
    assert "erasures cannot be proven" in bucket_alerts(settings, NOW)[0].message


class _Session:
    def __init__(self, token: str | None, ends: datetime | None = None) -> None:
        self.token, self._expiry_time = token, ends

    def get_frozen_credentials(self) -> "_Session":
        return self


@ON_S3
@pytest.mark.parametrize(
    ("found", "told", "alerts"),
    [
        (_Session(None), [], 0),
        (_Session("t"), ["do not say when it ends"], 1),
        (_Session("t", NOW), ["ends at 2026-11-23T12:00:00Z and is renewed"], 0),
    ],
)
def test_credentials_of_a_session_are_told_with_their_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, found: _Session, told: list[str], alerts: int
) -> None:
    monkeypatch.setattr(bucket, "_credentials", lambda: found)
    notes = bucket_notes(settings, NOW)
    assert len(notes) == len(told)
    assert all(text in note for text, note in zip(told, notes, strict=True))
    assert len(bucket_alerts(settings, NOW)) == alerts
