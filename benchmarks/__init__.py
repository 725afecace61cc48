"""Benchmarks: this project beside ClickHouse, polars, DuckDB and pandas on the same rows (``make bench``).

Every figure is taken in a process of its own, in the same run and on the same input; a figure of an export
counts only if its rows are the store's.
"""
