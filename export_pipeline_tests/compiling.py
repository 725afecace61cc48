"""``python -m export_pipeline_tests.compiling``: have compiled what an export compiles, before many processes
that start at once would each do it."""

import tempfile
from datetime import timedelta

from export_pipeline.days import utc_now
from export_pipeline.events.sample import write_sample
from export_pipeline.exports import export_day
from export_pipeline.exports.request import FORMATS
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load, variable
from export_pipeline.store import Store


def main() -> None:
    """Export a small day in every format; what was compiled stays beside the source."""
    with tempfile.TemporaryDirectory() as home:
        settings = load({variable("home"): home})
        store, ledger, now = Store(settings), Ledger(settings), utc_now()
        day = now.date() - timedelta(days=3)  # which is closed at any hour
        write_sample(settings.landing, 1, day, 100, 10, 1)
        ingest_landing(settings, store, ledger)
        for format_ in FORMATS:
            export_day("events", format_, day, settings=settings, store=store, ledger=ledger, now=now)


if __name__ == "__main__":
    main()
