"""Rejected lines can be looked at, and taken again once the reason is gone."""

import json
from datetime import timedelta

import pytest

from export_pipeline.days import utc_now
from export_pipeline.settings import Settings
from export_pipeline_tests.cli.conftest import Run


@pytest.fixture
def old_line(settings: Settings) -> str:
    """A landed line that is older than the raw retention of 90 days."""
    at = (utc_now() - timedelta(days=100)).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = json.dumps(
        {
            "event": "like",
            "contentId": "vid_1",
            "userId": "user_00000001",
            "deviceType": "ios",
            "timestamp": at,
            "receivedAt": at,
            "eventId": "evt_1",
        }
    )
    landing = settings.landing / "events"
    landing.mkdir(parents=True)
    (landing / "a.jsonl").write_text(f"{line}\nnot json\n")
    return line


def test_the_list_names_batch_and_reasons(run: Run, old_line: str) -> None:
    assert run("quarantine", "list", "--json").document == {"quarantine": []}
    run("ingest")
    [entry] = run("quarantine", "list", "--json").document["quarantine"]
    assert entry["target"] == "events"
    assert entry["lines"] == 2
    assert entry["reasons"] == {"not_json": 1, "too_late": 1}
    assert entry["batchId"] in run("quarantine", "list").out


def test_a_line_is_shown_as_it_landed_with_the_reason(run: Run, old_line: str) -> None:
    run("ingest")
    [entry] = run("quarantine", "list", "--json").document["quarantine"]
    lines = run("quarantine", "show", entry["batchId"], "--json").document["lines"]
    assert {line["raw"]: (line["line"], line["reason"]) for line in lines} == {
        old_line: (1, "too_late"),
        "not json": (2, "not_json"),
    }
    assert "a.jsonl:2: not_json" in run("quarantine", "show", entry["batchId"]).out


def test_what_is_accepted_after_a_fix_leaves_the_quarantine(
    run: Run, old_line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ingest")
    monkeypatch.setenv("EXPORT_PIPELINE_RAW_RETENTION_DAYS", "120")
    counts = run("quarantine", "replay", "--json").document["dataTypes"]["events"]
    assert (counts["received"], counts["accepted"], counts["rejected"]) == (2, 1, 1)
    [entry] = run("quarantine", "list", "--json").document["quarantine"]
    assert entry["reasons"] == {"not_json": 1}


def test_a_batch_that_has_nothing_in_quarantine_is_named(run: Run) -> None:
    batch = f"bat_{0:032}"
    result = run("quarantine", "show", batch)
    assert result.code == 2
    assert batch in result.err
