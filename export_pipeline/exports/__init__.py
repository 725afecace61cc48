"""From a request to verified files: plan, encode, write, read back, publish (contract, section 3)."""

from export_pipeline.exports.daily import DailyExport, daily_folder, export_day, export_days, live_daily
from export_pipeline.exports.making import Waiting
from export_pipeline.exports.manifest import DayEntry, FileEntry, Manifest, Replaces
from export_pipeline.exports.ondemand import write_export
from export_pipeline.exports.previews import preview
from export_pipeline.exports.request import ExportRequest, Filters, parse_request
from export_pipeline.exports.verification import VerifyReport, verify

__all__ = [
    "DailyExport",
    "DayEntry",
    "ExportRequest",
    "FileEntry",
    "Filters",
    "Manifest",
    "Replaces",
    "VerifyReport",
    "Waiting",
    "daily_folder",
    "export_day",
    "export_days",
    "live_daily",
    "parse_request",
    "preview",
    "verify",
    "write_export",
]
