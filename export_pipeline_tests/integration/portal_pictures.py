"""``python -m export_pipeline_tests.integration.portal_pictures DIR``: the README's pictures of the portal.

Taken by headless Chromium from the portal on the state root of the environment's settings; ``make demo``
fills it with a week first, and an export of that week is made to be seen.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from export_pipeline.days import utc_now
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.request import FORMATS
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load
from export_pipeline.store import Store
from export_pipeline_tests.integration.stack import log_folder, serving

PAGES: Mapping[str, str] = {"portal-export.png": "/exports", "portal-overview.png": "/overview"}
WIDTH, HEIGHT = 1300, 1000


def take(page: Page, entrance: str, folder: Path) -> None:
    """Save a picture of each page, as somebody sees it who came in by ``entrance``."""
    page.goto(entrance)
    root = page.url.rpartition("/")[0]
    for name, path in PAGES.items():
        page.goto(root + path)
        if (week := page.get_by_role("link", name="Last 7 days")).is_visible():
            week.click()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / name)


def main(folder: Path) -> None:
    """Serve the portal, take the pictures, end it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = load()
    home, store, ledger = settings.root, Store(settings), Ledger(settings)
    days = {
        "endDate": str(max(ledger.known_days("events"))),
        "startDate": str(min(ledger.known_days("events"))),
    }
    for format_ in FORMATS:
        values = {**days, "format": format_, "dataTypes": [*DATA_TYPES]}
        job = request_export(settings, store, ledger, values, now=utc_now(), created_by="portal")
        run_job(settings, store, ledger, job.id, 1)
    log_folder(home).mkdir(parents=True, exist_ok=True)
    with serving(home, {}) as entrance, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            take(page, entrance, folder)
        finally:
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
