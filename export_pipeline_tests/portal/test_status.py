"""Operation → Status: freshness, failed deliveries, quarantine with reasons, what is kept, links."""

from datetime import date, timedelta

import pytest
from sqlalchemy import update

from export_pipeline.api.deployment import Deployment
from export_pipeline.days import utc_now
from export_pipeline.exports import export_day
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger.attempts import Outcome
from export_pipeline.ledger.posting import EXPORT_READY, NewMessage
from export_pipeline.ledger.tables import messages
from export_pipeline.portal import status
from export_pipeline.portal.status import LOOK_AGAIN, Looking
from export_pipeline.sizes import size
from export_pipeline_tests.portal.conftest import Opening, Portal, texts


def test_freshness_storage_and_retention_are_shown(opening: Opening) -> None:
    portal = opening(rows=True)
    portal.log_in()
    shown = texts(portal.get("/status"))
    assert f"{portal.yesterday} – {portal.yesterday} 40" in shown
    assert "User profiles – 0B 0" in shown
    assert "Last removal none yet" in shown
    assert "Raw events and quarantine 90 days" in shown


def test_every_daily_export_storage_and_the_last_removal_are_shown(opening: Opening) -> None:
    portal, now = opening(rows=True), utc_now()
    day = date.fromisoformat(portal.yesterday)
    made = export_day(
        "ads", "csv", day, settings=portal.settings, store=portal.store, ledger=portal.ledger, now=now
    )
    values = {"startDate": portal.yesterday, "endDate": portal.yesterday}
    job = request_export(portal.settings, portal.store, portal.ledger, values, now=now, created_by="portal")
    done = run_job(portal.settings, portal.store, portal.ledger, job.id, 1)
    portal.ledger.keeping.note_round({"dailyExports": {"rows": 7, "files": 2, "bytes": 5000}}, now)
    portal.log_in()
    shown = texts(portal.get("/status"))
    assert f"Ads, CSV {portal.yesterday} {now:%Y-%m-%d}" in shown
    assert f"{made.rows} {size(made.bytes)}" in shown
    assert f"On-demand exports 1 {size(done.bytes or 0)}" in shown
    assert "of the disk are free" in shown
    assert "daily exports (7 rows, 2 files, 5.0kB)" in shown


def test_rejected_lines_are_counted_by_reason_and_never_shown(
    inside: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "LOOK_AGAIN", timedelta())
    landing = inside.settings.landing / "events"
    landing.mkdir(parents=True, exist_ok=True)
    (landing / "batch.jsonl").write_text('{"userId": "user_00000042"}\nnot json\n')
    ingest_landing(inside.settings, inside.store, inside.ledger)
    page = inside.get("/status")
    assert "not_json 1" in texts(page)
    assert "missing_field 1" in texts(page)
    assert "user_00000042" not in page.text


def test_links_lead_to_the_dagster_ui_where_there_is_one(opening: Opening) -> None:
    portal = opening(dagster_url="https://dagster.example.com/")
    portal.log_in()
    page = portal.get("/status").text
    assert 'href="https://dagster.example.com/assets/engagement_events"' in page
    assert 'href="https://dagster.example.com/runs"' in page


def test_failed_deliveries_are_shown_with_the_reason(inside: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "LOOK_AGAIN", timedelta())
    now, ledger = utc_now(), inside.ledger
    webhook = ledger.webhooks.create("https://hooks.example.com/x", [EXPORT_READY], "", now)[0]
    (sent,) = ledger.messages.send_all([NewMessage(EXPORT_READY, {}, webhook.id)], now)
    with ledger._engine.begin() as connection:
        failed = {"state": "failed", "next_attempt_at": None, "ended_at": now, "error": "<b>no</b> answer"}
        connection.execute(update(messages).where(messages.c.id == sent).values(**failed))
    page = inside.get("/status").text
    assert webhook.id in page
    assert "&lt;b&gt;no&lt;/b&gt; answer" in page
    assert f'href="/portal/webhooks/{webhook.id}/deliveries/{sent}"' in page
    assert 'href="/portal/status#failed-title"' in page


def test_a_failed_mail_is_looked_at_and_sent_again(opening: Opening) -> None:
    portal, now = opening(), utc_now()
    assert portal.ledger.messages.tell({"a": "something"}, "operator@example.com", now, timedelta())
    [claimed] = portal.ledger.attempts.turn([], now, 1, {}, 1)[0]
    refused = Outcome(claimed, False, now, 5, 550, "", "the mail server refused it")
    portal.ledger.attempts.turn([refused], now, 0, {}, 0)
    portal.log_in()
    mail = f"/mails/{claimed.message.id}"
    assert f'href="/portal{mail}"' in portal.get("/status").text
    shown = texts(portal.get(mail))
    assert "operator@example.com" in shown
    assert "the mail server refused it" in shown
    again = portal.client.get(portal.post(f"{mail}/retry").headers["location"])
    assert "It is sent again in a moment" in texts(again)
    assert 'hx-trigger="every 2s"' in again.text
    assert portal.ledger.messages.get(claimed.message.id).state == "pending"


def test_one_look_serves_the_pages_of_some_seconds(inside: Portal) -> None:
    here: Deployment = inside.app.state.deployment
    looking, now = Looking(), utc_now()
    first = looking.view(here, now)
    assert looking.view(here, now + LOOK_AGAIN - timedelta(seconds=1)) is first
    assert looking.view(here, now + LOOK_AGAIN) is not first
