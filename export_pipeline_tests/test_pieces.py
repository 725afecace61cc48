"""Whatever part of a put-together file is read, it is that part of the whole."""

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline import zipping
from export_pipeline.pieces import Assembled, Piece, held, of_file
from export_pipeline.zipping import archive_length, stored_zip


@given(st.lists(st.binary(max_size=20), max_size=6), st.integers(0, 130), st.integers(0, 130))
def test_any_span_is_the_same_span_of_the_whole(contents: list[bytes], start: int, end: int) -> None:
    file = Assembled("x", "text/plain", "t", [held(content) for content in contents])
    whole = b"".join(contents)
    assert file.length == len(whole)
    assert b"".join(file.read(start, min(end, file.length))) == whole[start:end]


def test_a_file_that_became_shorter_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"0123456789")
    piece = of_file(path)
    path.write_bytes(b"01234")
    with pytest.raises(EOFError, match="part ends 5 bytes too early"):
        list(piece.read(0, 10))


def content(pieces: list[Piece]) -> bytes:
    return b"".join(block for piece in pieces for block in piece.read(0, piece.length))


@pytest.mark.parametrize("limit", [zipping._LIMIT, 100])
def test_the_archive_is_what_other_readers_understand(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a low limit small files are written as those over 4 GiB are.
    monkeypatch.setattr(zipping, "_LIMIT", limit)
    files = []
    for name, size in (("a.json", 0), ("events/part-00000.csv", 1000), ("events/é.csv", 3)):
        path = tmp_path / str(size)
        path.write_bytes(b"x" * size)
        files.append((name, path))
    archived = content(stored_zip(files, "2026-11-20T12:34:56Z"))
    assert archive_length([(name, path.stat().st_size) for name, path in files]) == len(archived)
    with zipfile.ZipFile(io.BytesIO(archived)) as archive:
        assert archive.testzip() is None
        assert [(i.filename, i.file_size) for i in archive.infolist()] == [
            (name, path.stat().st_size) for name, path in files
        ]
        assert archive.infolist()[0].date_time == (2026, 11, 20, 12, 34, 56)
