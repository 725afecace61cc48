"""What can land: the three data types and the user tables, each with a folder of its own."""

from datetime import datetime

from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.ingest.event_lines import event_validation
from export_pipeline.ingest.user_lines import user_validation
from export_pipeline.ingest.validation import Validation
from export_pipeline.store.tables import TABLE_OF

TARGETS = tuple(TABLE_OF)
"""The targets, as the folder below ``landing/``."""


def validation_of(target: str, taken_at: datetime, retention_days: int) -> Validation:
    """How the lines of ``target`` are judged in a batch taken at ``taken_at``."""
    if target in DATA_TYPES:
        return event_validation(DATA_TYPES[target], taken_at, retention_days)
    return user_validation(USER_TABLES[target.removeprefix("users/")])
