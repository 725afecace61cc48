"""What an operator is told of the bucket before anything goes wrong."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

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
    assert (bucket_notes(settings), bucket_alerts(settings)) == ([], [])


@ON_S3
def test_a_bucket_that_works_is_left_as_it_was_and_nothing_is_told(settings: Settings) -> None:
    told: list[str] = []
    tell_at_start(settings, told.append)
    assert (told, bucket_alerts(settings), list(buckets.listed(settings.data))) == ([], [], [])


@ON_S3
def test_a_bucket_that_is_not_there_is_named_by_its_setting(environment: dict[str, str]) -> None:
    settings = load(environment | {"EXPORT_PIPELINE_OBJECT_STORE": "s3://nonesuch/x"})
    with pytest.raises(InvalidSetting, match="EXPORT_PIPELINE_OBJECT_STORE names a bucket that is not there"):
        check_bucket(settings)
    assert [alert.kind for alert in bucket_alerts(settings)] == ["object store"]


@ON_S3
def test_versioning_is_told_as_what_keeps_an_erasure_from_being_final(
    environment: dict[str, str], s3: Any
) -> None:
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    settings = load(environment | {"EXPORT_PIPELINE_OBJECT_STORE": "s3://kept/x"})
    assert "versioning is on" in bucket_notes(settings)[0]
    assert "erasures cannot be proven" in bucket_alerts(settings)[0].message


LOCKED = """<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"""
REPLICATED = """<ReplicationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Role>r</Role>
<Rule><ID>1</ID><Status>%s</Status><Destination><Bucket>arn:aws:s3:::other</Bucket></Destination></Rule>
</ReplicationConfiguration>"""


@contextmanager
def answering(answers: dict[str, str]) -> Iterator[str]:
    """Where a store answers to what it is asked of its bucket as AWS does, and knows nothing else of it."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path).query.rstrip("=")
            code = {"object-lock": "ObjectLock", "replication": "Replication"}.get(asked)
            refused = f"<Error><Code>{code}ConfigurationNotFoundError</Code></Error>" if code else "<V/>"
            body = answers.get(asked, refused).encode()
            self.send_response(404 if code and asked not in answers else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({}, None),
        ({"object-lock": LOCKED}, "its object lock is on"),
        ({"replication": REPLICATED % "Enabled"}, "it is replicated to another bucket"),
        ({"replication": REPLICATED % "Disabled"}, None),
    ],
)
def test_what_keeps_removed_objects_elsewhere_is_told(
    environment: dict[str, str], answers: dict[str, str], told: str | None
) -> None:
    with answering(answers) as url:
        settings = load(
            environment
            | {"EXPORT_PIPELINE_OBJECT_STORE": "s3://kept/x", "EXPORT_PIPELINE_S3_ENDPOINT": url}
            | {"EXPORT_PIPELINE_S3_REGION": "us-east-1"}
        )
        notes = bucket_notes(settings)
    assert len(notes) == (told is not None)
    assert all("erasures cannot be proven" in note and str(told) in note for note in notes)


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
    notes = bucket_notes(settings)
    assert len(notes) == len(told)
    assert all(text in note for text, note in zip(told, notes, strict=True))
    assert len(bucket_alerts(settings)) == alerts
