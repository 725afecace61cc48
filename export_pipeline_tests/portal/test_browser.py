"""The portal in a real browser: from the login on by mouse, by keyboard alone and without JavaScript; what
axe-core finds on every page."""

import gzip
import hashlib
import re
from datetime import date, timedelta
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from export_pipeline.days import utc_now
from export_pipeline.delivery.recurring import create
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.portal.sections import SECTIONS
from export_pipeline.retention.metrics import compute_day
from export_pipeline.sizes import size
from export_pipeline_tests.portal.conftest import NAME, PASSWORD, Portal, Visit
from export_pipeline_tests.portal.people import check

pytestmark = pytest.mark.system


def job_of(page: Page) -> str:
    return page.url.rpartition("/")[2]


def work(portal: Portal, job_id: str) -> None:
    run_job(portal.settings, portal.store, portal.ledger, job_id, 1)


def work_slowly(portal: Portal) -> None:
    """Make an export at about two rows a second, so that the time of the next one depends on its rows."""
    days = {"startDate": portal.yesterday, "endDate": portal.yesterday}
    given: dict[str, Any] = {"now": utc_now(), "created_by": "portal"}
    job = request_export(portal.settings, portal.store, portal.ledger, days, **given)
    seconds = count(step=5)
    run_job(
        portal.settings,
        portal.store,
        portal.ledger,
        job.id,
        1,
        clock=lambda: given["now"] + timedelta(seconds=next(seconds)),
    )


def estimated(page: Page, rows: int) -> tuple[str, int]:
    """The size and the seconds that the form tells of an export, once it tells of so many rows."""
    told = page.locator("#estimate")
    expect(told).to_contain_text(f"About {rows} rows, ")
    found = re.search(r"rows, (\S+), ready in about (\d+) seconds", told.inner_text())
    assert found, told.inner_text()
    return found[1], int(found[2])


def test_by_mouse_from_the_login_to_the_file(visit: Visit, served: tuple[str, Portal]) -> None:
    for _ in range(3):
        work_slowly(served[1])
    page = visit("/", logged_in=False)
    page.get_by_label("Your name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Export data")).to_be_visible()
    page.get_by_label("First day").fill(served[1].yesterday)
    page.get_by_label("Last day").fill(served[1].yesterday)
    size_of_events, seconds_of_events = estimated(page, 40)
    page.get_by_label("Ads impressions").check()
    size_of_both, seconds_of_both = estimated(page, 80)
    assert size_of_both != size_of_events
    assert seconds_of_both > seconds_of_events
    page.get_by_label("None", exact=True).check()
    expect(page.locator("#estimate")).not_to_contain_text(f"80 rows, {size_of_both}")
    assert estimated(page, 80)[0] != size_of_both
    page.get_by_label("gzip").check()
    page.get_by_label("Ads impressions").uncheck()
    assert estimated(page, 40) == (size_of_events, seconds_of_events)
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.locator(".badge")).to_have_text("queued")
    asked = served[1].ledger.jobs.get(job_of(page), utc_now())
    assert (asked.estimated_rows, size(asked.estimated_bytes)) == (40, size_of_events)
    page.evaluate("window.same = true")
    work(served[1], job_of(page))
    expect(page.locator(".badge")).to_have_text("complete")
    assert page.evaluate("window.same"), "the page was loaded again"
    expect(page.locator("#said")).to_have_text("The export is complete.")
    row = page.get_by_role("row").filter(has_text="part-00000.jsonl.gz")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^Download")).click()
    content = download.value.path().read_bytes()
    assert gzip.decompress(content).count(b"\n") == 40
    expect(row).to_contain_text(hashlib.sha256(content).hexdigest())
    expect(page.locator("#command")).to_contain_text("curl -fL")
    page.get_by_role("link", name="All exports").click()
    expect(page.get_by_role("row").filter(has_text=served[1].yesterday).first).to_contain_text("complete")


def test_by_keyboard_alone(visit: Visit, served: tuple[str, Portal]) -> None:
    page = visit(logged_in=False)
    press = page.keyboard.press

    def tab_to(name: str, most: int = 40) -> None:
        for _ in range(most):
            press("Tab")
            shown = page.evaluate("document.activeElement.textContent || document.activeElement.id")
            if " ".join(shown.split()) == name:
                return
        raise AssertionError(f"{name} cannot be reached")

    tab_to("name")
    page.keyboard.type(NAME)
    press("Tab")
    page.keyboard.type(PASSWORD)
    press("Enter")
    page.wait_for_url("**/exports")
    press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    press("Enter")
    tab_to("startDate")
    tab_to("Export")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    press("Enter")
    page.wait_for_url("**/exports/exp_*")
    job_id = job_of(page)
    tab_to("Cancel " + page.locator("dd").first.inner_text())
    page.wait_for_timeout(1500)  # so that the part of the page with the button was replaced
    press("Enter")
    expect(page.locator(".badge")).to_have_text("cancelled")
    assert served[1].ledger.jobs.get(job_id, utc_now()).state == "cancelled"


def test_without_javascript(visit: Visit, served: tuple[str, Portal]) -> None:
    page = visit("/", logged_in=False, java_script_enabled=False)
    page.get_by_label("Your name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("First day").fill(served[1].yesterday)
    page.get_by_label("Last day").fill(served[1].yesterday)
    page.get_by_label("CSV").check()
    page.get_by_label("None", exact=True).check()
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator("#estimate")).to_contain_text("About 40 rows")
    expect(page.get_by_label("CSV")).to_be_checked()
    page.get_by_role("button", name="Export", exact=True).click()
    work(served[1], job_of(page))
    expect(page.locator(".badge")).to_have_text("complete", timeout=15_000)
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^Download")).click()
    assert download.value.path().read_bytes().count(b"\n") == 41
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_what_is_wrong_is_beside_its_field_and_said(visit: Visit) -> None:
    page = visit()
    page.get_by_label("First day").fill("2026-01-01")
    expect(page.locator("#endDate-hint")).to_contain_text("2026-01-31")
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
    field = (
        page.get_by_label("First day").or_(page.get_by_label("Last day")).and_(page.locator("[aria-invalid]"))
    )
    expect(field).to_be_visible()
    described = field.get_attribute("aria-describedby") or ""
    assert any(part.endswith("-error") for part in described.split())


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1400, "light")])
def test_axe_finds_nothing_serious_on_any_page_and_nothing_is_cut_off(
    visit: Visit, served: tuple[str, Portal], width: int, scheme: str
) -> None:
    portal, yesterday = served[1], served[1].yesterday
    page = visit(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.get_by_label("First day").fill(yesterday)
    page.get_by_label("Last day").fill(yesterday)
    page.get_by_role("button", name="Export", exact=True).click()
    one = f"/exports/{job_of(page)}"
    looked = [f"{served[0]}{one}"]
    check(page)
    work(portal, job_of(page))
    for path in (one, *(link.path for section in SECTIONS for link in section.links), "/nothing"):
        page.goto(served[0] + path)
        page.locator("details:not(.menu)").evaluate_all("all => all.forEach(one => { one.open = true })")
        check(page)
        looked.append(page.url)
    page.goto(served[0] + "/exports")
    page.get_by_label("First day").fill("2026-01-01")
    page.get_by_role("button", name="Export", exact=True).click()
    check(page)
    assert len(looked) > len(SECTIONS)


def test_axe_finds_nothing_serious_on_forms_and_single_things(
    visit: Visit, served: tuple[str, Portal]
) -> None:
    portal, now = served[1], utc_now()
    hook = portal.ledger.webhooks.create("https://hooks.example.com/" + "x" * 90, ["export.ready"], "", now)[
        0
    ]
    test = f"del_{'7' * 24}"
    portal.ledger.messages.add_test(test, "export.ready", {}, hook.id, "claim", now, now)
    delivery = f"/webhooks/{hook.id}/deliveries/{test}"
    compute_day(portal.settings, portal.store, portal.ledger, date.fromisoformat(portal.yesterday), now)
    page = visit("/overview", viewport={"width": 400, "height": 900})
    check(page)
    values = {"frequency": "weekly", "delivery": {"webhookId": hook.id}}
    feed = create(portal.settings, portal.ledger, values, now, created_by="portal")[0]
    for path in (
        "/schedules/new",
        f"/schedules/{feed.id}",
        f"/schedules/{feed.id}/edit",
        "/webhooks/new",
        f"/webhooks/{hook.id}",
        f"/webhooks/{hook.id}/edit",
        delivery,
    ):
        page.goto(served[0] + path)
        page.locator("details:not(.menu)").evaluate_all("all => all.forEach(one => { one.open = true })")
        check(page)
    page.goto(served[0] + "/privacy")
    page.get_by_label("User ids").fill("user_00000001")
    page.get_by_role("button", name="See what would go").click()
    check(page)


def test_axe_finds_nothing_serious_on_what_is_wrong(visit: Visit, served: tuple[str, Portal]) -> None:
    small: dict[str, Any] = {"viewport": {"width": 400, "height": 900}, "color_scheme": "dark"}
    page = visit("/login", logged_in=False, **small)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check(page)
    page = visit("/keys", **small)
    page.get_by_label("exports:read").uncheck()
    for path, button in (
        ("/keys", "Make key"),
        ("/webhooks/new", "Make webhook"),
        ("/schedules/new", "Set up"),
        ("/privacy", "Collect data"),
        ("/privacy", "See what would go"),
    ):
        if path != "/keys":
            page.goto(served[0] + path)
        if path == "/schedules/new":
            page.get_by_label("E-mail with a link").check()
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("alert")).to_be_visible()
        check(page)
    job = request_export(
        served[1].settings,
        served[1].store,
        served[1].ledger,
        {"startDate": served[1].yesterday, "endDate": served[1].yesterday},
        now=utc_now(),
        created_by="portal",
    )
    served[1].ledger.jobs.start(job.id, 1, utc_now())
    served[1].ledger.jobs.fail(job.id, "INTERNAL_ERROR", "it broke " + "x" * 90, utc_now(), attempt=1)
    page.goto(f"{served[0]}/exports/{job.id}")
    check(page)


def test_what_cannot_be_refreshed_says_so_until_it_can(visit: Visit, served: tuple[str, Portal]) -> None:
    page = visit()
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.locator(".badge")).to_have_text("queued")
    page.route("**/live*", lambda route: route.fulfill(status=503, body="not now"))
    expect(page.locator("#trouble")).to_contain_text("cannot be refreshed now")
    check(page)
    page.unroute("**/live*")
    expect(page.locator("#trouble")).to_be_empty()
    served[1].ledger.jobs.cancel(job_of(page), utc_now())
    expect(page.locator(".badge")).to_have_text("cancelled")


def test_script_in_what_is_refreshed_does_not_run(visit: Visit, served: tuple[str, Portal]) -> None:
    script = "\"'><svg onload=window.ran=1><img src=x onerror=window.ran=1>"
    ledger = served[1].ledger
    page = visit()
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.locator(".badge")).to_have_text("queued")
    ledger.jobs.start(job_of(page), 1, utc_now())
    ledger.jobs.fail(job_of(page), "INTERNAL_ERROR", script, utc_now(), attempt=1)
    expect(page.locator(".notice.bad")).to_contain_text(script)
    assert not page.evaluate("window.ran")


def test_a_command_is_copied_or_selected_where_it_cannot_be(visit: Visit, served: tuple[str, Portal]) -> None:
    portal = served[1]
    values = {"startDate": portal.yesterday, "endDate": portal.yesterday}
    given = {"now": utc_now(), "created_by": "portal"}
    job = request_export(portal.settings, portal.store, portal.ledger, values, **given)
    work(portal, job.id)
    page = visit(f"/exports/{job.id}", permissions=["clipboard-read", "clipboard-write"])
    command = page.locator("#command").inner_text()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#command-copied")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == command
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#command-copied")).to_contain_text("It is selected")
    assert page.evaluate("getSelection().toString()").strip() == command
