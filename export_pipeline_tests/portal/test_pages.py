"""What holds of every page: forms of ours alone, headers that keep foreign code out, errors in style."""

import html
import json
import re

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import update
from starlette.routing import Mount

from export_pipeline.days import utc_now
from export_pipeline.delivery.recurring import create
from export_pipeline.exports.service import request_export
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import tables
from export_pipeline.ledger.posting import EXPORT_READY, NewMessage
from export_pipeline.ledger.webhooks import disable
from export_pipeline.portal import app as portal_app
from export_pipeline.portal.sections import SECTIONS
from export_pipeline.privacy.asking import request_access
from export_pipeline_tests.portal.conftest import Opening, Portal, texts

SCRIPT = "\"'><svg onload=alert(1)><script>alert(1)</script><img src=x onerror=alert(1)>"
LINKS = [link.path for section in SECTIONS for link in section.links]


def posts(portal: Portal) -> list[str]:
    """The path of every route that changes something."""
    routes = [route for module in portal_app.MODULES for route in module.router.routes]
    found = [route for route in routes if isinstance(route, APIRoute)]
    assert not [route.path for route in found if route.methods and route.methods - {"GET", "POST"}]
    return [re.sub(r"{[^}]*}", "exp_1", route.path) for route in found if "POST" in (route.methods or ())]


def test_no_form_is_taken_without_its_token(inside: Portal) -> None:
    before = inside.ledger.jobs.list(utc_now())[2]
    assert posts(inside)
    for path in posts(inside):
        for token in ("", "0" * 64):
            answer = inside.client.post(f"/portal{path}", data={"formToken": token})
            assert answer.status_code == 403, path
    assert inside.ledger.jobs.list(utc_now())[2] == before


def test_the_token_of_another_session_is_worth_nothing(inside: Portal) -> None:
    token = inside.form_token("/activity")
    inside.client.cookies.clear()
    inside.log_in()
    for path in posts(inside):
        assert inside.post(path, formToken=token).status_code == 403, path


def test_a_form_sent_from_another_site_is_refused(inside: Portal) -> None:
    assert inside.post("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert inside.post("/logout", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_every_route_but_the_login_is_for_who_is_logged_in(portal: Portal) -> None:
    for module in portal_app.MODULES:
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            if module.__name__.endswith(".login") or "GET" not in (route.methods or ()):
                continue
            answer = portal.get(re.sub(r"{[^}]*}", "exp_1", route.path))
            assert answer.status_code == 303, route.path
            assert answer.headers["location"].startswith("/portal/login"), route.path


def test_script_in_any_text_is_text_on_every_page(opening: Opening) -> None:
    portal, now = opening(rows=True), utc_now()
    ledger = portal.ledger
    portal.hold(ledger.sessions.begin(SCRIPT, "password", now))
    hook = ledger.webhooks.create(f"https://x.example/{SCRIPT}", [EXPORT_READY], SCRIPT, now)[0].id
    ledger.keys.create(["exports:read"], now, SCRIPT)
    (sent,) = ledger.messages.send_all([NewMessage(EXPORT_READY, {"note": SCRIPT}, hook)], now)
    with ledger._engine.begin() as connection:
        disable(connection, hook, SCRIPT, now)
        for table, values in (
            (tables.messages, {"error": SCRIPT}),
            (tables.webhooks, {"reason": SCRIPT}),
        ):
            connection.execute(update(table).values(**values))
    job = request_export(
        portal.settings,
        portal.store,
        ledger,
        {"startDate": portal.yesterday, "endDate": portal.yesterday, "filters": {"contentIds": [SCRIPT]}},
        now=now,
        created_by=SCRIPT,
    )
    ledger.jobs.start(job.id, 1, now)
    ledger.jobs.fail(job.id, SCRIPT, SCRIPT, now, attempt=1)
    wanted = {"frequency": "weekly", "delivery": {"webhookId": hook}, "filters": {"contentIds": [SCRIPT]}}
    create(portal.settings, ledger, wanted, now, created_by=SCRIPT)
    erasure = ledger.erasures.create([SCRIPT], "portal", now)[0]
    ledger.erasures.begin(erasure.id, now)
    ledger.erasures.fail(ledger.erasures.get(erasure.id).pass_id or "", "X", SCRIPT, now)
    person = request_access(portal.settings, ledger, SCRIPT, now=now, created_by=SCRIPT)
    ledger.jobs.start(person.id, 1, now)
    ledger.jobs.fail(person.id, SCRIPT, SCRIPT, now, attempt=1)
    landing = portal.settings.landing / "events"
    landing.mkdir(parents=True, exist_ok=True)
    (landing / "batch.jsonl").write_text(
        json.dumps({"event": SCRIPT, "userId": SCRIPT, "deviceType": SCRIPT})
    )
    ingest_landing(portal.settings, portal.store, ledger)
    waiting, seen, told = ["/exports"], set[str](), 0
    while waiting:
        path = waiting.pop()
        answer = portal.get(path)
        if path in seen or "html" not in answer.headers.get("content-type", ""):
            continue
        seen.add(path)
        assert not re.search(r"<script(?! src=)|<img|<svg onload", answer.text), path
        told += SCRIPT in texts(answer)
        waiting += re.findall(r'(?:href|hx-get)="/portal(/[^"?#]*)', html.unescape(answer.text))
    single = (f"/webhooks/{hook}", f"/webhooks/{hook}/deliveries/{sent}", f"/exports/{job.id}")
    assert seen >= {*LINKS, *single, f"/privacy/erasures/{erasure.id}", f"/privacy/access/{person.id}"}
    assert told >= len(single) + len(LINKS) / 2


def test_script_in_what_is_typed_is_text_when_it_is_shown_again(inside: Portal) -> None:
    sent = (
        ("/login", ("name", "next")),
        ("/webhooks", ("url", "description")),
        ("/keys", ("name",)),
        ("/schedules", ("email", "url", "contentIds", "userIds")),
        ("/privacy/access", ("userId",)),
        ("/privacy/erasures", ("userIds",)),
        ("/exports", ("startDate", "contentIds")),
    )
    for path, names in sent:
        answer = inside.post(path, **dict.fromkeys(names, SCRIPT))
        assert answer.status_code in (303, 401, 422), path
        assert not re.search(r"<script(?! src=)|<img|<svg onload", answer.text), path


@pytest.mark.parametrize("path", [*LINKS, "/nothing", "/exports/exp_0", "/login"])
def test_every_answer_keeps_foreign_code_out_and_is_not_kept(inside: Portal, path: str) -> None:
    answer = inside.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style|<script(?![^>]* src=)|hx-on|javascript:", answer.text)


def test_static_files_are_kept_under_an_address_of_their_content(portal: Portal) -> None:
    page = portal.get("/login").text
    for path in re.findall(r'(?:src|href)="/portal(/static/[^"]+)"', page):
        answer = portal.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert portal.get(path[:-1]).headers["cache-control"] == "no-store"


def test_what_is_not_there_says_so_in_style(inside: Portal) -> None:
    for path in ("/nothing", "/exports/exp_0", "/activity?cursor=x", "/exports?cursor=-1"):
        answer = inside.get(path)
        assert answer.status_code == 404, path
        assert "Not found" in texts(answer)
    assert inside.client.put("/portal/exports").status_code == 405


def test_a_defect_is_a_page_with_its_request_id_and_no_more(
    inside: Portal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("user_00000001")

    monkeypatch.setattr("export_pipeline.portal.status._failed", broken)
    answer = inside.get("/status")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "user_00000001" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_the_first_page_of_the_server_is_the_portal(portal: Portal) -> None:
    assert portal.client.get("/").headers["location"] == "/portal/"
    assert any(isinstance(route, Mount) and route.path == "/portal" for route in portal.app.routes)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_that_is_too_long_is_refused_on_a_page_in_one_sentence(inside: Portal, kind: str) -> None:
    long = b"contentIds=" + b"x" * inside.settings.body_bytes
    for path in posts(inside):
        answer = inside.client.post(f"/portal{path}", content=long, headers={"Content-Type": kind})
        assert answer.status_code == 413, path
        assert "is more than 1" in texts(answer)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Log out" in answer.text
    assert (
        inside.client.post("/v1/analytics/export", content=long).json()["error"]["details"]["field"] == "body"
    )


def test_a_form_that_cannot_be_read_is_no_page_that_is_not_there(inside: Portal) -> None:
    broken = {"Content-Type": "multipart/form-data"}
    assert inside.client.post("/portal/keys", content=b"x", headers=broken).status_code == 400
