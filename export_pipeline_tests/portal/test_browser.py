"""The portal in a real browser: each task by mouse, by keyboard alone and without JavaScript; what axe-core
finds on every page."""

import gzip
import hashlib
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from export_pipeline.api.server import server
from export_pipeline.days import utc_now
from export_pipeline.exports.service import run_job
from export_pipeline.portal.sections import SECTIONS
from export_pipeline.privacy.access import Access
from export_pipeline.retention.metrics import compute_day
from export_pipeline_tests.portal.conftest import NAME, PASSWORD, Portal, opened
from export_pipeline_tests.system import missing, program

pytestmark = pytest.mark.system
AXE = Path(__file__).parents[1] / "examples" / "node" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")

Opening = Callable[..., Page]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Portal]]:
    """A portal with a day of rows on a socket, and where."""
    portal = opened(tmp_path_factory.mktemp("browser") / "home", rows=True, jobs_per_day="1000")
    app = portal.client.app
    assert isinstance(app, FastAPI)
    listening = socket.create_server(("127.0.0.1", 0))
    running = server(app, ending_seconds=1)
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/portal", portal
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = program("chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield launched
        launched.close()


@pytest.fixture
def opening(browser: Browser, served: tuple[str, Portal]) -> Iterator[Opening]:
    """Open a page of the portal as somebody who is logged in; nothing may be refused or broken on it."""
    url, portal = served
    contexts = []
    problems: list[str] = []

    def open_(path: str = "/exports", logged_in: bool = True, **more: Any) -> Page:
        context = browser.new_context(base_url=url, **more)
        contexts.append(context)
        if logged_in:
            token = portal.ledger.sessions.begin(NAME, "password", utc_now())
            context.add_cookies([{"name": "export_pipeline_portal", "value": token, "url": url}])
        page = context.new_page()
        page.on("console", lambda said: problems.append(said.text) if is_problem(said) else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not problems


def is_problem(said: ConsoleMessage) -> bool:
    """Whether it is one of the page itself.

    That an answer is an error is what some tests are about, and a page that is left, or an estimate that a
    newer one replaces, aborts its request.
    """
    expected = ("Failed to load resource", "htmx:afterRequest", "htmx:sendAbort")
    return said.type == "error" and not said.text.startswith(expected)


def job_of(page: Page) -> str:
    return page.url.rpartition("/")[2]


def work(portal: Portal, job_id: str) -> None:
    run_job(portal.settings, portal.store, portal.ledger, job_id, 1)


def test_by_mouse_from_the_login_to_the_file(opening: Opening, served: tuple[str, Portal]) -> None:
    page = opening("/", logged_in=False)
    page.get_by_label("Your name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Export data")).to_be_visible()
    page.get_by_label("First day").fill(served[1].yesterday)
    page.get_by_label("Last day").fill(served[1].yesterday)
    estimate = page.get_by_role("status").filter(has_text="rows")
    expect(estimate).to_contain_text("About 40 rows")
    page.get_by_label("Ads impressions").check()
    expect(estimate).to_contain_text("About 80 rows")
    page.get_by_label("Ads impressions").uncheck()
    expect(estimate).to_contain_text("About 40 rows")
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.locator(".badge")).to_have_text("queued")
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


def test_by_keyboard_alone(opening: Opening, served: tuple[str, Portal]) -> None:
    page = opening(logged_in=False)
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
    page.wait_for_timeout(1500)  # so that the part of the page with the button was replaced
    tab_to("Cancel " + page.locator("dd").first.inner_text())
    page.wait_for_timeout(1500)
    press("Enter")
    expect(page.locator(".badge")).to_have_text("cancelled")
    assert served[1].ledger.jobs.get(job_id, utc_now()).state == "cancelled"


def test_without_javascript(opening: Opening, served: tuple[str, Portal]) -> None:
    page = opening("/", logged_in=False, java_script_enabled=False)
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


def test_what_is_wrong_is_beside_its_field_and_said(opening: Opening) -> None:
    page = opening()
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
    opening: Opening, served: tuple[str, Portal], width: int, scheme: str
) -> None:
    if not AXE.exists():
        missing("axe-core of npm is not installed; `make test-system` installs it")
    portal, yesterday = served[1], served[1].yesterday
    page = opening(viewport={"width": width, "height": 900}, color_scheme=scheme)
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


def check(page: Page) -> None:
    """No serious violation, and nothing wider than the window."""
    page.evaluate(AXE.read_text() + "; 0")
    found = page.evaluate("axe.run()")["violations"]
    told = [(v["id"], [node["target"] for node in v["nodes"]]) for v in found if v["impact"] in SERIOUS]
    assert not told, page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], page.url  # type: ignore[index]


def test_a_weekly_feed_is_set_up_by_keyboard_alone(opening: Opening, served: tuple[str, Portal]) -> None:
    page = opening("/schedules")
    press = page.keyboard.press

    def tab_to(selector: str) -> None:
        for _ in range(60):
            press("Tab")
            if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached")

    tab_to("a.primary")
    press("Enter")
    expect(page.get_by_role("heading", name="New scheduled export")).to_be_visible()
    tab_to("[name=dataTypes][value=ads]")
    press("Space")
    tab_to("[name=to]")
    while not page.evaluate("document.activeElement.value === 'email'"):
        press("ArrowDown")
    expect(page.get_by_label("Address of the new webhook")).to_be_hidden()
    tab_to("#email")
    page.keyboard.type("feed@example.com")
    press("Enter")
    expect(page.get_by_role("status")).to_contain_text("is set up")
    made = served[1].ledger.schedules.get(page.url.rpartition("/")[2].partition("?")[0])
    assert (made.frequency, made.request["dataTypes"]) == ("weekly", ["events", "ads"])


def test_a_webhook_is_made_and_its_secret_kept_by_mouse(opening: Opening) -> None:
    page = opening("/webhooks/new")
    page.get_by_label("Address").fill("https://hooks.example.com/in")
    page.get_by_role("button", name="Make webhook").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    page.get_by_text("Rotate secret").click()
    page.get_by_role("button", name="Make new secret").click()
    expect(page.get_by_role("status").filter(has_text="Until")).to_be_visible()
    page.reload()
    expect(page.locator("#secret")).to_have_count(0)


def test_a_person_is_answered_and_erased_without_javascript(
    opening: Opening, served: tuple[str, Portal]
) -> None:
    page, portal = opening("/privacy", java_script_enabled=False), served[1]
    person = "user_00000001"
    page.get_by_label("User id", exact=True).fill(person)
    page.get_by_role("button", name="Collect data").click()
    access = Access(portal.settings, portal.store, portal.ledger)
    access.collect(job_of(page))
    access.publish(job_of(page))
    expect(page.locator(".badge")).to_have_text("complete", timeout=15_000)
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^Download")).click()
    assert "index.html" in zipfile.ZipFile(download.value.path()).namelist()
    page.get_by_role("link", name="Access and erasure").last.click()
    page.get_by_label("User ids").fill(person)
    page.get_by_role("button", name="See what would go").click()
    expect(page.get_by_role("rowheader", name=person)).to_be_visible()
    page.get_by_label("Type ERASE to go on").fill("ERASE")
    page.get_by_role("button", name="Erase for good").click()
    expect(page.locator(".badge").first).to_have_text("queued")
    assert person not in page.content() + page.url


def test_axe_finds_nothing_serious_on_forms_and_single_things(
    opening: Opening, served: tuple[str, Portal]
) -> None:
    if not AXE.exists():
        missing("axe-core of npm is not installed; `make test-system` installs it")
    portal, now = served[1], utc_now()
    hook = portal.ledger.webhooks.create("https://hooks.example.com/" + "x" * 90, ["export.ready"], "", now)[
        0
    ]
    test = f"del_{'7' * 24}"
    portal.ledger.messages.add_test(test, "export.ready", {}, hook.id, "claim", now, now)
    delivery = f"/webhooks/{hook.id}/deliveries/{test}"
    compute_day(portal.settings, portal.store, portal.ledger, date.fromisoformat(portal.yesterday), now)
    page = opening("/overview", viewport={"width": 400, "height": 900})
    check(page)
    for path in ("/schedules/new", "/webhooks/new", f"/webhooks/{hook.id}", delivery):
        page.goto(served[0] + path)
        page.locator("details:not(.menu)").evaluate_all("all => all.forEach(one => { one.open = true })")
        check(page)
    page.goto(served[0] + "/privacy")
    page.get_by_label("User ids").fill("user_00000001")
    page.get_by_role("button", name="See what would go").click()
    check(page)
    page.goto(served[0] + "/schedules/new")
    page.get_by_label("E-mail with a link").check()
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check(page)
