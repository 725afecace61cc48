"""A process of the storm: does one kind of work once, as the Dagster jobs do it, and ends.

``python -m export_pipeline_tests.integration.worker backfill|maintenance FIRST LAST``
"""

import sys
from datetime import date

from export_pipeline.days import days_between, utc_now
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import export_day
from export_pipeline.exports.request import FORMATS
from export_pipeline.ledger import Ledger
from export_pipeline.operations.maintenance import maintain
from export_pipeline.settings import load
from export_pipeline.store import Store


def main(work: str, first: date, last: date) -> None:
    settings = load()
    store, ledger = Store(settings), Ledger(settings)
    if work == "maintenance":
        maintain(settings, store, ledger, utc_now())
        return
    for day in days_between(first, last):
        for data_type in DATA_TYPES:
            for format_ in FORMATS:
                now = utc_now()
                export_day(data_type, format_, day, settings=settings, store=store, ledger=ledger, now=now)


if __name__ == "__main__":
    main(sys.argv[1], *map(date.fromisoformat, sys.argv[2:4]))
