"""Each task of the portal from start to end in a real browser: by mouse on a small dark window, by keyboard
alone, and without scripts.

By mouse all of them are done each time, under the eyes of axe-core. By keyboard and without scripts those are
that have every kind of field and button between them, and the others in ``make soak``.
"""

import csv
import io
import json
import re
import zipfile
from datetime import date
from threading import Thread

import pytest
from playwright.sync_api import Page, expect

from export_pipeline.days import utc_now
from export_pipeline.delivery.outbox import Courier
from export_pipeline.delivery.recurring import create
from export_pipeline.exports.service import run_job
from export_pipeline.ledger.posting import EXPORT_FAILED, EXPORT_READY
from export_pipeline.privacy.access import Access
from export_pipeline.privacy.erasing import STEPS, take_step
from export_pipeline.retention.metrics import compute_day
from export_pipeline_tests.portal.conftest import NAME, Portal, Visit
from export_pipeline_tests.portal.people import PEOPLE, Keyboard, Mouse

pytestmark = pytest.mark.system


def by(*people: str) -> pytest.MarkDecorator:
    """Who does a task each time; the others do it in ``make soak``."""
    params = [pytest.param(name, marks=() if name in people else pytest.mark.soak) for name in PEOPLE]
    return pytest.mark.parametrize("person", params, indirect=True)


@pytest.fixture
def person(request: pytest.FixtureRequest, visit: Visit) -> Mouse:
    """Somebody who is logged in, at a page that is quickly there."""
    kind = PEOPLE[request.param]
    return kind(visit("/activity", **kind.window))


@pytest.fixture
def portal(served: tuple[str, Portal]) -> Portal:
    return served[1]


def id_of(page: Page) -> str:
    return page.url.partition("?")[0].rpartition("/")[2]


def work(portal: Portal, job_id: str) -> None:
    run_job(portal.settings, portal.store, portal.ledger, job_id, 1)


def feed(portal: Portal, person: Mouse) -> str:
    """The id of a weekly feed, on whose page the person is."""
    email = f"{type(person).__name__.lower()}@example.com"
    wanted = {"frequency": "weekly", "delivery": {"email": email}, "enabled": True}
    made, _ = create(portal.settings, portal.ledger, wanted, utc_now(), created_by="portal")
    person.go("Data export")
    person.press(person.page.locator(f"main a[href$='{made.id}']"))
    expect(person.page.get_by_text(email)).to_be_visible()
    return made.id


def hook(portal: Portal, person: Mouse, url: str = "https://hooks.example.com/in") -> str:
    """The id of a webhook, on whose page the person is."""
    made, _ = portal.ledger.webhooks.create(url, [EXPORT_READY], "", utc_now())
    person.go("Webhooks")
    person.press(person.page.locator(f"main a[href$='{made.id}']"))
    expect(person.page.get_by_role("heading", name="Send a test")).to_be_visible()
    return made.id


@by("mouse", "keyboard")
def test_an_export_is_asked_for_and_downloaded(person: Mouse, portal: Portal) -> None:
    person.go("Export data")
    person.write("First day", portal.yesterday)
    person.write("Last day", portal.yesterday)
    person.tick("dataTypes", "ads")
    person.tick("dataTypes", "events")
    person.tick("format", "jsonl")
    person.tick("compression", "none")
    person.press_named("Export")
    expect(person.page.locator(".badge")).to_have_text("queued")
    person.look()
    work(portal, id_of(person.page))
    person.wait()
    expect(person.page.locator(".badge")).to_have_text("complete")
    person.look()
    job = portal.ledger.jobs.get(id_of(person.page), utc_now())
    assert person.download(person.page.locator("#download").inner_text()).count(b"\n") == job.rows
    assert job.request["dataTypes"] == ["events", "ads"]


@by("mouse", "unscripted")
def test_an_export_is_cancelled(person: Mouse, portal: Portal) -> None:
    person.go("Export data")
    person.press_named("Export")
    expect(person.page.locator(".badge")).to_have_text("queued")
    person.press(person.page.get_by_role("button", name="Cancel"))
    expect(person.page.locator(".badge")).to_have_text("cancelled")
    assert portal.ledger.jobs.get(id_of(person.page), utc_now()).state == "cancelled"
    person.look()


@by("mouse", "unscripted")
def test_a_person_gets_their_data(person: Mouse, portal: Portal) -> None:
    person.go("Access and erasure")
    person.write("User id", "user_00000001")
    person.press_named("Collect data")
    expect(person.page.locator(".badge")).to_have_text("queued")
    job_id, access = id_of(person.page), Access(portal.settings, portal.store, portal.ledger)
    access.collect(job_id)
    access.publish(job_id)
    person.wait()
    expect(person.page.locator(".badge")).to_have_text("complete")
    person.look()
    archive = person.download(person.page.locator("main .heading a").inner_text())
    assert "index.html" in zipfile.ZipFile(io.BytesIO(archive)).namelist()


@by("mouse", "unscripted")
def test_another_person_typed_after_going_back_gets_their_own_data(person: Mouse, portal: Portal) -> None:
    person.go("Access and erasure")
    person.write("User id", "user_00000005")
    person.press_named("Collect data")
    expect(person.page.locator(".badge")).to_have_text("queued")
    first = id_of(person.page)
    person.page.go_back()
    person.page.get_by_label("User id", exact=True).fill("")
    person.write("User id", "user_00000006")
    person.press_named("Collect data")
    expect(person.page.locator(".badge")).to_have_text("queued")
    assert portal.ledger.jobs.user_ids(id_of(person.page)) == ("user_00000006",)
    assert portal.ledger.jobs.user_ids(first) == ("user_00000005",)


@by("mouse", "keyboard", "unscripted")
def test_a_feed_is_set_up(person: Mouse, portal: Portal) -> None:
    person.go("Data export")
    person.press_named("New scheduled export")
    person.tick("frequency", "daily")
    person.tick("dataTypes", "ads")
    person.tick("to", "email")
    person.look()
    person.write("E-mail address", "feed@example.com")
    person.press_named("Set up")
    expect(person.page.get_by_role("status")).to_contain_text("is set up")
    person.look()
    made = portal.ledger.schedules.get(id_of(person.page))
    assert (made.frequency, made.request["dataTypes"]) == ("daily", ["events", "ads"])


@by("mouse")
def test_a_feed_is_turned_off_and_on(person: Mouse, portal: Portal) -> None:
    made = feed(portal, person)
    person.press_named("Turn off")
    expect(person.page.get_by_role("status")).to_contain_text("It is off")
    assert not portal.ledger.schedules.get(made).enabled
    person.look()
    person.press_named("Turn on")
    expect(person.page.get_by_role("status")).to_contain_text("It is on")
    assert portal.ledger.schedules.get(made).enabled


@by("mouse")
def test_a_feed_is_run_now(person: Mouse, portal: Portal) -> None:
    made = feed(portal, person)
    person.press_named("Run now")
    now = utc_now()
    if now.weekday() == 0 and now.hour < 2:
        expect(person.page.get_by_role("alert")).to_contain_text("not closed")
        return
    expect(person.page.locator(".badge")).to_have_text("queued")
    assert portal.ledger.jobs.get(id_of(person.page), now).id.endswith(made)


@by("mouse", "unscripted")
def test_a_feed_is_changed_and_deleted(person: Mouse, portal: Portal) -> None:
    made = feed(portal, person)
    person.press_named("Change")
    person.tick("format", "csv")
    person.press_named("Save")
    expect(person.page.get_by_role("status")).to_contain_text("are saved")
    assert portal.ledger.schedules.get(made).request["format"] == "csv"
    person.press_named("Delete")
    person.look()
    person.press_named("Delete for good")
    expect(person.page.get_by_role("status")).to_contain_text("is deleted")
    assert made not in person.page.content()


@by("mouse")
def test_a_webhook_is_made_and_its_secret_rotated(person: Mouse, portal: Portal) -> None:
    person.go("Webhooks")
    person.press_named("New webhook")
    person.write("Address", "https://hooks.example.com/in")
    person.press_named("Make webhook")
    expect(person.page.locator("#secret")).to_contain_text("whsec_")
    first = person.page.locator("#secret").inner_text()
    person.look()
    person.press_named("Rotate secret")
    person.look()
    person.press_named("Make new secret")
    expect(person.page.get_by_text("Until")).to_be_visible()
    second = person.page.locator("#secret").inner_text()
    held = portal.ledger.webhooks.target(id_of(person.page), utc_now())
    assert (held.secret, held.previous) == (second, (first,))
    person.page.reload()
    expect(person.page.get_by_role("heading", name="Send a test")).to_be_visible()
    assert "whsec_" not in person.page.content()
    assert portal.ledger.webhooks.target(held.webhook.id, utc_now()).secret == second


@by("mouse", "keyboard")
def test_a_test_is_sent_and_its_delivery_retried(person: Mouse, portal: Portal, failing_once: str) -> None:
    hook(portal, person, failing_once)
    person.pick("Event", EXPORT_FAILED)
    person.press_named("Send test")
    expect(person.page.locator(".badge")).to_have_text("failed")
    expect(person.page.get_by_label("Answer to attempt 1")).to_have_text("not now")
    person.look()
    person.press_named("Send again now")
    expect(person.page.get_by_role("status")).to_contain_text("sent again")
    courier = Thread(target=Courier(portal.settings, portal.ledger).deliver_due)
    courier.start()
    courier.join()
    person.page.reload()
    expect(person.page.locator(".badge")).to_have_text("success")
    assert portal.ledger.messages.get(id_of(person.page)).event == EXPORT_FAILED


@by("mouse")
def test_a_webhook_is_changed_disabled_and_deleted(person: Mouse, portal: Portal) -> None:
    made = hook(portal, person)
    person.press_named("Change")
    person.tick("events", "user.erased")
    person.write("Description", "Ours")
    person.press_named("Save")
    expect(person.page.get_by_role("heading", name="Ours")).to_be_visible()
    person.press_named("Disable")
    person.look()
    person.press_named("Disable it")
    expect(person.page.get_by_role("status")).to_contain_text("It is disabled")
    person.look()
    held = portal.ledger.webhooks.get(made)
    assert (held.status, held.events) == ("disabled", (EXPORT_READY, "user.erased"))
    person.press_named("Delete")
    person.press_named("Delete for good")
    expect(person.page.get_by_role("status")).to_contain_text("are deleted")


@by("mouse", "keyboard")
def test_a_key_is_made_and_revoked(person: Mouse, portal: Portal) -> None:
    name = f"of {type(person).__name__}"
    person.go("API keys")
    person.write("Name", name)
    person.tick("scopes", "webhooks")
    person.press_named("Make key")
    expect(person.page.locator("#secret")).to_contain_text("sk_live_")
    key = portal.ledger.keys.find(person.page.locator("#secret").inner_text())
    assert key.scopes == ("exports:read", "webhooks")
    row = person.page.get_by_role("row").filter(has_text=name)
    person.press(row.locator("summary"))
    person.look()
    person.press(row.get_by_role("button"))
    expect(person.page.get_by_role("status")).to_contain_text("is revoked")
    expect(row).to_contain_text("revoked")
    assert next(each for each in portal.ledger.keys.list() if each.id == key.id).revoked_at


@by("mouse")
def test_a_range_of_metrics_is_chosen_read_and_downloaded(person: Mouse, portal: Portal) -> None:
    day = date.fromisoformat(portal.yesterday)
    compute_day(portal.settings, portal.store, portal.ledger, day, utc_now())
    person.go("Overview")
    person.write("First day", portal.yesterday)
    person.write("Last day", portal.yesterday)
    person.press_named("Show")
    expect(person.page).to_have_url(re.compile(f"startDate={day}&endDate={day}"))
    person.press(person.page.locator("summary").filter(has_text="of Plays"))
    table = person.page.get_by_role("table").filter(has_text="Plays")
    expect(table.get_by_role("rowheader", name=portal.yesterday)).to_be_visible()
    person.look()
    [row] = csv.DictReader(person.download("Download CSV").decode().splitlines())
    assert row["date"] == portal.yesterday


@by("mouse")
def test_the_state_and_what_was_done_are_looked_at(person: Mouse, portal: Portal) -> None:
    person.go("Status")
    expect(person.page.get_by_role("heading", name="What is kept")).to_be_visible()
    person.go("Activity")
    expect(person.page.get_by_role("cell", name=NAME).first).to_be_visible()
    person.press(person.page.get_by_role("button", name="Log out"))
    expect(person.page.get_by_role("heading", name="Log in")).to_be_visible()


@by("mouse", "keyboard", "unscripted")
def test_a_person_is_erased_and_the_certificate_kept(person: Mouse, portal: Portal) -> None:
    user_id = f"user_0000000{2 + list(PEOPLE.values()).index(type(person))}"
    person.go("Access and erasure")
    person.write("User ids", user_id)
    person.press_named("See what would go")
    expect(person.page.get_by_role("rowheader", name=user_id)).to_be_visible()
    person.press_named("Erase for good")
    expect(person.page.get_by_role("alert")).to_contain_text("nothing is erased yet")
    person.look()
    person.write("Type ERASE to go on", "ERASE")
    person.press_named("Erase for good")
    expect(person.page.locator(".badge").first).to_have_text("queued")
    person.look()
    request_id = id_of(person.page)
    for name in STEPS:
        take_step(portal.settings, portal.store, portal.ledger, request_id, name, utc_now())
    person.wait()
    expect(person.page.get_by_text("Its signature is right")).to_be_visible()
    person.look()
    assert user_id not in person.page.content() + person.page.url
    assert json.loads(person.download("Download certificate"))["requestId"] == request_id


@pytest.mark.parametrize("at", ["list", "page"])
def test_the_focus_stays_with_an_export_when_its_button_goes(visit: Visit, portal: Portal, at: str) -> None:
    person = Keyboard(visit("/"))
    person.press_named("Export")
    expect(person.page.locator(".badge")).to_have_text("queued")
    job_id = id_of(person.page)
    if at == "list":
        person.press_named("All exports")
        expect(person.page.get_by_role("heading", name="Export data")).to_be_visible()
    person.reach(person.page.locator(f"#cancel-{job_id}"))
    work(portal, job_id)
    download = person.page.locator(f"#download-{job_id}" if at == "list" else "#download")
    expect(download).to_be_focused()


def test_the_focus_goes_to_the_state_where_nothing_else_is_left(visit: Visit, portal: Portal) -> None:
    person = Keyboard(visit("/"))
    person.press_named("Export")
    expect(person.page.locator(".badge")).to_have_text("queued")
    person.reach(person.page.get_by_role("button", name="Cancel"))
    portal.ledger.jobs.cancel(id_of(person.page), utc_now())
    expect(person.page.locator("#state")).to_be_focused()
