"""Landing files to stored rows: lines are read, judged, deduplicated and stored, and the bad ones kept.

The public parts are here; a batch's path through the modules is ``taking``, ``batches``, ``lines``, ``parsing``,
``validation``, ``staging``.
"""

from export_pipeline.ingest.landing import waiting_files
from export_pipeline.ingest.report import Report
from export_pipeline.ingest.taking import ingest_landing, ingest_paths
from export_pipeline.ingest.waiting import waiting_days

__all__ = ["Report", "ingest_landing", "ingest_paths", "waiting_days", "waiting_files"]
