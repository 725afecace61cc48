"""Whoever looks on while an export is verified sees how much of it was read, however few files it is."""

import random
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from export_pipeline.delivery.checking import verify_file
from export_pipeline.exports import Manifest, parse_request, verify, write_export
from export_pipeline.exports.onefile import zip_names
from export_pipeline.ledger import Ledger
from export_pipeline.privacy.access import Access
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW, land_rows
from export_pipeline_tests.rows import row

USER = "user_00000001"
ROWS = 40
Told = list[tuple[int, int]]
Export = Callable[..., Manifest]


@pytest.fixture
def export(settings: Settings, store: Store, ledger: Ledger) -> Export:
    """Exports 4 MB of events, which do not get much smaller, of one person."""
    noise = random.Random(7)
    rows = [row(n, userId=USER, data=f'{{"note": "{noise.randbytes(50_000).hex()}"}}') for n in range(ROWS)]
    land_rows(store, ledger, rows, "events")

    def exported(out: Path, **values: object) -> Manifest:
        asked = {"startDate": "2026-11-20", "endDate": "2026-11-20", "compression": "none", **values}
        request = parse_request(asked, now=NOW, settings=settings)
        return write_export(request, out, settings=settings, store=store, ledger=ledger, now=NOW)

    return exported


def assert_moved(told: Told, size: int) -> None:
    """What was told goes up in steps to the end of a file of ``size`` bytes, or to little before it."""
    assert {total for _, total in told} == {size}
    done = [0, *(done for done, _ in told)]
    steps = [after - before for before, after in pairwise(done)]
    assert min(steps) >= 0
    assert max(steps) < size / 2
    assert 0.95 * size < done[-1] <= size


def test_of_a_directory_with_one_part(export: Export, tmp_path: Path) -> None:
    export(tmp_path / "out")
    told: Told = []
    assert verify(tmp_path / "out", lambda *now: told.append(now)).ok
    assert_moved(told, sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file()))


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_of_a_downloaded_file(export: Export, tmp_path: Path, format: str) -> None:
    (part,) = export(tmp_path / "out", format=format).files
    file, told = tmp_path / "out" / part.name, Told()
    assert verify_file(file, tmp_path / "out" / "manifest.json", lambda *now: told.append(now)).ok
    assert_moved(told, part.bytes)


def test_of_a_downloaded_zip(export: Export, tmp_path: Path) -> None:
    out, file, told = tmp_path / "out", tmp_path / "week.zip", Told()
    manifest = export(out, format="csv", dataTypes=["events", "ads"])
    with zipfile.ZipFile(file, "w") as archive:
        for name in zip_names(manifest):
            archive.write(out / name, name)
    assert verify_file(file, out / "manifest.json", lambda *now: told.append(now)).ok
    assert_moved(told, file.stat().st_size)


@pytest.mark.usefixtures("export")
def test_of_the_archive_of_a_person(settings: Settings, store: Store, ledger: Ledger) -> None:
    path, told = Access(settings, store, ledger, clock=lambda: NOW).make(USER, "command").path, Told()
    assert path
    file = settings.exports / path
    assert verify_file(file, None, lambda *now: told.append(now)).ok
    assert_moved(told, file.stat().st_size)
    told.clear()
    assert verify(file.parent, lambda *now: told.append(now)).ok
    assert_moved(told, file.stat().st_size)


def test_damage_to_a_zip_is_found_in_each_file_it_is_in(export: Export, tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "week.zip"
    manifest = export(out, format="csv", dataTypes=["events", "ads"])
    spoiled, unlisted = manifest.files[0].name, "ads/schema.json"
    with zipfile.ZipFile(file, "w") as archive:
        for name in zip_names(manifest):
            archive.writestr(name, (out / name).read_bytes())
        begins = {name: archive.getinfo(name).header_offset + 30 + len(name) for name in archive.namelist()}
    content = bytearray(file.read_bytes())
    for name in (spoiled, unlisted):
        content[begins[name] + 5] ^= 1
    file.write_bytes(content)
    report = verify_file(file, out / "manifest.json")
    assert set(report.problems) == {
        f"week.zip is damaged where {name} is in it" for name in (spoiled, unlisted)
    }
