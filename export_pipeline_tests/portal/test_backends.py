"""The main tasks of the portal on PostgreSQL and an object store, as on the embedded default."""

from datetime import date

import pytest

from export_pipeline.days import utc_now
from export_pipeline.exports.service import run_job
from export_pipeline.ledger.jobs import USER
from export_pipeline.privacy.access import Access
from export_pipeline.retention.metrics import compute_day
from export_pipeline_tests.portal.conftest import Opening, Portal, texts

pytestmark = pytest.mark.backends("postgres", "s3+postgres")


@pytest.fixture
def portal(opening: Opening) -> Portal:
    """A portal with a day of rows, with somebody logged in."""
    opened = opening(rows=True)
    opened.log_in()
    return opened


def test_exports_and_access_requests_are_answered(portal: Portal) -> None:
    day = {"startDate": portal.yesterday, "endDate": portal.yesterday}
    chosen = {"dataTypes": ["events", "ads"], "format": "jsonl", "compression": "gzip", **day}
    assert "About 80 rows" in texts(portal.post("/exports/estimate", "/exports", **chosen))
    asked = portal.post("/exports", "/exports", **chosen).headers["location"].removeprefix("/portal")
    done = run_job(portal.settings, portal.store, portal.ledger, asked.rpartition("/")[2], 1)
    assert "complete" in texts(portal.get(asked))
    leads_to = portal.client.get(f"/portal{asked}/download").headers["location"]
    assert len(portal.client.get(leads_to, follow_redirects=True).content) == done.bytes
    portal.post("/privacy/access", userId="user_00000001")
    [job] = portal.ledger.jobs.list(utc_now(), kinds=[USER])[0]
    access = Access(portal.settings, portal.store, portal.ledger)
    access.collect(job.id)
    access.publish(job.id)
    assert job.id in texts(portal.get("/privacy"))
    assert portal.get(f"/privacy/access/{job.id}/download").status_code == 303


def test_what_is_set_up_and_what_is_stored_is_shown(portal: Portal) -> None:
    compute_day(portal.settings, portal.store, portal.ledger, date.fromisoformat(portal.yesterday), utc_now())
    mail = {"to": "email", "email": "feed@example.com", "frequency": "weekly", "dataTypes": "events"}
    made = portal.post("/schedules", **mail, format="csv", compression="gzip", mode="full", enabled="on")
    assert "is set up" in texts(portal.client.get(made.headers["location"]))
    portal.post("/webhooks", url="https://hooks.example.com/in", events="export.ready", description="Ours")
    portal.post("/keys", name="of a program", scopes="privacy")
    for path, told in {
        "/schedules": "feed@example.com",
        "/webhooks": "Ours",
        "/keys": "of a program",
        "/status": f"{portal.yesterday} – {portal.yesterday} 40",
        "/overview": "Plays",
        "/activity": "made an API key",
    }.items():
        assert told in texts(portal.get(path)), path
