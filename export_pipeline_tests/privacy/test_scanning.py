"""What a scan finds, where, and what makes it red."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import sqlite3
import threading
import zipfile
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.privacy import registry, scanning
from export_pipeline.privacy.matching import Needles
from export_pipeline.privacy.registry import PLACES, owner
from export_pipeline.privacy.scanning import scan_root
from export_pipeline.privacy.searching import WINDOW_BYTES, Erased, Search
from export_pipeline.settings import Settings
from export_pipeline.store.tables import ALL_TABLES
from export_pipeline_tests.privacy.walker import find

ID = "user_00000042"
OTHERS = b'{"userId": "user_000000421", "deviceId": "xuser_00000042"}\n'
ERASED_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def here(tmp_path):
    return Settings(home=tmp_path / "home", workers=2)


def scan(settings, ids=(ID,), places=PLACES):
    return scan_root(settings, Erased(Needles(ids), ERASED_AT, watermark=7), places)


def put(settings, path, content):
    target = settings.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def parquet(table, **options):
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


NESTED = pa.array([{"a": ["x", f"see {ID}"]}], pa.struct([("a", pa.list_(pa.string()))]))
HOLDING = {
    "plain": OTHERS + f'{{"userId": "{ID}"}}\n'.encode(),
    "gzip": gzip.compress(OTHERS) + gzip.compress(f'{{"userId": "{ID}"}}\n'.encode()),
    "bzip2": bz2.compress(ID.encode()),
    "xz": lzma.compress(ID.encode()),
    "zip": zipped(a=OTHERS, b=ID.encode()),
    "name in a zip": zipped(**{f"{ID}.json": b""}),
    "gzip in a zip": zipped(a=gzip.compress(ID.encode())),
    "zip in a zip in gzip": gzip.compress(zipped(a=zipped(b=ID.encode()))),
    "Parquet": parquet(pa.table({"n": [1, 2], "s": ["x", f'{{"seen": "{ID}"}}']})),
    "Parquet, as dictionary": parquet(pa.table({"s": pa.array(["x", ID, ID] * 99).dictionary_encode()})),
    "Parquet, binary": parquet(pa.table({"raw": [b"\xff\xfe " + ID.encode()]})),
    "Parquet, nested": parquet(pa.table({"deep": NESTED})),
    "Parquet, metadata": parquet(pa.table({"n": [1]}).replace_schema_metadata({"who": ID})),
    "Parquet in a zip": zipped(
        a=parquet(
            pa.table(
                {"s": [ID]},
            ),
            compression="zstd",
        )
    ),
    "pickle": pickle.dumps({"rows": [ID]}),
}


@pytest.mark.parametrize("what", HOLDING)
def test_an_id_is_found_in_every_container(here, what):
    put(here, "tmp/left/some.file", HOLDING[what])
    report = scan(here)
    assert report.places["scratch"].matches >= 1
    assert report.problems == ()
    assert what == "pickle" or find(here.root, [ID])


@pytest.mark.parametrize("what", HOLDING)
def test_what_only_resembles_an_id_is_not_found(here, what):
    put(here, "tmp/left/some.file", HOLDING[what])
    assert scan(here, ["ser_00000042", "user_0000004", "0000042"]).total.matches == 0


def test_other_peoples_lines_are_searched_and_are_no_match(here):
    put(here, "landing/events/a.jsonl", OTHERS)
    report = scan(here)
    assert (report.total.matches, report.problems) == (0, ())
    assert report.places["landing"].bytes == len(OTHERS)


def test_an_id_in_the_name_of_a_file_or_folder_is_found(here):
    put(here, f"landing/events/{ID}/a.jsonl", b"")
    report = scan(here)
    assert report.places["names"].matches == 2
    assert report.total.files == sum(path.is_file() for path in here.root.rglob("*"))


@settings(max_examples=12, deadline=None)
@given(st.integers(-60, 60), st.sampled_from([1, 2]))
def test_an_id_across_the_edge_of_a_window_is_found_once(distance, windows):
    before = windows * WINDOW_BYTES + distance
    content = b"." * before + ID.encode() + b"." * 100
    for reads in ("text", "lines"):
        search = Search(Erased(Needles([ID]), ERASED_AT, 7))
        getattr(search, reads)(io.BytesIO(content).read)
        assert (search.found.matches, search.found.bytes) == (1, len(content))


def test_an_id_is_found_in_a_database_in_use_its_log_and_its_free_space(here):
    path = put(here, "ledger.db", b"")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma secure_delete = off")
        connection.execute("create table notes (text, packed)")
        connection.execute("insert into notes values ('nothing', null)")
        connection.commit()
        assert scan(here).total.matches == 0

        connection.execute("insert into notes values (?, ?)", (json.dumps({"a": ID}), None))
        connection.commit()
        assert scan(here).places["ledger"].matches == 1

        connection.execute("update notes set text = null, packed = ?", (zlib.compress(ID.encode()),))
        connection.commit()
        assert scan(here).places["ledger"].matches >= 1

        connection.executemany("insert into notes values (?, null)", [(ID,)] * 300)
        connection.execute("delete from notes")
        connection.commit()
        assert scan(here).places["ledger"].matches >= 1

        connection.execute("vacuum")
        assert scan(here).total.matches == 0
        connection.execute("insert into notes values (?, null)", (f"x{ID}y",))
        connection.commit()
        assert scan(here).total.matches == 0


def test_a_database_somebody_reads_is_searched_with_its_log(here):
    path = put(here, "ledger.db", b"")
    with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(path)) as reader:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table notes (text)")
        connection.execute("insert into notes values (?)", (ID,))
        connection.commit()
        reader.execute("begin")
        reader.execute("select * from notes").fetchall()
        connection.execute("pragma secure_delete = on")
        connection.execute("delete from notes")
        connection.commit()
        assert scan(here).places["ledger"].matches >= 1


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt",
        "store/export_pipeline/strangers/data/a.parquet",
        "store/export_pipeline/ad_events/data/a.bin",
        "exports/daily/events/jsonl/2026-11-20/v1/other.bin",
        "secrets/id_rsa",
    ],
)
def test_a_file_nobody_accounts_for_turns_the_scan_red(here, path):
    put(here, path, b"nothing")
    assert scan(here).problems == (f"{path}: nobody accounts for this file",)


def test_a_place_without_a_reader_turns_the_scan_red(here):
    put(here, "landing/events/a.jsonl", OTHERS)
    unread = [replace(place, reader=None) if place.name == "landing" else place for place in PLACES]
    assert scan(here, places=unread).problems == ("landing/events/a.jsonl: the place landing has no reader",)


def test_every_place_has_a_reader_and_every_table_a_place():
    assert [place.name for place in PLACES if place.reader is None] == []
    assert {*ALL_TABLES} <= {place.name for place in PLACES}


def test_everything_the_settings_put_below_the_root_has_a_place(here):
    for name, attribute in vars(Settings).items():
        if isinstance(attribute, property) and name != "root":
            path = getattr(here, name)
            inside = path.relative_to(here.root).as_posix()
            named = [inside] if "." in path.name else [f"{inside}/{ending}" for ending in ENDINGS]
            assert any(owner(each) for each in named), name


ENDINGS = (
    "a.json",
    "a/a",
    "a.json",
    "a/b/part-00000.jsonl.gz",
    "a/2026-11-20/a.parquet",
    "export_pipeline/ad_events/data/a.parquet",
)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gzip.compress(OTHERS * 999)[:-9], "it ends early"),
        (gzip.compress(OTHERS)[:-8] + b"12345678", "it cannot be decoded"),
        (parquet(pa.table({"s": ["a"]}))[:-9], "it cannot be decoded"),
        (zipped(a=OTHERS)[:-30], "it cannot be decoded"),
        (b"7z\xbc\xaf\x27\x1c" + b"0" * 99, "it is a 7-Zip archive"),
        (b"x" * 8 + b"DUCK" + b"0" * 99, "it is a DuckDB database"),
    ],
    ids=["cut gzip", "changed gzip", "cut Parquet", "cut zip", "7-Zip", "DuckDB"],
)
def test_a_file_that_cannot_be_read_to_its_end_turns_the_scan_red(here, content, why):
    path = put(here, "exports/daily/events/jsonl/2026-11-20/v1/events/part-00000.jsonl.gz", content)
    os.utime(path, (0, 0))
    (problem,) = scan(here).problems
    assert why in problem


def test_a_file_that_is_no_file_turns_the_scan_red(here):
    (here.root / "landing").mkdir(parents=True)
    os.mkfifo(here.root / "landing" / "pipe")
    assert len(scan(here).problems) == 1


def test_problems_show_no_id(here):
    put(here, f"lost/{ID}.txt", b"")
    (problem,) = scan(here).problems
    assert ID not in problem
    assert "[erased]" in problem


def test_a_file_being_written_is_waited_for(here, monkeypatch):
    whole = gzip.compress(OTHERS)
    path = put(here, "tmp/exports/make-1/a.parquet", b"PAR1")
    threading.Timer(0.4, lambda: path.write_bytes(parquet(pa.table({"s": [ID]})))).start()
    assert whole
    report = scan(here)
    assert (report.problems, report.places["scratch"].matches) == ((), 1)


def test_a_file_written_for_too_long_may_be_searched_the_next_time(here, monkeypatch):
    monkeypatch.setattr(scanning, "PATIENCE_SECONDS", 0.1)
    put(here, "tmp/exports/make-1/a.parquet", b"PAR1")
    put(here, "tmp/privacy/read-1/duckdb_temp_storage_DEFAULT-0.tmp", b"")
    report = scan(here)
    assert len(report.problems) == 2
    assert report.passing
    put(here, "notes.txt", b"")
    assert not scan(here).passing


def test_what_comes_in_place_of_a_file_that_vanished_is_searched(here):
    put(here, "quarantine/events/2026-11-20/bat_1.parquet", parquet(pa.table({"raw": ["a"]})))

    def moved(path, search):
        if path.name == "bat_1.parquet":
            path.unlink()
            put(here, "quarantine/events/2026-11-20/bat_2.parquet", parquet(pa.table({"raw": [ID]})))
            raise FileNotFoundError(path)
        registry._decoded(path, search)

    places = [replace(place, reader=moved) if place.name == "quarantine" else place for place in PLACES]
    assert scan(here, places=places).places["quarantine"].matches == 1


def test_later_use_of_an_id_is_counted_apart(here):
    def rows(sequences):
        return parquet(pa.table({"userId": [ID] * len(sequences), "batchSequence": sequences}))

    put(here, "store/export_pipeline/ad_events/data/day=2026-11-20/a.parquet", rows([6, 7, 8, 9]))
    lines = [
        json.dumps({"userId": ID, "timestamp": (ERASED_AT + timedelta(seconds=s)).isoformat()})
        for s in (0, 1)
    ]
    put(here, "exports/daily/events/jsonl/2026-11-20/v1/events/part-00000.jsonl", "\n".join(lines).encode())
    put(here, "landing/events/new.jsonl", ID.encode())
    cells = [
        f'"a\nb",{ID},{(ERASED_AT + timedelta(seconds=s)).strftime("%Y-%m-%dT%H:%M:%SZ")}' for s in (-1, 0, 5)
    ]
    csv = "\n".join(["contentId,userId,timestamp", *cells]).encode()
    put(here, "exports/daily/events/csv/2026-11-20/v1/events/part-00000.csv.gz", gzip.compress(csv))
    for name, seconds in (("before", -1), ("after", 1)):
        made = json.dumps({"createdAt": (ERASED_AT + timedelta(seconds=seconds)).isoformat()})
        put(here, f"exports/user/usr_exp_{name}.zip", zipped(**{"manifest.json": made, "profile.json": ID}))
    found = scan(here).places
    assert (found["ad_events"].matches, found["ad_events"].later) == (2 + 0, 2)
    assert (found["exports"].matches, found["exports"].later) == (1 + 2 + 1, 1 + 1 + 1)
    assert (found["landing"].matches, found["landing"].later) == (0, 1)


def test_a_short_id_is_found_as_a_cell_of_text_and_not_as_a_number(here):
    part = "exports/daily/ads/csv/2026-11-20/v1/ads/part-00000.csv"
    put(here, part, b"contentId,userId,data.position\nvid_1,user_1,42\nvid_42,user 42,0\n")
    assert scan(here, ["42"]).total.matches == 0
    put(here, part, b"contentId,userId,data.position\n42,user_1,1\nvid_1,42,0\n")
    assert scan(here, ["42"]).total.matches == 2
