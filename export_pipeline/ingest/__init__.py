"""Landing files to stored rows: lines are read, judged, deduplicated and stored, and the bad ones kept.

The public parts are here. A batch goes through ``taking``, ``batches``, ``lines``, ``staging`` (which judges
by ``plain``, ``parsing`` and ``validation``) to the store and the ``quarantine``.
"""

from export_pipeline.ingest.database import ingest_database, new_targets
from export_pipeline.ingest.landing import WaitingFile, waiting_files
from export_pipeline.ingest.quarantine import Quarantined, list_quarantined, show
from export_pipeline.ingest.report import Report
from export_pipeline.ingest.taking import ingest_landing, ingest_paths, replay
from export_pipeline.ingest.waiting import waiting_days, waiting_for

__all__ = [
    "Quarantined",
    "Report",
    "WaitingFile",
    "ingest_database",
    "ingest_landing",
    "ingest_paths",
    "list_quarantined",
    "new_targets",
    "replay",
    "show",
    "waiting_days",
    "waiting_files",
    "waiting_for",
]
