"""A process of the storm: does one kind of work once, as a command or a Dagster job does it, and ends."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path

from export_pipeline.cli import main as command
from export_pipeline.days import days_between, utc_now
from export_pipeline.errors import NotFound
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import export_day
from export_pipeline.exports.request import FORMATS
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ingest import ingest_landing  # noqa: F401  loaded once for all that are forked
from export_pipeline.ledger import Ledger
from export_pipeline.operations.maintenance import maintain
from export_pipeline.privacy.erasing import erase_now
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store


def run(work: str, first: date, last: date, out: Path, environ: Mapping[str, str], log: Path) -> None:
    """Do ``work`` over the days from ``first`` to ``last``; what it prints goes to ``log``."""
    os.environ.update(environ)
    with open(log, "wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    if work == "ingest":
        command(["ingest"])
    elif work == "export":
        days = ["--start", str(first), "--end", str(last), "--data-types", ",".join(DATA_TYPES)]
        command(["export", *days, "--out", str(out), "--overwrite"])
    settings = load()
    store, ledger = Store(settings), Ledger(settings)
    if work == "maintenance":
        maintain(settings, store, ledger, utc_now())
        return
    if work == "request":
        dates = {"startDate": str(first), "endDate": str(last), "dataTypes": list(DATA_TYPES)}
        job = request_export(settings, store, ledger, dates, now=utc_now(), created_by="command")
        run_job(settings, store, ledger, job.id, 1)
        return
    if work == "erasure":
        _erase_next(settings, store, ledger)
        return
    for day in days_between(first, last):
        for data_type in DATA_TYPES:
            for format_ in FORMATS:
                now = utc_now()
                export_day(data_type, format_, day, settings=settings, store=store, ledger=ledger, now=now)


def user(number: int) -> str:
    """The id of a user."""
    return f"user_{number:08d}"


def request(number: int) -> str:
    """The id of the request to erase that user."""
    return f"era_{number:08d}"


def _erase_next(settings: Settings, store: Store, ledger: Ledger) -> None:
    number = 0
    with suppress(NotFound):
        while ledger.erasures.get(request(number)):
            number += 1
    names = [request(number)]
    erase_now(
        settings,
        store,
        ledger,
        lambda: request_erasures(
            ledger, [user(number)], now=utc_now(), created_by="command", request_ids=names
        ),
    )
