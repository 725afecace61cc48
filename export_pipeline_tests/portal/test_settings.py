"""Scheduled exports, webhooks and API keys as they are set up in the portal."""

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from export_pipeline.days import utc_now
from export_pipeline.errors import Unauthorized
from export_pipeline.ledger.keys import USE_NOTED_EVERY
from export_pipeline.ledger.paging import MOST_LISTED
from export_pipeline.ledger.posting import EXPORT_READY
from export_pipeline.portal.guards import COOKIE
from export_pipeline.portal.onceshown import COOKIE as SHOWN
from export_pipeline.portal.slices import SLICE
from export_pipeline_tests.delivery.receivers import receiver
from export_pipeline_tests.portal.conftest import ONCE, Opening, Portal, texts

SCRIPT = "<script>alert(1)</script>"
HOOK = "https://hooks.example.com/in"


def actions(portal: Portal) -> list[str]:
    return [entry.action for entry in portal.ledger.audit.list()[0]]


def led(portal: Portal, answer: httpx.Response) -> httpx.Response:
    """The page that a form leads to."""
    assert answer.status_code == 303, answer.text
    page: httpx.Response = portal.client.get(answer.headers["location"])
    return page


def after(portal: Portal, answer: httpx.Response) -> str:
    """The text of the page that a form leads to."""
    return texts(led(portal, answer))


def webhook(portal: Portal, **more: Any) -> str:
    """The id of a new webhook."""
    answer = portal.post(
        "/webhooks", **{"url": HOOK, "events": [EXPORT_READY], "description": "Ours", **more}
    )
    assert answer.status_code == 303, answer.text
    return portal.ledger.webhooks.list()[0][0].id


def schedule(portal: Portal, **more: Any) -> httpx.Response:
    return portal.post(
        "/schedules",
        **{
            "frequency": "weekly",
            "dataTypes": ["events", "ads"],
            "format": "csv",
            "compression": "gzip",
            "mode": "full",
            "to": "email",
            "email": "feed@example.com",
            "enabled": "on",
            **more,
        },
    )


def newest(portal: Portal) -> str:
    """The id of the schedule that was set up last."""
    return portal.ledger.schedules.list()[0][0].id


def test_going_back_and_typing_another_address_sets_up_another_feed(inside: Portal) -> None:
    for address in ("one@example.com", "two@example.com"):
        assert address in after(inside, schedule(inside, once=ONCE, email=address))


def test_a_key_is_shown_once_works_and_can_be_revoked(inside: Portal) -> None:
    fields: dict[str, Any] = {"name": SCRIPT, "scopes": ["exports:read", "privacy"], "once": ONCE}
    answer = led(inside, inside.post("/keys", **fields))
    found = re.search(r"sk_live_[A-Za-z0-9_-]{43}", answer.text)
    assert found
    assert SCRIPT not in answer.text
    key = inside.ledger.keys.find(found[0])
    assert key.scopes == ("exports:read", "privacy")
    assert found[0] not in inside.get("/keys").text
    assert "not shown again" in after(inside, inside.post("/keys", **fields))
    assert [each.name for each in inside.ledger.keys.list()].count(SCRIPT) == 1
    other = led(inside, inside.post("/keys", **{**fields, "name": "another"}))
    assert "sk_live_" in other.text
    assert "is revoked" in after(inside, inside.post(f"/keys/{key.id}/revoke"))
    with pytest.raises(Unauthorized):
        inside.ledger.keys.find(found[0])
    assert actions(inside)[:2] == ["revoked an API key", "made an API key"]
    assert "was revoked before" in after(inside, inside.post(f"/keys/{key.id}/revoke"))


def test_the_list_of_keys_is_paged(opening: Opening) -> None:
    portal = opening()
    portal.log_in()
    for number in range(SLICE + 1):
        portal.ledger.keys.create(["privacy"], utc_now() + timedelta(seconds=number), f"number {number}")
    first = portal.get("/keys").text
    assert ">number 1<" in first
    assert ">number 0<" not in first
    assert 'href="/portal/keys?part=2#list-title"' in first
    assert ">number 0<" in portal.get("/keys?part=2").text


def test_a_key_without_scopes_is_refused_at_its_field(inside: Portal) -> None:
    answer = inside.post("/keys", name="Ours")
    assert answer.status_code == 422
    assert "Choose at least one thing" in texts(answer)
    assert 'value="Ours"' in answer.text


def test_when_a_key_was_used_last_is_shown_and_noted_once_a_minute(inside: Portal) -> None:
    _, text = inside.ledger.keys.create(["exports:read"], utc_now(), "looked at")

    def row() -> str:
        return texts(inside.get("/keys")).partition("looked at")[2].partition("Revoke")[0]

    assert "never" in row()
    inside.client.get("/v1/analytics/exports", headers={"Authorization": f"Bearer {text}"})
    assert "never" not in row()
    used = inside.ledger.keys.find(text)
    assert used.last_used_at
    inside.ledger.keys.note_use(used, used.last_used_at + USE_NOTED_EVERY / 2)
    assert inside.ledger.keys.find(text).last_used_at == used.last_used_at
    inside.ledger.keys.note_use(used, used.last_used_at + USE_NOTED_EVERY)
    assert inside.ledger.keys.find(text).last_used_at == used.last_used_at + USE_NOTED_EVERY


def test_a_webhook_shows_its_secret_once_and_can_be_changed(inside: Portal) -> None:
    fields: dict[str, Any] = {"url": HOOK, "events": [EXPORT_READY], "description": SCRIPT, "once": ONCE}
    answer = inside.post("/webhooks", **fields)
    once = answer.headers["location"].rpartition("/")[2]
    made = led(inside, answer)
    secret = inside.ledger.webhooks.target(once, utc_now()).secret
    assert secret in made.text
    assert SCRIPT not in made.text
    again = inside.post("/webhooks", **fields)
    assert "was made before" in after(inside, again)
    assert secret not in inside.get(f"/webhooks/{once}").text
    answer = inside.post(
        f"/webhooks/{once}/edit", url=HOOK, events=["export.failed", "user.erased"], description="x"
    )
    assert "saved" in after(inside, answer)
    assert inside.ledger.webhooks.get(once).events == ("export.failed", "user.erased")
    after(inside, inside.post(f"/webhooks/{once}/status", status="disabled"))
    assert inside.ledger.webhooks.get(once).status == "disabled"
    mark = re.findall(r'name="instead" value="(\w+)"', inside.get(f"/webhooks/{once}").text)[0]
    rotated = led(inside, inside.post(f"/webhooks/{once}/rotate", instead=mark))
    fresh = inside.ledger.webhooks.target(once, utc_now())
    assert fresh.secret in rotated.text
    assert fresh.previous == (secret,)
    twice = after(inside, inside.post(f"/webhooks/{once}/rotate", instead=mark))
    assert "rotated a moment ago" in twice
    assert inside.ledger.webhooks.target(once, utc_now()).secret == fresh.secret
    assert "are deleted" in after(inside, inside.post(f"/webhooks/{once}/delete"))
    assert once not in [each.id for each in inside.ledger.webhooks.list()[0]]
    assert "was deleted before" in after(inside, inside.post(f"/webhooks/{once}/delete"))


def test_a_webhook_with_a_wrong_address_is_told_at_its_field(inside: Portal) -> None:
    answer = inside.post("/webhooks", url="http://10.0.0.1/", description="kept")
    assert answer.status_code == 422
    assert 'id="url-error"' in answer.text
    assert 'value="kept"' in answer.text
    answer = inside.post("/webhooks", url=HOOK)
    assert 'id="events-error"' in answer.text


def test_a_test_is_sent_and_its_answer_shown_without_being_run(opening: Opening) -> None:
    with receiver() as server:
        told = {"X-Told": SCRIPT, "Set-Cookie": "session=s3cr3t"}
        server.reply = lambda *_: (500, told, SCRIPT.encode())
        portal = opening(webhook_allow=f"http://127.0.0.1:{server.port}")
        portal.log_in()
        held = webhook(portal, url=server.url)
        answer = portal.post(f"/webhooks/{held}/test", event=EXPORT_READY)
    page = portal.client.get(answer.headers["location"])
    assert "alert(1)" in page.text
    assert SCRIPT not in page.text
    assert "500" in texts(page)
    assert "X-Shortform-Delivery-ID" in texts(page)
    assert f"x-told {SCRIPT}" in texts(page)
    secret = portal.ledger.webhooks.target(held, utc_now()).secret
    assert "s3cr3t" not in page.text
    assert not re.search(r"sha256=\w|v1,\w", page.text)
    assert secret not in page.text
    assert "&#34;test&#34;: true" in page.text
    listed = portal.get(f"/webhooks/{held}?state=failed")
    assert "test" in texts(listed)
    assert "none in this state" in texts(portal.get(f"/webhooks/{held}?state=success"))
    delivery = answer.headers["location"].removeprefix("/portal")
    assert "sent again" in after(portal, portal.post(f"{delivery}/retry"))
    assert portal.ledger.messages.get(delivery.rsplit("/", 1)[1]).state == "pending"
    after(portal, portal.post(f"/webhooks/{held}/status", status="disabled"))
    refused = portal.post(f"{delivery}/retry")
    assert refused.status_code == 409
    assert "is disabled" in texts(refused)


def test_a_weekly_feed_by_mail_is_set_up_changed_and_deleted(inside: Portal) -> None:
    page = after(inside, schedule(inside, once=ONCE, contentIds=SCRIPT))
    once = newest(inside)
    assert "is set up" in page
    assert "feed@example.com" in page
    assert SCRIPT not in inside.get(f"/schedules/{once}").text
    before = inside.ledger.schedules.list()[2]
    after(inside, schedule(inside, once=ONCE, contentIds=SCRIPT))
    assert inside.ledger.schedules.list()[2] == before
    made = inside.ledger.schedules.get(once)
    assert made.created_by == "portal"
    assert (made.frequency, made.request["dataTypes"]) == ("weekly", ["events", "ads"])
    form = inside.get(f"/schedules/{once}/edit").text
    assert 'value="feed@example.com"' in form
    changes = {"frequency": "daily", "dataTypes": ["ads"], "to": "email", "email": "other@example.com"}
    answer = inside.post(
        f"/schedules/{once}/edit", format="jsonl", compression="none", mode="full", **changes
    )
    assert "are saved" in after(inside, answer)
    now = inside.ledger.schedules.get(once)
    assert (now.frequency, now.enabled) == ("daily", False)
    assert inside.ledger.schedules.address(once) == "other@example.com"
    assert "It is on" in after(inside, inside.post(f"/schedules/{once}/turn", to="on"))
    assert inside.ledger.schedules.get(once).enabled
    assert "is deleted" in after(inside, inside.post(f"/schedules/{once}/delete"))
    assert "was deleted before" in after(inside, inside.post(f"/schedules/{once}/delete"))
    assert inside.ledger.schedules.list()[2] == before - 1
    assert actions(inside)[0] == "deleted a scheduled export"


def test_saving_a_feed_to_one_of_many_webhooks_leaves_it_there(opening: Opening) -> None:
    portal = opening()
    portal.log_in()
    held = webhook(portal, description="The oldest")
    after(portal, schedule(portal, to="webhookId", webhookId=held))
    made = newest(portal)
    for number in range(MOST_LISTED):
        portal.ledger.webhooks.create(f"{HOOK}/{number}", [EXPORT_READY], "", utc_now())
    form = portal.get(f"/schedules/{made}/edit").text
    assert re.findall(r'<option value="(\w+)" selected>', form) == [held]
    answer = portal.get(f"/schedules/new?webhook={held}").text
    assert re.findall(r'<option value="(\w+)" selected>', answer) == [held]


def test_a_webhook_has_to_be_chosen_for_a_new_feed(inside: Portal) -> None:
    webhook(inside)
    assert "selected>" not in inside.get("/schedules/new").text
    assert 'id="webhookId-error"' in schedule(inside, to="webhookId", webhookId="").text


def test_a_feed_to_a_new_address_makes_its_webhook_and_shows_the_secret(inside: Portal) -> None:
    answer = led(inside, schedule(inside, to="url", url=HOOK))
    made = inside.ledger.schedules.list()[0][0]
    assert made.webhook_id
    assert inside.ledger.webhooks.target(made.webhook_id, utc_now()).secret in answer.text
    refused = inside.post(f"/webhooks/{made.webhook_id}/delete")
    assert refused.status_code == 409
    assert "is delivered to" in texts(refused)


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("dataTypes", {"dataTypes": []}),
        ("email", {"email": "nobody"}),
        ("email", {"email": ""}),
        ("url", {"to": "url", "url": "ftp://x"}),
        ("webhookId", {"to": "webhookId"}),
        ("to", {"to": "pigeon"}),
        ("eventTypes", {"eventTypes": "rebuffer"}),
    ],
)
def test_what_is_wrong_with_a_feed_is_told_at_its_field(
    inside: Portal, field: str, more: dict[str, Any]
) -> None:
    inside.ledger.webhooks.create(HOOK, [EXPORT_READY], "", utc_now())
    before = inside.ledger.schedules.list()[2]
    answer = schedule(inside, **more)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert inside.ledger.schedules.list()[2] == before


def test_a_feed_by_mail_is_refused_where_there_is_no_mail_server(opening: Opening) -> None:
    portal = opening(smtp_host="")
    portal.log_in()
    assert "has to name a mail server" in texts(portal.get("/schedules/new"))
    refused = schedule(portal)
    assert refused.status_code == 422
    assert 'id="email-error"' in refused.text
    assert "Address cannot be written to" in texts(refused)
    assert portal.ledger.schedules.list()[2] == 0


def test_users_a_feed_names_are_kept_on_a_change_and_never_shown(inside: Portal) -> None:
    after(inside, schedule(inside, userIds="user_00000001\nuser_00000002"))
    once = newest(inside)
    for path in (f"/schedules/{once}", f"/schedules/{once}/edit", "/schedules", "/activity"):
        assert "user_0000" not in inside.get(path).text
    values = {"frequency": "weekly", "dataTypes": ["events", "ads"], "format": "csv", "compression": "gzip"}
    values |= {"mode": "full", "to": "email", "email": "feed@example.com", "enabled": "on"}
    after(inside, inside.post(f"/schedules/{once}/edit", **values, contentIds="vid_1"))
    held = inside.ledger.schedules
    assert held.user_ids(once) == ("user_00000001", "user_00000002")
    assert held.get(once).request["filters"]["contentIds"] == ["vid_1"]
    held.disable_naming(["user_00000001"])
    refused = inside.post(f"/schedules/{once}/edit", **values)
    assert refused.status_code == 422
    assert 'id="userIds-error"' in refused.text
    turned = inside.post(f"/schedules/{once}/turn", to="on")
    assert turned.status_code == 409
    after(inside, inside.post(f"/schedules/{once}/edit", **values, allUsers="on"))
    assert held.get(once).request["filters"]["userCount"] == 0


def test_run_now_goes_on_to_the_export(inside: Portal) -> None:
    after(inside, schedule(inside, frequency="daily"))
    made = newest(inside)
    answer = inside.post(f"/schedules/{made}/run")
    if utc_now().hour < 2:
        assert answer.status_code == 409
        assert "not closed" in texts(answer)
        return
    assert re.fullmatch(rf"/portal/exports/exp_daily_\d{{8}}_{made}", answer.headers["location"])
    assert "queued" in texts(inside.client.get(answer.headers["location"]))
    assert f"makes {inside.yesterday} and delivers it" in texts(inside.get(f"/schedules/{made}"))
    again = inside.post(f"/schedules/{made}/run")
    assert again.status_code == 409
    assert "is queued" in texts(again)
    job_id = answer.headers["location"].rpartition("/")[2]
    inside.ledger.jobs.start(job_id, 1, utc_now())
    inside.ledger.jobs.fail(job_id, "INTERNAL_ERROR", "it broke", utc_now(), attempt=1)
    for path in ("/schedules", f"/schedules/{made}"):
        assert "newest failed" in texts(inside.get(path)), path


def test_a_page_with_a_secret_is_loaded_again_without_it_and_makes_no_other(inside: Portal) -> None:
    held = webhook(inside)
    answer = inside.post(f"/webhooks/{held}/rotate")
    secret = inside.ledger.webhooks.target(held, utc_now()).secret
    assert secret not in answer.text + str(answer.headers)
    assert secret in led(inside, answer).text
    assert secret not in led(inside, answer).text
    assert inside.ledger.webhooks.target(held, utc_now()).secret == secret


def test_a_secret_is_shown_on_its_page_to_who_made_it_alone(inside: Portal) -> None:
    held, other = webhook(inside), webhook(inside)
    answer = inside.post(f"/webhooks/{held}/rotate")
    secret = inside.ledger.webhooks.target(held, utc_now()).secret
    sealed, token = answer.headers["set-cookie"].partition(";")[0], inside.token
    inside.client.cookies.clear()
    cookie = {"Cookie": f"{sealed}; {COOKIE}={token}"}
    assert secret not in inside.get(f"/webhooks/{other}", headers=cookie).text
    assert secret in inside.get(f"/webhooks/{held}", headers=cookie).text
    stranger = inside.ledger.sessions.begin("Bob", "password", utc_now())
    stolen = {"Cookie": f"{sealed}; {COOKIE}={stranger}"}
    page = inside.get(f"/webhooks/{held}", headers=stolen)
    assert page.status_code == 200
    assert secret not in page.text


@pytest.mark.parametrize("given", ["", "x", "gAAAAA"])
def test_a_cookie_that_holds_no_secret_is_no_defect(inside: Portal, given: str) -> None:
    inside.client.cookies.set(SHOWN, given, domain="testserver.local", path="/portal")
    assert inside.get("/keys").status_code == 200


def test_a_secret_that_waited_too_long_is_not_shown(inside: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    held = webhook(inside)
    answer = inside.post(f"/webhooks/{held}/rotate")
    late = utc_now() + timedelta(minutes=6)
    monkeypatch.setattr("export_pipeline.portal.onceshown.utc_now", lambda: late)
    assert inside.ledger.webhooks.target(held, utc_now()).secret not in led(inside, answer).text
