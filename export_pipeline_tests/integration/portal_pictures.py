"""``python -m export_pipeline_tests.integration.portal_pictures DIR``: the README's pictures of the portal.

Taken by headless Chromium from the portal on the state root of the environment's settings; ``make demo``
fills it with a week first.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from export_pipeline.settings import load
from export_pipeline_tests.integration.stack import log_folder, serving

PAGES: Mapping[str, str] = {"portal-export.png": "/exports", "portal-overview.png": "/overview"}
WIDTH, HEIGHT = 1280, 900


def take(page: Page, entrance: str, folder: Path) -> None:
    """Save a picture of each page, as somebody sees it who came in by ``entrance``."""
    page.goto(entrance)
    root = page.url.rpartition("/")[0]
    for name, path in PAGES.items():
        page.goto(root + path)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / name)


def main(folder: Path) -> None:
    """Serve the portal, take the pictures, end it."""
    folder.mkdir(parents=True, exist_ok=True)
    home = load().root
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
