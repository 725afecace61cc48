"""Analytics → Export data: what a form asks for, what is told of a wrong one, how an export looks."""

import html
import re
from datetime import date, timedelta

import pytest

from export_pipeline.days import utc_now
from export_pipeline.exports.service import run_job
from export_pipeline.ledger import Job
from export_pipeline.portal import slices
from export_pipeline_tests.portal.conftest import ONCE, Opening, Portal, texts

SCRIPT = "<script>alert('x')</script>"


def fields(portal: Portal, **other: object) -> dict[str, object]:
    """A form for the day that has rows."""
    day = portal.yesterday
    usual = {
        "startDate": day,
        "endDate": day,
        "dataTypes": "events",
        "format": "jsonl",
        "compression": "gzip",
    }
    return {**usual, **other}


def ask(portal: Portal, **other: object) -> Job:
    answer = portal.post("/exports", "/exports", **fields(portal, **other))
    assert answer.status_code == 303, texts(answer)
    return portal.ledger.jobs.get(answer.headers["location"].rpartition("/")[2], utc_now())


def jobs(portal: Portal) -> int:
    return portal.ledger.jobs.list(utc_now())[2]


def test_the_form_is_filled_with_a_week_that_has_closed(inside: Portal) -> None:
    page = inside.get("/exports").text
    first, last = (
        date.fromisoformat(re.search(rf'id="{name}"[^>]* value="([^"]+)"', page)[1])  # type: ignore[index]
        for name in ("startDate", "endDate")
    )
    assert last - first == timedelta(days=6)
    assert last < utc_now().date()


def test_an_export_is_asked_for_as_through_the_api_and_noted(inside: Portal) -> None:
    job = ask(
        inside,
        dataTypes=["events", "ads"],
        format="csv",
        contentIds=" c_1 \n\nc_2\nc_1",
        userIds="user_00000001",
        eventTypes=["playStart", "click"],
    )
    assert job.created_by == "portal"
    assert job.request["dataTypes"] == ["events", "ads"]
    assert job.request["filters"] == {
        "contentIds": ["c_1", "c_2"],
        "eventTypes": ["playStart", "click"],
        "userCount": 1,
    }
    assert inside.ledger.jobs.user_ids(job.id) == ("user_00000001",)
    entry = inside.ledger.audit.list(1)[0][0]
    assert (entry.action, entry.subject, entry.who) == ("asked for an export", job.id, "Ana")


def test_a_form_sent_twice_asks_once(inside: Portal) -> None:
    before = jobs(inside)
    assert ask(inside, once=ONCE).id == ask(inside, once=ONCE).id
    assert jobs(inside) == before + 1


def test_going_back_and_choosing_something_else_asks_for_another_export(inside: Portal) -> None:
    first, other = ask(inside, once=ONCE), ask(inside, once=ONCE, format="csv")
    assert (first.request["format"], other.request["format"]) == ("jsonl", "csv")


def test_what_is_wrong_is_told_at_its_field_and_what_was_typed_stays(inside: Portal) -> None:
    far = str(date.fromisoformat(inside.yesterday) - timedelta(days=40))
    cases: list[tuple[dict[str, object], str, str]] = [
        ({"startDate": ""}, "startDate", "Choose the first day."),
        ({"startDate": far}, "endDate", "it must be at most 30 days after it"),
        (
            {"startDate": "2020-01-01", "endDate": "2020-01-02"},
            "startDate",
            "raw events are kept for 90 days",
        ),
        ({"dataTypes": []}, "dataTypes", "Choose at least one data type."),
        ({"eventTypes": "click"}, "eventTypes", "Event types holds 'click'; for data types events"),
        ({"format": "xml"}, "format", "it must be one of jsonl, csv"),
    ]
    before = jobs(inside)
    for given, name, message in cases:
        answer = inside.post("/exports", "/exports", **fields(inside, contentIds="c_kept", **given))
        assert answer.status_code == 422, name
        told = re.search(rf'id="{name}-error">([^<]*)', answer.text)
        assert told, name
        assert message in told[1].replace("&#39;", "'"), name
        assert ">c_kept</textarea>" in answer.text
        assert f'href="#{name}"' in answer.text
    assert jobs(inside) == before


def test_more_than_a_day_allows_is_told_at_the_top(opening: Opening) -> None:
    portal = opening(rows=True, jobs_per_day="1")
    portal.log_in()
    ask(portal)
    answer = portal.post("/exports", "/exports", **fields(portal))
    assert answer.status_code == 429
    assert "as many as a day (UTC) allows" in texts(answer)


def test_the_longest_range_is_said_before_it_is_exceeded(inside: Portal) -> None:
    start = utc_now().date() - timedelta(days=60)
    answer = inside.post(
        "/exports/estimate",
        "/exports",
        headers={"HX-Request": "true"},
        **fields(inside, startDate=str(start), endDate=str(start)),
    )
    assert f"At most 31 days, both included: up to {start + timedelta(days=30)}" in texts(answer)


def test_the_estimate_is_a_part_with_htmx_and_the_page_without(inside: Portal) -> None:
    with_script = inside.post(
        "/exports/estimate", "/exports", headers={"HX-Request": "true"}, **fields(inside)
    )
    assert "About 40 rows" in texts(with_script)
    assert "<html" not in with_script.text
    without = inside.post("/exports/estimate", "/exports", **fields(inside, dataTypes=["events", "ads"]))
    assert "About 80 rows" in texts(without)
    assert "<h1>Export data</h1>" in without.text
    assert 'value="ads" checked' in without.text


def test_days_without_events_are_said_before_they_are_exported(inside: Portal) -> None:
    long_ago = str(date.fromisoformat(inside.yesterday) - timedelta(days=20))
    answer = inside.post(
        "/exports/estimate", "/exports", **fields(inside, startDate=long_ago, endDate=long_ago)
    )
    assert "No events of these days have landed" in texts(answer)


def test_an_export_shows_its_files_and_a_command_that_downloads_them(inside: Portal) -> None:
    job = ask(inside)
    queued = inside.get(f"/exports/{job.id}")
    assert "queued" in texts(queued)
    assert '<noscript><meta http-equiv="refresh"' in queued.text
    done = run_job(inside.settings, inside.store, inside.ledger, job.id, 1)
    page = inside.get(f"/exports/{job.id}")
    assert "complete" in texts(page)
    assert "http-equiv" not in page.text
    assert "hx-trigger" not in page.text
    command = re.search(r"curl [^<]*", texts(page).replace("&#39;", "'"))
    assert command
    url = re.search(r"'(http://testserver/v1/downloads/[^']*)'", command[0])
    assert url
    assert len(inside.client.get(url[1]).content) == done.bytes
    assert re.search(r"<code>[0-9a-f]{64}</code>", page.text)
    led = inside.get(f"/exports/{job.id}/download")
    assert led.headers["location"] == url[1]


def test_many_files_are_paged(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 6)
    portal = opening(rows=True, part_bytes="1024", window_rows="1")
    portal.log_in()
    job = ask(portal)
    run_job(portal.settings, portal.store, portal.ledger, job.id, 1)
    pages = [portal.get(f"/exports/{job.id}?files={number}").text for number in (1, 2)]
    shown = [re.findall(r"(\w+/part-\d{5}\.jsonl\.gz)</a>", page) for page in pages]
    assert [len(names) for names in shown] == [6, 4]
    assert not {*shown[0]} & {*shown[1]}


def test_an_export_is_cancelled(inside: Portal) -> None:
    job = ask(inside)
    assert inside.post(f"/exports/{job.id}/cancel", "/exports").status_code == 303
    assert inside.ledger.jobs.get(job.id, utc_now()).state == "cancelled"
    again = inside.post(f"/exports/{job.id}/cancel", "/exports")
    assert "had ended before" in texts(inside.client.get(again.headers["location"]))
    assert "had ended before" not in texts(inside.get(f"/exports/{job.id}"))


def test_the_state_is_said_once_when_it_changes(inside: Portal) -> None:
    job = ask(inside)
    assert "hx-swap-oob" not in inside.get(f"/exports/{job.id}/live?seen=queued").text
    for path in (f"/exports/{job.id}", "/exports"):
        again = html.unescape(inside.get(path).text).partition('hx-get="/portal')[2].partition('"')[0]
        assert inside.get(again).status_code == 204, path
    inside.ledger.jobs.cancel(job.id, utc_now())
    assert "The export is cancelled." in inside.get(f"/exports/{job.id}/live?seen=queued").text


def test_user_ids_are_not_shown_again_once_an_export_is_asked_for(inside: Portal) -> None:
    job = ask(inside, userIds="user_00000077")
    for path in ("/exports", f"/exports/{job.id}", f"/exports/{job.id}/live", "/exports/list", "/activity"):
        assert "user_00000077" not in inside.get(path).text, path
    assert "1 user" in texts(inside.get(f"/exports/{job.id}"))


def test_script_that_is_stored_is_text(inside: Portal) -> None:
    job = ask(inside, contentIds=SCRIPT)
    inside.ledger.jobs.start(job.id, 1, utc_now())
    inside.ledger.jobs.fail(job.id, "X", SCRIPT, utc_now(), attempt=1)
    inside.hold(inside.ledger.sessions.begin(SCRIPT, "password", utc_now()))
    for path in (f"/exports/{job.id}", f"/exports/{job.id}/live", "/exports", "/exports/list", "/activity"):
        page = inside.get(path).text
        assert "<script>" not in page, path
    assert texts(inside.get(f"/exports/{job.id}")).count(SCRIPT) >= 2
    wrong = inside.post("/exports", "/exports", **fields(inside, contentIds=SCRIPT, startDate=SCRIPT))
    assert "<script>" not in wrong.text


def test_the_list_is_paged(inside: Portal) -> None:
    first = ask(inside)
    for _ in range(20):
        ask(inside)
    page = inside.get("/exports").text
    assert first.id not in page
    older = re.search(r'href="/portal/exports\?cursor=(\d+)#list-title"', page)
    assert older
    assert first.id in inside.get(f"/exports?cursor={older[1]}").text
    estimated = inside.post("/exports/estimate", "/exports", **fields(inside)).text
    assert f'href="/portal/exports?cursor={older[1]}' in estimated
