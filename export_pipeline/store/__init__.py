"""Where events live: Iceberg tables, appended by ingest, planned as Parquet files for DuckDB."""

from export_pipeline.store.store import Store

__all__ = ["Store"]
