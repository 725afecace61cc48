"""The writers that are compared, a module each, each with ``write``.

All write the same rows in the same order and fields, from the same Parquet files, each by the fastest means
it has. What they may leave out, to their advantage, is said in ``equality``.
"""
