"""The portal: how long its pages take and how much they weigh, with many exports and deliveries."""

import re
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta

import requests

from benchmarks.inputs import deployment
from benchmarks.plan import Plan
from benchmarks.portal_inputs import EXPORTS, METRIC_DAYS, fill
from benchmarks.report import Section, at_most
from benchmarks.serving import serving
from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.portal.guards import COOKIE, PASSWORD
from export_pipeline.portal.sections import SECTIONS

_ROUNDS = 100
_WANTED_MS, _WANTED_KB = 100, 150


def run(plan: Plan) -> list[Section]:
    """Every page, asked for one at a time; its weight is with style and scripts."""
    home = plan.outputs / "portal"
    deliveries, settings, now = 10 * plan.messages, deployment(home), utc_now()
    try:
        endpoint, export = fill(settings, deliveries, now)
        token = Ledger(settings).sessions.begin("benchmark", PASSWORD, now)
        with serving(home) as server, requests.Session() as session:
            session.cookies.set(COOKIE, token)
            root = f"{server.url}/portal"
            common = sum(
                len(session.get(f"{root}/static/{name}", timeout=60).content)
                for name in ("htmx.min.js", "portal.js", "portal.css", "icon.svg")
            )
            feed = Ledger(settings).schedules.list(limit=1)[0][0].id
            found = {
                title: looked_at(lambda path=path: session.get(root + path, timeout=60))
                for title, path in _pages(endpoint, export, feed, now.date()).items()
            }
            form = _form(session, root, now.date() - timedelta(days=1))
            found["An estimate"] = looked_at(
                lambda: session.post(f"{root}/exports/estimate", data=form, timeout=60)
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    weights = {title: (size + common) / 1000 for title, (_, size) in found.items()}
    slowest = max(p95 for (_, p95), _ in found.values())
    what = f"a page of the portal, {EXPORTS:,} exports and {deliveries:,} deliveries"
    return [
        Section(
            "Portal",
            ["Page", "p50 ms", "p95 ms", "kB"],
            [
                [title, f"{p50:.1f}", f"{p95:.1f}", f"{weights[title]:.0f}"]
                for title, ((p50, p95), _) in found.items()
            ],
            notes=["One request at a time; the weight is not compressed, with style, scripts and icon."],
            targets=[
                at_most(f"{what}: p95 of the slowest", _WANTED_MS, slowest, "ms"),
                at_most(f"{what}: weight of the heaviest", _WANTED_KB, max(weights.values()), "kB"),
            ],
        )
    ]


def _pages(endpoint: str, export: str, feed: str, today: date) -> Mapping[str, str]:
    def overview(days: int) -> str:
        return f"/overview?startDate={today - timedelta(days=days)}&endDate={today - timedelta(days=1)}"

    return {
        **{link.title: link.path for part in SECTIONS for link in part.links},
        "Overview of 92 days": overview(92),
        "Overview of two years": overview(METRIC_DAYS),
        "One export": f"/exports/{export}",
        "One scheduled export": f"/schedules/{feed}",
        "Changing it": f"/schedules/{feed}/edit",
        "One webhook": f"/webhooks/{endpoint}",
        "What failed of it": f"/webhooks/{endpoint}?state=failed",
        "One delivery": f"/webhooks/{endpoint}/deliveries/del_{0:024x}",
    }


def _form(session: requests.Session, root: str, last: date) -> dict[str, str]:
    page = session.get(f"{root}/exports", timeout=60).text
    token = re.search(r'name="formToken" value="(\w+)"', page)
    assert token
    days = {"startDate": str(last - timedelta(days=30)), "endDate": str(last)}
    return {"formToken": token[1], **days, "dataTypes": "events", "format": "csv", "compression": "gzip"}


def looked_at(asked: Callable[[], requests.Response]) -> tuple[tuple[float, float], int]:
    """Milliseconds that half and 95 % of the answers take, and bytes of the page."""
    taken = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        answer = asked()
        taken.append((time.perf_counter() - began) * 1000)
        assert (answer.status_code, answer.history) == (200, []), answer.url
    cuts = statistics.quantiles(taken, n=20)
    return (statistics.median(taken), cuts[-1]), len(answer.content)
