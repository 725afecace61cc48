"""``python -m export_pipeline_tests.integration.picture FILE``: the README's picture of the Dagster UI.

Taken by headless Chromium from the running product, on the state root of the environment's settings;
``make demo`` fills it with a week first.
"""

import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import sync_playwright

from export_pipeline.settings import load
from export_pipeline_tests.integration.stack import running

PAGE = "/asset-groups/?expanded=" + quote("global@global:events,global@global:exports")
WIDTH, HEIGHT = 1450, 1540
SETTLE_MS = 5000


def take(url: str, target: Path) -> None:
    """Save a picture of the lineage from events to exports, as the web server at ``url`` shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(url + PAGE)
            page.get_by_text("engagement_events_jsonl").first.wait_for(timeout=60_000)
            page.wait_for_timeout(SETTLE_MS)
            target.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=target)
        finally:
            browser.close()


def main(target: Path) -> None:
    """Start the stack, take the picture, end the stack."""
    with running(load().root) as stack:
        take(stack.url, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
