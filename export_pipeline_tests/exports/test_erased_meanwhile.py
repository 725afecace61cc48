"""Who is erased while an export is made is not in it when it appears (contract, section 6)."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from export_pipeline.errors import TransientError
from export_pipeline.exports import Manifest, export_day, parse_request, verify, write_export
from export_pipeline.exports.making import ATTEMPTS
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ledger import Ledger
from export_pipeline.privacy.matching import Needles
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.erasing import Edit, erase, forget_replaced
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import DAY
from export_pipeline_tests.exports.test_rewriting import manifest_of
from export_pipeline_tests.rows import row

USER = "user_77770001"
TABLE = "engagement_events"
RANGE = {"startDate": str(DAY), "endDate": str(DAY)}

Waiting = Callable[[str], tuple[date, ...]]
Surface = Callable[[Settings, Store, Ledger, Path, Waiting], Path]


def daily(settings: Settings, store: Store, ledger: Ledger, out: Path, waiting: Waiting) -> Path:
    return export_day(
        "events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW, waiting=waiting
    ).path


def by_command(settings: Settings, store: Store, ledger: Ledger, out: Path, waiting: Waiting) -> Path:
    request = parse_request(RANGE, now=NOW, settings=settings)
    write_export(request, out, settings=settings, store=store, ledger=ledger, now=NOW, waiting=waiting)
    return out


def on_demand(settings: Settings, store: Store, ledger: Ledger, out: Path, waiting: Waiting) -> Path:
    job = request_export(settings, store, ledger, RANGE, now=NOW, created_by="command")
    done = run_job(settings, store, ledger, job.id, 1, clock=lambda: NOW, waiting=waiting)
    return settings.exports / str(done.path)


def erase_person(settings: Settings, store: Store, ledger: Ledger, erasure: str = "era_1") -> None:
    edit = Edit({USER: (erasure,)}, Needles([USER]), watermark=1000)
    erased = erase(settings, store, TABLE, edit, erasure)
    ledger.erasure_steps.note_removed(erasure, "events", {}, "events", erased.days or {DAY: 0}, NOW)
    forget_replaced(store, TABLE)


@pytest.mark.parametrize("surface", [daily, by_command, on_demand])
def test_an_export_is_planned_again_if_somebody_is_erased_before_it_appears(
    surface: Surface, land: Land, settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    land([row(n, userId=USER if n % 3 == 0 else "user_1") for n in range(30)])
    looked = 0

    def waiting(_: str) -> tuple[date, ...]:
        # It is asked when all files are written, and nothing is published yet.
        nonlocal looked
        looked += 1
        if looked == 1:
            erase_person(settings, store, ledger)
        return ()

    folder = surface(settings, store, ledger, tmp_path / "out", waiting)
    manifest: Manifest = manifest_of(folder)
    assert (looked, manifest.row_count, manifest.days[0].data_version) == (2, 20, 2)
    assert verify(folder).problems == ()
    assert list((settings.tmp / "exports").glob("*")) == []


@pytest.mark.parametrize("surface", [daily, by_command, on_demand])
def test_an_export_that_never_gets_ahead_of_erasures_is_not_published(
    surface: Surface, land: Land, settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    land([row(n) for n in range(9)])
    erasures = 0

    def waiting(_: str) -> tuple[date, ...]:
        nonlocal erasures
        erasures += 1
        erase_person(settings, store, ledger, f"era_{erasures}")
        return ()

    with pytest.raises(TransientError, match="people were erased from the days asked for"):
        surface(settings, store, ledger, tmp_path / "out", waiting)
    assert erasures == ATTEMPTS
    assert list(settings.exports.rglob("manifest.json")) == []
    assert not (tmp_path / "out").exists()


def test_rows_that_the_ledger_still_counts_while_an_erasure_is_under_way_are_no_damage(
    land: Land, settings: Settings, store: Store, ledger: Ledger
) -> None:
    land([row(n, userId=USER if n % 3 == 0 else "user_1") for n in range(30)])
    request = ledger.erasures.create([USER], "command", NOW)[0]
    ledger.erasures.begin(request.id, NOW)
    erase(settings, store, TABLE, Edit({USER: (request.id,)}, Needles([USER]), 1000), request.id)
    with pytest.raises(TransientError, match="people are being erased"):
        daily(settings, store, ledger, Path(), lambda _: ())
