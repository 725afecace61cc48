"""The portal: how long its pages take and how much they weigh, with many exports and deliveries."""

import shutil
import statistics
import time
from datetime import timedelta
from pathlib import Path

import requests
from sqlalchemy import insert

from benchmarks.inputs import deployment
from benchmarks.plan import Plan
from benchmarks.report import Section, at_most
from benchmarks.serving import serving
from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.tables import attempts, jobs, messages
from export_pipeline.portal.guards import COOKIE, PASSWORD
from export_pipeline.portal.sections import SECTIONS

_EXPORTS, _ENDPOINTS, _BATCH = 1_000, 20, 10_000
_ROUNDS = 100
_WANTED_MS, _WANTED_KB = 100, 150
_REQUEST = {
    "since": [],
    "dateRange": {"start": "2026-11-16", "end": "2026-11-22"},
    "dataTypes": ["events", "ads"],
    "format": "jsonl",
    "compression": "gzip",
    "filters": {"contentIds": [], "eventTypes": [], "userCount": 0},
}


def run(plan: Plan) -> list[Section]:
    """Every page of the navigation, asked for one at a time; its weight is with style and scripts."""
    home = plan.outputs / "portal"
    deliveries = 10 * plan.messages
    try:
        endpoint = fill(home, deliveries)
        token = Ledger(deployment(home)).sessions.begin("benchmark", PASSWORD, utc_now())
        with serving(home) as server, requests.Session() as session:
            session.cookies.set(COOKIE, token)
            root = f"{server.url}/portal"
            common = sum(
                len(session.get(f"{root}/static/{name}", timeout=60).content)
                for name in ("htmx.min.js", "portal.js", "portal.css", "icon.svg")
            )
            pages = {link.title: link.path for part in SECTIONS for link in part.links}
            pages |= {
                "One webhook": f"/webhooks/{endpoint}",
                "What failed of it": f"/webhooks/{endpoint}?state=failed",
                "One delivery": f"/webhooks/{endpoint}/deliveries/del_{0:024x}",
            }
            found = {title: looked_at(session, root + path) for title, path in pages.items()}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    weights = {title: (size + common) / 1000 for title, (_, size) in found.items()}
    slowest = max(p95 for (_, p95), _ in found.values())
    what = f"a page of the portal, {_EXPORTS:,} exports and {deliveries:,} deliveries"
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


def looked_at(session: requests.Session, url: str) -> tuple[tuple[float, float], int]:
    """Milliseconds that half and 95 % of the answers take, and bytes of the page."""
    taken = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        answer = session.get(url, timeout=60, allow_redirects=False)
        taken.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, url
    cuts = statistics.quantiles(taken, n=20)
    return (statistics.median(taken), cuts[-1]), len(answer.content)


def fill(home: Path, deliveries: int) -> str:
    """A ledger with exports and deliveries that have ended; one delivery in fifty failed. Half of them, and
    what failed, went to the endpoint whose id it gives."""
    ledger, now = Ledger(deployment(home)), utc_now()
    webhooks = [
        ledger.webhooks.create(f"https://hooks-{number}.example.com/", ["export.ready"], "", now)[0].id
        for number in range(_ENDPOINTS)
    ]
    with ledger._engine.begin() as connection:
        connection.execute(
            insert(jobs),
            [
                {
                    "id": f"exp_{number:024x}",
                    "number": number + 1,
                    "kind": "on_demand",
                    "state": "complete",
                    "request": _REQUEST,
                    "created_by": "benchmark",
                    "created_at": now - timedelta(minutes=number),
                    "started_at": now,
                    "ended_at": now,
                    "expires_at": now + timedelta(days=3),
                    "attempt": 1,
                    "processed_rows": 5000,
                    "estimated_rows": 5000,
                    "estimated_bytes": 100_000,
                    "estimated_completion": now,
                    "rows": 5000,
                    "bytes": 100_000,
                    "path": f"on_demand/exp_{number:024x}",
                }
                for number in range(_EXPORTS)
            ],
        )
        for first in range(0, deliveries, _BATCH):
            made = [
                {
                    "id": f"del_{number:024x}",
                    "number": number + 1,
                    "event": "export.ready",
                    "webhook_id": webhooks[number % _ENDPOINTS if number % 2 else 0],
                    "data": {"exportId": f"exp_{number % _EXPORTS:024x}"},
                    "test": False,
                    "state": "success" if number % 50 else "failed",
                    "attempts": 1,
                    "created_at": now - timedelta(seconds=number),
                    "ended_at": now - timedelta(seconds=number),
                }
                for number in range(first, min(first + _BATCH, deliveries))
            ]
            connection.execute(insert(messages), made)
            tried = [
                {"message_id": each["id"], "number": 1, "at": now, "milliseconds": 30, "response": "ok"}
                for each in made
            ]
            connection.execute(insert(attempts), tried)
    return webhooks[0]
