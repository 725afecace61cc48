"""The ledger: batches, their counts and sequence numbers, data versions, jobs, suppressions.

Owns its tables, its migrations, and every transition of a row; knows nothing of files or tables of events.
"""

from export_pipeline.ledger.batches import Batch, Counts
from export_pipeline.ledger.jobs import Job, Jobs, NewJob
from export_pipeline.ledger.ledger import Days, DayState, Ledger

__all__ = ["Batch", "Counts", "DayState", "Days", "Job", "Jobs", "Ledger", "NewJob"]
