"""``make demo``: a sample week through the whole pipeline, recorded in Dagster, and what came out.

It runs the jobs that the sensor and the schedule run, on the deployment's own Dagster instance, so that
``make dev`` shows them afterwards.
"""

import os
import sys
import time
import warnings
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from export_pipeline.cli.output import table
from export_pipeline.dagster_home import prepare
from export_pipeline.days import days_between, utc_now
from export_pipeline.definitions import build_defs
from export_pipeline.defs.partitions import RANGE_END_TAG, RANGE_START_TAG
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.sample import write_sample
from export_pipeline.exports import live_daily, verify
from export_pipeline.exports.request import FORMATS
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings, load
from export_pipeline.sizes import size

DAYS, ROWS_PER_DAY, USERS, SEED = 7, 20_000, 500, 1
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def main() -> int:
    """Make, take in, export and verify a week that ended yesterday; 1 if anything is wrong."""
    warnings.simplefilter("ignore", dg.BetaWarning)
    settings = load()
    end = utc_now().date() - timedelta(days=1)
    start = end - timedelta(days=DAYS - 1)
    os.environ["DAGSTER_HOME"] = str(prepare(settings))

    print(f"A sample week, {start} to {end}, lands in {settings.landing}")
    write_sample(settings.landing, DAYS, end, ROWS_PER_DAY, USERS, SEED, None)
    definitions = build_defs(settings=settings)
    days = {RANGE_START_TAG: str(start), RANGE_END_TAG: str(end)}
    taken_at = utc_now()
    with dg.DagsterInstance.get() as instance:
        if not (
            _run(definitions, instance, "ingest", {})
            and _run(definitions, instance, "daily_exports", days)
            and _run(definitions, instance, "compute_metrics", days)
            and _run(definitions, instance, "alerts", {})
        ):
            print("A run failed; `make dev` shows it", file=sys.stderr)
            return 1

    print(f"\n{_taken_in(settings, taken_at)}\n\n{_exports(settings, start, end)}\n")
    began = time.monotonic()
    report = verify(settings.exports / "daily")
    for problem in report.problems:
        print(problem)
    verdict = "intact" if report.ok else "damaged"
    print(f"export-pipeline verify: {report.exports} exports {verdict}, {time.monotonic() - began:.1f} s")
    print("`make dev` shows the runs and the days")
    return 0 if report.ok else 1


def _run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, tags: Mapping[str, str]
) -> bool:
    began = time.monotonic()
    job = definitions.get_repository_def().get_job(name)
    result = job.execute_in_process(
        instance=instance, run_config=QUIET, tags=dict(tags), raise_on_error=False
    )
    print(f"Job {name}: {'done' if result.success else 'failed'}, {time.monotonic() - began:.1f} s")
    return result.success


def _exports(settings: Settings, start: date, end: date) -> str:
    rows: list[list[Any]] = []
    for data_type in DATA_TYPES:
        for format_ in FORMATS:
            days = list(days_between(start, end))
            live = [live_daily(settings, data_type, format_, day) for day in days]
            there = [export for export in live if export is not None]
            total = sum(export.rows for export in there)
            rows.append([data_type, format_, len(there), total, size(sum(export.bytes for export in there))])
    return table(["data type", "format", "days", "rows", "size"], rows)


def _taken_in(settings: Settings, since: datetime) -> str:
    names = ("received", "accepted", "rejected", "duplicate", "suppressed")
    totals = Ledger(settings).totals(since)
    return table(
        ["landing", *names],
        [[target, *(getattr(counts, name) for name in names)] for target, (counts, _) in totals.items()],
    )


if __name__ == "__main__":
    sys.exit(main())
