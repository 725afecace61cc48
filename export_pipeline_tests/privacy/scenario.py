"""Two people to be erased, and traces of them in every place where something is kept.

One has an ordinary id, the other one that every format escapes. Beside them live people whose rows
mention them, who share a device with them, or whose ids only look like theirs.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from export_pipeline import buckets
from export_pipeline.exports import export_day
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import ON_DEMAND
from export_pipeline.objects import is_remote, reading
from export_pipeline.privacy.access import Access
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import land

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
FIRST, DAYS = date(2026, 11, 11), 2

ADA, EVE = "user_00000001", '=eve "Ü" /?'
ADAS_PHONE, ADAS_TABLET, EVES_PHONE = "7b9c2f1e-aaaa-4bbb-8ccc-000000000001", "ada-tablet-01", "-eve+phone"
SHARED = "family-tablet-1"
GONE = (ADA, EVE, ADAS_PHONE, ADAS_TABLET, EVES_PHONE)
"""What may be nowhere afterwards; ``SHARED`` stays with Bob."""
BOB, ALIKE = "user_00000002", "user_000000011"

USERS = (ADA, ADAS_PHONE, SHARED, EVE, EVES_PHONE, BOB, ALIKE)
EVENT = {"events": "interaction", "quality": "error", "ads": "click"}


def events(data_type: str, day: date, batch: str) -> Iterator[dict[str, Any]]:
    """One row of each user, and rows of Bob that mention the others."""
    for number, user in enumerate((*USERS, BOB, BOB)):
        at = datetime(day.year, day.month, day.day, 12, number, tzinfo=UTC)
        yield {
            "event": EVENT[data_type],
            "contentId": f"vid_{number}",
            "userId": user,
            "deviceType": "ios",
            "deviceId": {6: ADAS_PHONE, 7: SHARED, 8: EVES_PHONE}.get(number),
            "sessionId": f"ses-{number}",
            "timestamp": at.isoformat().replace("+00:00", "Z"),
            "receivedAt": (at + timedelta(seconds=1)).isoformat().replace("+00:00", "Z"),
            "eventId": f"{data_type}-{day}-{batch}-{number}",
            "data": _data(data_type, number),
        }


def _data(data_type: str, number: int) -> dict[str, Any]:
    if number < len(USERS):
        return {}
    told = (f"shared by {ADA}, then {EVE}", {"to": [EVE, ADAS_TABLET], f"{ADA}": 1})[number % 2]
    key = {"events": "value", "quality": "errorMessage", "ads": "destination"}[data_type]
    return {key: told, "note": f"https://example.com/?u={ADA}&v=user_00000001x"}


def put(settings: Settings, name: str, rows: Iterator[dict[str, Any]], target: str) -> None:
    """Rows as a landing file."""
    land(settings, name, "".join(json.dumps(row) + "\n" for row in rows), target)


@dataclass(frozen=True)
class Deployment:
    """Where everything of the scenario is."""

    settings: Settings
    store: Store
    ledger: Ledger

    def everything(self, to: Path) -> list[Path]:
        """The folders that hold all there is: the state root, and copies below ``to`` of the objects."""
        if not is_remote(self.settings.data):
            return [self.settings.root]
        for found in buckets.listed(self.settings.data):
            if found.name.endswith("/"):
                continue  # it stands for a folder
            copy = to / found.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(reading(found.path).read())
        return [self.settings.root, to]

    def take_in(self, days: int = DAYS) -> None:
        """Days of three types, who has which device, profiles, and lines that are refused."""
        for target in EVENT:
            for offset in range(days):
                day = FIRST + timedelta(days=offset)
                put(self.settings, f"{day}.jsonl.gz", events(target, day, "a"), target)
        at = "2026-11-10T10:00:00Z"
        links = [(ADA, ADAS_PHONE), (ADA, ADAS_TABLET), (ADA, SHARED), (EVE, EVES_PHONE), (BOB, SHARED)]
        put(
            self.settings,
            "links.jsonl",
            ({"userId": user, "deviceId": device, "linkedAt": at} for user, device in links),
            "users/devices",
        )
        people = (ADA, EVE, BOB)
        put(
            self.settings,
            "profiles.jsonl",
            (
                {"userId": user, "createdAt": at, "topicAffinities": {"music": 0.5}, "engagementSummary": {}}
                for user in people
            ),
            "users/profiles",
        )
        put(
            self.settings,
            "experiments.jsonl",
            ({"userId": u, "experimentId": "e", "variant": "a", "assignedAt": at} for u in people),
            "users/experiments",
        )
        refused = [
            {"event": "nothing", "userId": ADA},
            {"event": "like", "userId": BOB, "data": {"to": EVE}},
            {"event": "nothing", "userId": BOB},
        ]
        put(self.settings, f"from {ADA}.jsonl", iter(refused), "events")
        ingest_landing(self.settings, self.store, self.ledger, now=NOW)

    def export(self) -> None:
        """Live exports of all kinds: daily in versions, on demand in both formats and compressions, failed,
        and archives of people."""
        for data_type, format in (
            ("events", "jsonl"),
            ("quality", "csv"),
            ("ads", "jsonl"),
            ("events", "csv"),
        ):
            self.daily(data_type, format, FIRST)
        put(self.settings, "late.jsonl", events("events", FIRST, "late"), "events")
        ingest_landing(self.settings, self.store, self.ledger, now=NOW)
        self.daily("events", "jsonl", FIRST)
        for values in (
            {"format": "jsonl", "dataTypes": ["events", "quality", "ads"]},
            {"format": "csv", "compression": "none", "dataTypes": ["ads", "events"]},
            {"format": "jsonl", "compression": "none", "filters": {"userIds": [ADA, BOB]}},
            {"format": "csv", "filters": {"contentIds": ["vid_7", "vid_8"]}},
        ):
            run_job(self.settings, self.store, self.ledger, self.ask(**values), 1, clock=lambda: NOW)
        failing = self.ask(filters={"userIds": [EVE]})
        self.ledger.jobs.fail(failing, "INTERNAL_ERROR", "for the test", NOW)
        access = Access(self.settings, self.store, self.ledger, clock=lambda: NOW)
        for user in (ADA, BOB):
            access.make(user, "command")

    def wait(self) -> list[str]:
        """Landing files that wait, and jobs that do; the jobs that name somebody who will be erased."""
        put(self.settings, "waiting.jsonl", events("events", FIRST, "waiting"), "events")
        self.ask(filters={"userIds": [BOB]})
        return [self.ask(filters={"userIds": users}) for users in ([ADA], [BOB, EVE], [ADAS_PHONE])]

    def daily(self, data_type: str, format: str, day: date) -> None:
        """Publish a partition."""
        export_day(
            data_type,
            format,
            day,
            settings=self.settings,
            store=self.store,
            ledger=self.ledger,
            now=NOW,
        )

    def ask(self, **values: Any) -> str:
        """Queue an export of the days; its id."""
        dates = {"startDate": str(FIRST), "endDate": str(FIRST + timedelta(days=DAYS - 1))}
        job = request_export(
            self.settings, self.store, self.ledger, {**dates, **values}, now=NOW, created_by="command"
        )
        assert job.kind == ON_DEMAND
        return job.id
