"""A file that grows step by step is whole after each, and a step costs as much late as early."""

from itertools import accumulate

import pytest

from export_pipeline import buckets, growing, objects
from export_pipeline.growing import extend, pieces
from export_pipeline.objects import is_remote
from export_pipeline.pieces import Assembled
from export_pipeline.settings import Settings

STEPS = [bytes([number]) * (number % 7 * 100) for number in range(1, 40)]


def content(settings: Settings) -> bytes:
    whole = Assembled("list", "text/plain", "", pieces(settings.certificates / "era_1.removed.jsonl"))
    return b"".join(whole.read(0, whole.length))


@pytest.mark.backends("s3")
def test_what_a_step_that_died_added_is_taken_back_by_the_next_try(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "PIECE_BYTES", 1000)
    path = settings.certificates / "era_1.removed.jsonl"
    with pytest.raises(FileNotFoundError):
        pieces(path)
    starts = [0, *accumulate(map(len, STEPS))]
    for start, more in zip(starts, STEPS, strict=False):
        extend(path, start, b"died" * 400)
        assert extend(path, start, more) == start + len(more)
    assert content(settings) == b"".join(STEPS)
    for tried in (5000, 1500, 0):
        extend(path, tried, b"again")
        assert content(settings) == b"".join(STEPS)[:tried] + b"again"


@pytest.mark.backends("s3")
def test_a_late_step_writes_no_more_than_an_early_one_and_objects_stay_few(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "PIECE_BYTES", 1000)
    path, written, size = settings.certificates / "era_1.removed.jsonl", list[int](), 0
    write = objects.write

    def noted(to: objects.AnyPath, some: bytes) -> None:
        written.append(len(some))
        write(to, some)

    monkeypatch.setattr(objects, "write", noted)
    for _ in range(40):
        size = extend(path, size, b"x" * 100)
    assert content(settings) == b"x" * 4000
    if is_remote(path):
        assert max(written) <= 1100
        assert len(list(buckets.listed(settings.certificates))) <= 5
