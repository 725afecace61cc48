"""What of a landing file counts as what, however the file is made."""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export_pipeline.errors import DamagedData, InvalidRequest
from export_pipeline.ingest import ingest_landing, ingest_paths, waiting_files
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import (
    ABSENT,
    NOW,
    event_ids,
    kept,
    land,
    left_over,
    line,
    lines,
    reasons,
    stored,
)

_NOBODY = 65534


@pytest.fixture
def take(settings: Settings, store: Store, ledger: Ledger) -> Callable[..., Counts]:
    def run(target: str = "events") -> Counts:
        return ingest_landing(settings, store, ledger, now=NOW).counts.get(target, Counts())

    return run


def test_an_empty_file_is_taken_and_holds_nothing(settings, take):
    land(settings, "a.jsonl", "")
    assert take() == Counts()
    assert left_over(settings) == []


def test_blank_lines_are_no_lines(settings, store, take):
    land(settings, "a.jsonl", f"\n  \t\r\n{lines(1)}\n{lines(2)}\r\n")
    assert take() == Counts(received=2, accepted=2)


def test_a_last_line_without_newline_counts(settings, take):
    land(settings, "a.jsonl", lines(1, 2).rstrip("\n"))
    assert take() == Counts(received=2, accepted=2)


def test_a_byte_order_mark_is_dropped(settings, take):
    land(settings, "a.jsonl", b"\xef\xbb\xbf" + lines(1).encode())
    land(settings, "b.gz", gzip.compress(b"\xef\xbb\xbf" + lines(2).encode()))
    assert take() == Counts(received=2, accepted=2)


def test_lines_may_end_in_carriage_return_and_newline(settings, store, take):
    text = line(eventId=ABSENT)
    land(settings, "a.jsonl", f"{text}\r\n{{\r\n")
    assert take() == Counts(received=2, accepted=1, rejected=1)
    assert event_ids(store) == [f"evt_{hashlib.sha256(text.encode()).hexdigest()[:32]}"]
    assert kept(settings)[0]["raw"] == b"{"


def test_binary_garbage_is_rejected_line_by_line_as_it_came(settings, take):
    garbage = bytes(range(256)) * 40
    land(settings, "a.bin", garbage)
    counts = take()
    assert counts.received == counts.rejected == 41
    assert b"\n".join(row["raw"] for row in kept(settings)) == garbage


def test_one_line_that_is_not_utf8_is_rejected_and_the_others_stored(settings, store, take):
    land(settings, "a.jsonl", lines(1).encode() + b'{"event":"\xff"}\n' + line(eventId="é").encode())
    assert take() == Counts(received=3, accepted=2, rejected=1)
    assert (reasons(settings), event_ids(store)) == (["not_utf8"], ["e1", "é"])


def test_gzip_is_told_by_its_content_and_may_have_several_members(settings, take):
    members = gzip.compress(lines(1).encode()) + gzip.compress(lines(2, 3).encode()) + b"\0" * 10
    land(settings, "a.jsonl", members)
    land(settings, "b.gz", lines(4).encode())
    assert take() == Counts(received=4, accepted=4)


@pytest.mark.parametrize("cut", [1, 8, 300])
def test_a_truncated_gzip_gives_its_whole_lines_and_one_rejected_line(settings, take, cut):
    text = "".join(line(eventId=hashlib.sha256(bytes([n])).hexdigest()) + "\n" for n in range(100))
    land(settings, "a.gz", gzip.compress(text.encode())[:-cut])
    counts = take()
    assert (counts.rejected, reasons(settings)) == (1, ["damaged_gzip"])
    whole = kept(settings)[0]["line"] - 1
    assert counts.accepted == whole > 80
    assert text.split("\n")[whole].startswith(kept(settings)[0]["raw"].decode())


def test_junk_after_a_gzip_member_is_one_rejected_line(settings, take):
    land(settings, "a.gz", gzip.compress(lines(1).encode()) + b"junk that is no gzip member")
    assert take() == Counts(received=2, accepted=1, rejected=1)


def test_a_line_over_one_megabyte_is_rejected_and_kept_and_the_next_one_stored(settings, store, take):
    mebibyte = 1 << 20
    fits = line(eventId="fits", data={"x": ""})
    fits = fits.replace('""', '"' + "y" * (mebibyte - len(fits)) + '"')
    assert len(fits) == mebibyte
    long = fits.replace("fits", "long!")
    land(settings, "a.jsonl", f"{fits}\n{long}\n{'z' * 10_000_000}\n{lines(1)}")
    assert take() == Counts(received=4, accepted=2, rejected=2)
    assert event_ids(store) == ["e1", "fits"]
    assert [(row["reason"], len(row["raw"])) for row in kept(settings)] == [
        ("too_long", len(long)),
        ("too_long", 10_000_000),
    ]


def test_of_a_line_that_does_not_fit_into_memory_the_beginning_is_kept(settings, take):
    land(settings, "a.gz", gzip.compress(b"z" * 60_000_000 + b"\n" + lines(1).encode(), 1))
    assert take() == Counts(received=2, accepted=1, rejected=1)
    row = kept(settings)[0]
    assert (row["raw"], "60000000" in row["detail"]) == (b"z" * (1 << 24), True)


@pytest.mark.parametrize("name", [".hidden.jsonl", "_SUCCESS", "part.jsonl.tmp"])
def test_a_file_still_being_written_is_left_alone(settings, take, name):
    path = land(settings, name, lines(1))
    assert take() == Counts()
    assert path.exists()


def test_ten_thousand_tiny_files_are_one_batch(settings, store, ledger):
    for number in range(10_000):
        land(settings, f"{number:05}.jsonl", lines(number))
    report = ingest_landing(settings, store, ledger, now=NOW)
    assert report.counts["events"] == Counts(received=10_000, accepted=10_000)
    assert len(report.batches) == 1


def test_more_than_a_batch_holds_is_taken_in_several(settings, store, ledger):
    small = settings.model_copy(update={"batch_bytes": 2 * len(lines(1)) + 1})
    for number in range(5):
        land(settings, f"{number}.jsonl", lines(number))
    report = ingest_landing(small, store, ledger, now=NOW)
    assert [batch.files for batch in report.batches] == [
        ("0.jsonl", "1.jsonl"),
        ("2.jsonl", "3.jsonl"),
        ("4.jsonl",),
    ]
    assert sorted({row["batchSequence"] for row in stored(store)}) == [1, 2, 3]


def test_a_name_that_is_no_text_keeps_nothing_out(settings, store, take):
    name = os.fsdecode(b"bad\xff.jsonl")
    land(settings, name, lines(1) + "{\n")
    assert take() == Counts(received=2, accepted=1, rejected=1)
    assert (kept(settings)[0]["file"], left_over(settings)) == ("bad\\xff.jsonl", [])


def test_a_relative_link_is_taken_and_what_it_names_is_kept(settings, take):
    real = land(settings, "_real", lines(1))
    (settings.landing / "events" / "a.jsonl").symlink_to("_real")
    assert take() == Counts(received=1, accepted=1)
    assert real.read_text() == lines(1)


def test_a_second_file_of_the_same_name_is_another_file(settings, store, take):
    land(settings, "a.jsonl", lines(1))
    assert take().accepted == 1
    land(settings, "a.jsonl", lines(1, 2))
    assert take() == Counts(received=2, accepted=1, duplicate=1)
    assert event_ids(store) == ["e1", "e2"]


def test_files_of_the_same_name_in_two_given_folders_are_both_taken(settings, store, ledger, tmp_path):
    for number, folder in enumerate(("one", "two")):
        path = tmp_path / folder / "events" / "a.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(lines(number) + "{\n")
    report = ingest_paths(settings, store, ledger, [tmp_path / "one", tmp_path / "two"], now=NOW)
    assert report.counts["events"] == Counts(received=4, accepted=2, rejected=2)


def test_given_files_are_kept_and_taking_them_again_changes_nothing(settings, store, ledger, tmp_path):
    path = tmp_path / "events" / "a.jsonl"
    path.parent.mkdir()
    path.write_text(lines(1, 2))
    first = ingest_paths(settings, store, ledger, [path], now=NOW)
    before = stored(store), ledger.known_days("events")
    second = ingest_paths(settings, store, ledger, [path], now=NOW)
    assert first.counts["events"] == Counts(received=2, accepted=2)
    assert second.counts["events"] == Counts(received=2, duplicate=2)
    assert (stored(store), ledger.known_days("events")) == before
    assert path.exists()


def test_a_given_file_must_be_in_a_folder_that_says_what_it_holds(settings, store, ledger, tmp_path):
    path = tmp_path / "elsewhere.jsonl"
    path.write_text(lines(1))
    with pytest.raises(
        InvalidRequest, match="folder of a file must be one of events, quality, ads, users/profiles"
    ):
        ingest_paths(settings, store, ledger, [path], now=NOW)


def test_a_given_path_must_exist(settings, store, ledger, tmp_path):
    with pytest.raises(InvalidRequest, match="absent; it must be an existing file"):
        ingest_paths(settings, store, ledger, [tmp_path / "absent"], now=NOW)


def test_a_landing_directory_that_is_none_is_told(settings, take):
    settings.landing.mkdir(parents=True)
    (settings.landing / "events").write_text("")
    with pytest.raises(DamagedData, match="events cannot be listed: Not a directory"):
        take()


@pytest.fixture
def read_only_landing() -> Iterator[Settings]:
    """A deployment whose events folder holds a file that this process may read and not change."""
    home = Path(tempfile.mkdtemp())
    settings = Settings(home=home)
    # A first ingest also loads all modules, which another user may not be able to read.
    land(settings, "a.jsonl", lines(1), "ads")
    ingest_landing(settings, Store(settings), Ledger(settings), now=NOW)
    folder = land(settings, "a.jsonl", lines(1)).parent
    folder.chmod(0o555)
    if os.getuid() == 0:
        for path in [home, *home.rglob("*")]:
            if folder not in (path, path.parent):
                os.chown(path, _NOBODY, _NOBODY)
        os.seteuid(_NOBODY)
    yield settings
    if os.getuid() == 0:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(home)


def test_a_landing_directory_that_cannot_be_written_is_told_and_nothing_is_lost(read_only_landing):
    store, ledger = Store(read_only_landing), Ledger(read_only_landing)
    with pytest.raises(DamagedData, match="landing/events cannot be written: Permission denied"):
        ingest_landing(read_only_landing, store, ledger, now=NOW)
    assert [file.path.name for file in waiting_files(read_only_landing, "events")] == ["a.jsonl"]


def test_a_file_that_cannot_be_read_keeps_only_its_own_data_type_from_being_taken(
    settings, store, ledger, take
):
    folder = settings.landing / "events"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").symlink_to("/proc/self/mem")
    for number in (1, 2):
        land(settings, f"{number}.jsonl", lines(1), "ads")
        land(settings, f"{number}.jsonl", lines(1))
        with pytest.raises(
            DamagedData, match=r"a.jsonl cannot be read: .*; make it readable or move it away"
        ):
            take()
    assert ledger.totals()["ads"][0].received == 2
    assert "events" not in ledger.totals()
    for path in folder.glob(".taken-*/a.jsonl"):
        path.unlink()
    take()
    assert ledger.totals()["events"][0].received == 2


def test_no_user_id_is_in_a_reason_or_a_name(settings, take):
    land(
        settings,
        "a.jsonl",
        line(event="nope") + "\n" + line(deviceType="user_00000001") + "\n" + "user_00000001",
    )
    take()
    told = json.dumps([{key: str(row[key]) for key in row if key != "raw"} for row in kept(settings)])
    names = [str(path) for path in Path(settings.root).rglob("*")]
    assert "user_00000001" not in told
    assert not any("user_00000001" in name for name in names)


def test_among_many_lines_that_are_not_utf8_each_line_stays_itself(settings, store, take):
    numbers = range(30_000)
    bad = [n for n in numbers if n % 3 == 0]
    text = [
        b"\xff%d" % n if n % 3 == 0 else line(eventId=f"e{n}", sessionId=f"s{n}").encode() for n in numbers
    ]
    land(settings, "a.jsonl", b"\n".join(text))
    assert take() == Counts(received=30_000, accepted=20_000, rejected=10_000)
    assert [(row["line"], row["raw"]) for row in kept(settings)] == [(n + 1, b"\xff%d" % n) for n in bad]
    assert all(row["eventId"][1:] == row["sessionId"][1:] for row in stored(store))
