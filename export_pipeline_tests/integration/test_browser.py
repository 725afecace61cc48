"""The Dagster UI in a real browser, over the running product."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from export_pipeline.definitions import build_defs
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline_tests.integration.picture import PAGE as LINEAGE
from export_pipeline_tests.integration.stack import Stack, running
from export_pipeline_tests.system import program

pytestmark = pytest.mark.system
SECONDS = 60_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    program("chromium")
    with running(tmp_path_factory.mktemp("browser") / "home") as started:
        yield started


@pytest.fixture
def page(stack: Stack) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser.new_page(viewport={"width": 1400, "height": 1600})
        browser.close()


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
