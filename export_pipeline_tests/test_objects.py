"""Trees of data: the same behaviour below a state root and in a bucket."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from export_pipeline import objects
from export_pipeline.settings import Settings

pytestmark = pytest.mark.backends("s3")


@pytest.fixture
def tree(settings: Settings) -> UPath:
    return settings.data / "tree"


def names(tree: UPath) -> dict[str, int]:
    return {str(path.relative_to(tree)): size for path, size, _ in objects.files_below(tree)}


def test_what_was_written_is_there_with_its_size(tree: UPath) -> None:
    objects.write(tree / "a" / "b.json", b"{}")
    objects.write(tree / "a" / "b.json", b"[1]")
    assert (tree / "a" / "b.json").read_bytes() == b"[1]"
    assert names(tree) == {"a/b.json": 3}
    assert [path.name for path in tree.glob("*/*.json")] == ["b.json"]


def test_of_many_writers_of_what_must_be_absent_one_wins(tree: UPath) -> None:
    def attempt(number: int) -> bool:
        try:
            objects.write(tree / "manifest.json", b"%d" % number, absent=True)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(attempt, range(8)))
    assert sum(won) == 1
    assert (tree / "manifest.json").read_bytes() == b"%d" % won.index(True)


@pytest.mark.parametrize("pieces", [0, 1, 5])
def test_a_file_is_written_piece_by_piece(tree: UPath, pieces: int) -> None:
    piece = bytes(range(256)) * (7 << 14)
    with objects.writing(tree / "part") as file:
        for _ in range(pieces):
            file.write(piece)
    assert (tree / "part").read_bytes() == piece * pieces


def test_of_a_write_that_fails_nothing_is_published(tree: UPath, backend: str) -> None:
    def broken() -> None:
        with objects.writing(tree / "part") as file:
            file.write(bytes(objects.PART_BYTES + 1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    if backend == "s3":
        assert not (tree / "part").exists()
        assert names(tree) == {}


def test_a_tree_is_removed_whole_and_one_that_is_not_there_is_no_error(tree: UPath) -> None:
    objects.write(tree / "old" / "x", b"1")
    objects.write(tree / "old" / "y" / "z", b"1")
    objects.write(tree / "older", b"1")
    for _ in range(2):
        objects.remove(tree / "old")
    assert names(tree) == {"older": 1}


def test_parquet_is_read_by_pyarrow_and_by_duckdb_also_in_another_process(
    tree: UPath, settings: Settings
) -> None:
    path = pickle.loads(pickle.dumps(tree / "rows.parquet"))
    with objects.writing(path) as file:
        pq.write_table(pa.table({"n": list(range(1000))}), file)
    assert pq.ParquetFile(objects.for_arrow(path)).read_row_group(0)["n"][999].as_py() == 999
    with duckdb.connect() as connection:
        objects.for_duckdb(connection, path)
        objects.for_duckdb(connection, path)
        assert connection.sql(f"select sum(n) from read_parquet(['{path}'])").fetchall() == [(499_500,)]


def test_a_file_is_read_from_its_beginning_and_anywhere(tree: UPath) -> None:
    content = bytes(range(251)) * 80_000
    objects.write(tree / "part", content)
    objects.write(tree / "empty", b"")
    with objects.reading(tree / "part") as file:
        assert file.read() == content
        for place in (0, len(content) - 10, 9_000_001):
            file.seek(place)
            assert file.read(100) == content[place : place + 100]
        assert file.seek(-3, 2) == len(content) - 3
        assert file.read() == content[-3:]
    with objects.reading(tree / "empty") as file:
        assert file.read() == b""
    with pytest.raises(FileNotFoundError):
        objects.reading(tree / "absent").read()


def test_a_file_that_is_written_again_is_there_whole_all_the_time(tree: UPath) -> None:
    objects.write(tree / "a", b"before")
    with objects.replacing(tree / "a") as file:
        file.write(b"after")
        assert (tree / "a").read_bytes() == b"before"
    assert (tree / "a").read_bytes() == b"after"
    assert names(tree) == {"a": 5}


def test_threads_of_duckdb_do_not_come_between_each_others_reads(tree: UPath) -> None:
    rows = pa.table({"n": list(range(200_000)), "text": [f"text {n}" for n in range(200_000)]})
    with objects.writing(tree / "rows.parquet") as file:
        pq.write_table(rows, file, row_group_size=2048)
    with duckdb.connect(config={"threads": 4}) as connection:
        objects.for_duckdb(connection, tree)
        for _ in range(3):
            found = connection.sql(
                "select sum(n), count(*) filter (text = 'text ' || n) "
                f"from read_parquet('{tree}/rows.parquet')"
            )
            assert found.fetchall() == [(19_999_900_000, 200_000)]
