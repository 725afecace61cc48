"""Files of a table read group by group and written in the place of others.

Text columns that repeat are read as dictionaries, which is faster; what is written says nothing of that.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    _dataframe_to_data_files,
    _get_parquet_writer_kwargs,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table

from export_pipeline import objects
from export_pipeline.errors import DamagedData
from export_pipeline.outages import explained
from export_pipeline.store.store import path_of
from export_pipeline.store.tables import ROW_GROUP_ROWS, repeating


@contextmanager
def opened(table: Table, file: DataFile) -> Iterator[pq.ParquetFile]:
    """A file of the table, to be read in the block.

    Raises:
        DamagedData: if it is missing or not what was written, naming it.
        TransientError: if the object store does not answer.
    """
    path, dictionaries = path_of(table, file.file_path), list(repeating(table.name()[-1]))
    try:
        with pq.ParquetFile(objects.for_arrow(path), read_dictionary=dictionaries) as parquet:
            yield parquet
    except (FileNotFoundError, pa.ArrowInvalid):
        raise DamagedData(f"store file {path.name} is missing or damaged; restore it") from None
    except OSError as error:
        if outage := explained(error):
            raise outage from None
        if error.errno is not None:
            raise
        raise DamagedData(f"store file {path.name} is damaged; restore it") from None


def groups_of(parquet: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a file, each in one piece."""
    for group in range(parquet.metadata.num_row_groups):
        yield parquet.read_row_group(group, columns, use_threads=False).combine_chunks()


def written_beside(
    table: Table, old: DataFile, about: Mapping[bytes, bytes] | None, groups: Iterator[pa.Table]
) -> tuple[DataFile, ...]:
    """A file in the place of ``old``, in its partition and with what it says ``about`` its types; none if
    nothing stays."""
    groups = iter(groups)
    first = next(groups, None)
    if first is None:
        return ()
    replaced = path_of(table, old.file_path)
    path = replaced.with_name(f"{uuid.uuid4()}.parquet")
    options = _get_parquet_writer_kwargs(table.properties)
    try:
        with objects.writing(path) as file:
            # The types by which rows are read here are no concern of other readers.
            writer = pq.ParquetWriter(file, first.schema, store_schema=False, **options)
            for group in chain([first], groups):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            writer.add_key_value_metadata(about or {})
            writer.close()
            size = file.tell()
    except BaseException:
        objects.remove(path)
        raise
    metadata = table.metadata
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=writer.writer.metadata,
        stats_columns=compute_statistics_plan(metadata.schema(), metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(metadata.schema()),
    )
    location = old.file_path.removesuffix(replaced.name) + path.name
    made = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=old.partition,
        file_size_in_bytes=size,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
    return (made,)


def written_anew(table: Table, groups: list[pa.Table]) -> tuple[DataFile, ...]:
    """Files for rows of any partition."""
    if not groups:
        return ()
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    rows = pa.concat_tables([_plain(group) for group in groups]).cast(schema)
    return tuple(_dataframe_to_data_files(table.metadata, rows, table.io))


def _plain(group: pa.Table) -> pa.Table:
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in group.columns
    ]
    return pa.table(columns, names=group.column_names)
