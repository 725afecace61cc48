"""What the portal is measured on: a deployment with much in its ledger, and something of everything else."""

from datetime import datetime, timedelta

import duckdb
from sqlalchemy import insert

from benchmarks.inputs import DAY
from export_pipeline.days import days_between
from export_pipeline.delivery.recurring import create
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.sample import write_sample
from export_pipeline.exports import export_day
from export_pipeline.exports.request import FORMATS
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.tables import attempts, jobs, messages
from export_pipeline.settings import Settings
from export_pipeline.sql import literal
from export_pipeline.store import Store
from export_pipeline.store.tables import METRICS_SCHEMA, METRICS_TABLE

EXPORTS, METRIC_DAYS = 1_000, 730
_ENDPOINTS, _OTHERS, _BATCH = 20, 50, 10_000
_DAYS, _ROWS_A_DAY, _USERS, _SEED = 7, 5_000, 200, 1
_CONTENTS, _DEVICES = 200, ("ios", "android", "web")
_REQUEST = {
    "since": [],
    "dateRange": {"start": str(DAY - timedelta(days=6)), "end": str(DAY)},
    "dataTypes": ["events", "ads"],
    "format": "jsonl",
    "compression": "gzip",
    "filters": {"contentIds": [], "eventTypes": [], "userCount": 0},
}


def fill(settings: Settings, deliveries: int, now: datetime) -> tuple[str, str]:
    """A week of rows and daily exports, two years of metrics, exports and deliveries that have ended, and
    some of what is set up and asked for. One delivery in fifty failed; half of them, and what failed, went to
    the endpoint whose id it gives, with that of an export whose files are there."""
    ledger, store = Ledger(settings), Store(settings)
    export_id = _stored(settings, store, ledger, now)
    _metrics(store, ledger, now)
    webhooks = [
        ledger.webhooks.create(f"https://hooks-{number}.example.com/", ["export.ready"], "", now)[0].id
        for number in range(_ENDPOINTS)
    ]
    for number in range(_OTHERS):
        ledger.keys.create(["exports:read"], now, f"program {number}")
        ledger.erasures.create(f"user_{number:08}", "benchmark", now)
        wanted = {"frequency": "weekly", "delivery": {"webhookId": webhooks[number % _ENDPOINTS]}}
        create(settings, ledger, wanted, now, created_by="benchmark")
    _exports(ledger, now)
    _deliveries(ledger, deliveries, webhooks, now)
    return webhooks[0], export_id


def _stored(settings: Settings, store: Store, ledger: Ledger, now: datetime) -> str:
    last = now.date() - timedelta(days=1)
    write_sample(settings.landing, _DAYS, last, _ROWS_A_DAY, _USERS, _SEED, None)
    ingest_landing(settings, store, ledger)
    for name in DATA_TYPES:
        for format_ in FORMATS:
            for day in days_between(last - timedelta(days=_DAYS - 1), last):
                export_day(name, format_, day, settings=settings, store=store, ledger=ledger, now=now)
    values = {"startDate": str(last - timedelta(days=6)), "endDate": str(last), "dataTypes": [*DATA_TYPES]}
    job = request_export(settings, store, ledger, values, now=now, created_by="benchmark")
    return run_job(settings, store, ledger, job.id, 1).id


def _metrics(store: Store, ledger: Ledger, now: datetime) -> None:
    last = now.date() - timedelta(days=1)
    first = last - timedelta(days=METRIC_DAYS - 1)
    counted = ", ".join(
        f'({place} + c * d % 97)::{"double" if column.type == "double" else "bigint"} as "{column.name}"'
        for place, column in enumerate(METRICS_SCHEMA)
        if column.name not in ("date", "contentId", "deviceType")
    )
    query = (
        f"select ({literal(str(first))}::date + d::int) as date, 'vid_' || c as \"contentId\", "
        f'v as "deviceType", {counted} from range({METRIC_DAYS}) days(d), range({_CONTENTS}) contents(c), '
        f"(select unnest({list(_DEVICES)}) as v) devices"
    )
    with duckdb.connect() as connection:
        cells = connection.execute(query).to_arrow_table().cast(METRICS_SCHEMA)
    store.append(METRICS_TABLE, [cells], {})
    for day in days_between(first, last):
        ledger.keeping.note_metrics(day, {}, now)


def _exports(ledger: Ledger, now: datetime) -> None:
    made = [
        {
            "id": f"exp_{number:024x}",
            "number": number + 10,
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
        for number in range(EXPORTS)
    ]
    with ledger._engine.begin() as connection:
        connection.execute(insert(jobs), made)


def _deliveries(ledger: Ledger, count: int, webhooks: list[str], now: datetime) -> None:
    with ledger._engine.begin() as connection:
        for first in range(0, count, _BATCH):
            made = [
                {
                    "id": f"del_{number:024x}",
                    "number": number + 1,
                    "event": "export.ready",
                    "webhook_id": webhooks[number % _ENDPOINTS if number % 2 else 0],
                    "data": {"exportId": f"exp_{number % EXPORTS:024x}"},
                    "test": False,
                    "state": "success" if number % 50 else "failed",
                    "attempts": 1,
                    "created_at": now - timedelta(seconds=number),
                    "ended_at": now - timedelta(seconds=number),
                }
                for number in range(first, min(first + _BATCH, count))
            ]
            connection.execute(insert(messages), made)
            tried = [
                {"message_id": each["id"], "number": 1, "at": now, "milliseconds": 30, "response": "ok"}
                for each in made
            ]
            connection.execute(insert(attempts), tried)
