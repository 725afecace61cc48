"""The running product in a real browser: the Dagster UI, and the portal as somebody finds it who has never
seen it."""

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from export_pipeline.days import utc_now
from export_pipeline.definitions import build_defs
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.sample import write_sample
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import ON_DEMAND, SCHEDULED, USER
from export_pipeline.settings import load, variable
from export_pipeline.store import Store
from export_pipeline.store.views import query
from export_pipeline_tests.delivery.receivers import Receiver, receiver
from export_pipeline_tests.integration.picture import PAGE as LINEAGE
from export_pipeline_tests.integration.stack import Stack, eventually, running, serving
from export_pipeline_tests.system import program

pytestmark = pytest.mark.system
SECONDS = 60_000


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    """Who gets the feed."""
    with receiver() as listening:
        yield listening


@pytest.fixture(scope="module")
def environment(hook: Receiver) -> dict[str, str]:
    """Settings of the product: days are closed at once, and no schedule makes anything meanwhile."""
    return {
        variable("webhook_allow"): hook.url.removesuffix("/hook"),
        variable("close_delay_minutes"): "0",
        variable("export_hour"): "23",
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Stack]:
    """The product over a week of events that ended yesterday."""
    program("chromium")
    home = tmp_path_factory.mktemp("browser") / "home"
    settings = load({variable("home"): str(home)})
    write_sample(settings.landing, 7, utc_now().date() - timedelta(days=1), 300, 20, 1)
    ingest_landing(settings, Store(settings), Ledger(settings))
    with running(home, environment) as started:
        yield started


@pytest.fixture(scope="module")
def window(stack: Stack) -> Iterator[BrowserContext]:
    """A window of one browser, which compiles the programs of the UI once."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser.new_context(viewport={"width": 1400, "height": 1600})
        browser.close()


@pytest.fixture
def page(window: BrowserContext) -> Iterator[Page]:
    opened = window.new_page()
    yield opened
    opened.close()


def test_the_lineage_shows_every_event_and_export_asset(stack: Stack, page: Page) -> None:
    page.goto(stack.url + LINEAGE)
    for data_type in DATA_TYPES.values():
        for name in (data_type.table, f"{data_type.table}_jsonl", f"{data_type.table}_csv"):
            page.get_by_text(name).first.wait_for(timeout=SECONDS)


def test_schedules_and_sensors_are_on(stack: Stack, page: Page) -> None:
    repository = build_defs().get_repository_def()
    names = [automation.name for automation in (*repository.schedule_defs, *repository.sensor_defs)]
    page.goto(f"{stack.url}/automation")
    for name in names:
        page.get_by_text(name, exact=True).first.wait_for(timeout=SECONDS)
    switched_on = page.locator("input[type=checkbox]:checked")
    switched_on.nth(len(names) - 1).wait_for(state="attached", timeout=SECONDS)
    assert switched_on.count() == len(names)


def test_somebody_new_exports_a_week_sets_up_a_weekly_feed_and_answers_an_access_request(
    stack: Stack, page: Page, environment: dict[str, str], hook: Receiver
) -> None:
    settings = load({variable("home"): str(stack.home), **environment})
    store, ledger = Store(settings), Ledger(settings)
    with serving(stack.home, environment) as entrance:
        page.goto(entrance)
        page.get_by_role("button", name="Export", exact=True).click()
        page.locator(".side").get_by_role("link", name="Data export").click()
        page.get_by_role("link", name="New scheduled export").click()
        page.get_by_label("A new webhook", exact=True).check()
        page.get_by_label("Address of the new webhook").fill(hook.url)
        page.get_by_role("button", name="Set up").click()
        expect(page.locator("#secret")).to_contain_text("whsec_")
        page.get_by_role("button", name="Run now").click()
        expect(page.locator(".badge").first).to_be_visible()
        page.locator(".side").get_by_role("link", name="Access and erasure").click()
        known = "select min(userId) from engagement_events where userId like 'user_%'"
        person = query(settings, store, known).fetchall()[0][0]
        page.get_by_label("User id", exact=True).fill(person)
        page.get_by_role("button", name="Collect data").click()
        with page.expect_download(timeout=SECONDS * 3) as archive:
            page.get_by_role("link", name="Download").click(timeout=SECONDS * 3)
        content = zipfile.ZipFile(io.BytesIO(archive.value.path().read_bytes()))
        assert content.read("engagement_events.jsonl").count(b"\n") > 0
        page.locator(".side").get_by_role("link", name="Export data").click()
        row = page.get_by_role("row").filter(has_text="complete").last
        with page.expect_download(timeout=SECONDS) as exported:
            row.get_by_role("link", name="Download").click(timeout=SECONDS)
        rows = sum(state.rows for state in ledger.known_days("events").values())
        assert gzip.decompress(exported.value.path().read_bytes()).count(b"\n") == rows
        eventually("the feed is delivered", lambda: hook.got)
    assert json.loads(hook.got[0].body)["event"] == "export.ready"
    jobs = ledger.jobs.list(utc_now(), kinds=[ON_DEMAND, SCHEDULED, USER])[0]
    assert {job.state for job in jobs} == {"complete"}
