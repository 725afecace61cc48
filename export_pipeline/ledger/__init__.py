"""The ledger: batches, their counts and sequence numbers, data versions, jobs, erasures, suppressions.

Owns its tables, its migrations, and every transition of a row; knows nothing of files or tables of events.
"""

from export_pipeline.ledger.batches import Batch, Counts
from export_pipeline.ledger.erasures import Erasure, Erasures
from export_pipeline.ledger.jobs import Job, Jobs, NewJob
from export_pipeline.ledger.ledger import Days, DayState, Ledger

__all__ = ["Batch", "Counts", "DayState", "Days", "Erasure", "Erasures", "Job", "Jobs", "Ledger", "NewJob"]
