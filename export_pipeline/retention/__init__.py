"""What is kept how long: removal of what is past its time, and the daily metrics that outlive raw events."""

from export_pipeline.retention.items import Item
from export_pipeline.retention.rounds import retain

__all__ = ["Item", "retain"]
