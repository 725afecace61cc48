"""Taking in: what waits in the landing directory, files that are named, quarantined lines again."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from export_pipeline.days import utc_now
from export_pipeline.errors import InvalidRequest
from export_pipeline.ingest import quarantine
from export_pipeline.ingest.batches import exclusively
from export_pipeline.ingest.landing import WaitingFile, cut_batch, left_alone, waiting_files
from export_pipeline.ingest.report import Report
from export_pipeline.ingest.targets import TARGETS
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store

Progress = Callable[[int, int | None], None]
"""Called with the bytes of files read so far and the bytes there are."""


def ingest_landing(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    *,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Report:
    """Take everything that waits in the landing directory, in batches, until nothing does.

    Raises:
        DamagedData: if the landing directory or a file in it cannot be used.
        StorageFull: if no room is left; what was taken is finished by the next run.
    """
    waiting = sum(file.size for target in TARGETS for file in waiting_files(settings, target))
    with exclusively(settings, store, ledger, now or utc_now(), _counting(progress, waiting)) as run:
        for target in TARGETS:
            while not run.is_blocked(target) and (files := waiting_files(settings, target)):
                names = [file.path.name for file in files[: cut_batch(files, settings.batch_bytes)]]
                run.take_landing(target, names, now or utc_now())
    return run.report


def ingest_paths(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    paths: Sequence[Path],
    *,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Report:
    """Take the files of ``paths`` and of the directories among them, and keep them.

    The folder a file is in says what it holds: ``…/events/a.jsonl``, ``…/users/profiles/b.jsonl.gz``.

    Raises:
        InvalidRequest: if a path does not exist or does not tell what it holds.
    """
    found = _by_target(paths)
    total = sum(file.size for files in found.values() for file in files)
    with exclusively(settings, store, ledger, now or utc_now(), _counting(progress, total)) as run:
        for target, files in found.items():
            while files:
                count = cut_batch(files, settings.batch_bytes)
                run.take_paths(target, files[:count], now or utc_now())
                files = files[count:]
    return run.report


def replay(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    batch_id: str | None = None,
    *,
    now: datetime | None = None,
    read: Callable[[int], None] | None = None,
) -> Report:
    """Take the quarantined lines of a batch again, or of all batches.

    Lines that are no longer rejected leave the quarantine; the others stay there, under the replay's batch.

    Args:
        read: told the bytes of each piece that was read.

    Raises:
        InvalidRequest: if the batch has no lines in quarantine.
    """
    with exclusively(settings, store, ledger, now or utc_now(), read) as run:
        entries = quarantine.list_quarantined(settings)
        if batch_id is not None:
            entries = [quarantine.find(settings, batch_id)]
        for entry in entries:
            run.take_quarantined(entry, now or utc_now())
    return run.report


def _counting(progress: Progress | None, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done = 0

    def count(read: int) -> None:
        nonlocal done
        done += read
        progress(done, max(done, total))

    return count


def _by_target(paths: Sequence[Path]) -> dict[str, list[WaitingFile]]:
    files: dict[str, dict[Path, WaitingFile]] = {}
    for given in paths:
        path = given.absolute()
        if not path.exists():
            raise InvalidRequest(f"PATH is {given}; it must be an existing file or directory", field="PATH")
        inside = [path] if path.is_file() else _files_below(path)
        for file in inside:
            files.setdefault(_target_of(file), {})[file] = WaitingFile(file, file.stat().st_size)
    return {
        target: [files[target][path] for path in sorted(files[target], key=lambda path: (path.name, path))]
        for target in TARGETS
        if target in files
    }


def _files_below(directory: Path) -> list[Path]:
    return [
        path
        for path in directory.rglob("*")
        if path.is_file() and not any(map(left_alone, path.relative_to(directory).parts))
    ]


def _target_of(file: Path) -> str:
    name, above = file.parent.name, file.parent.parent.name
    for target in (f"{above}/{name}", name):
        if target in TARGETS:
            return target
    raise InvalidRequest(
        f"PATH is {file}; the folder of a file must be one of {', '.join(TARGETS)}", field="PATH"
    )
