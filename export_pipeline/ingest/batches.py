"""The life of a batch: taken, read, judged, stored, ended; and what is done about one that was cut short.

A batch has one moment at which it happens: the commit of the store, which carries its id, counts and days.
What comes before leaves nothing visible and is done again with the same id, sequence number and instant, so
with the same rows; what comes after is finished from what the commit carries. All of it runs under one lock.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime, timedelta

from export_pipeline import faults, secrets
from export_pipeline.errors import DamagedData, TransientError
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.files import scratch_directory
from export_pipeline.ingest import landing, quarantine
from export_pipeline.ingest.landing import WaitingFile
from export_pipeline.ingest.lines import Chunk, LineReader
from export_pipeline.ingest.quarantine import Quarantined
from export_pipeline.ingest.report import Report
from export_pipeline.ingest.staging import Staging
from export_pipeline.ingest.targets import validation_of
from export_pipeline.ledger import Batch, Counts, Ledger
from export_pipeline.ledger.suppressions import KEY
from export_pipeline.objects import remove_file
from export_pipeline.outages import answering
from export_pipeline.ranges import Changed
from export_pipeline.settings import Settings
from export_pipeline.storage_full import needing_room
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF

LOCK = "ingest"
LANDING, PATHS = "landing", "paths"
"""Where a batch came from: files that ingest claims and removes, or files that are kept."""

SCRATCH = "ingest"
_ATTEMPTS = 5


class Ingest:
    """One run of ingest; make it with ``exclusively``."""

    def __init__(
        self, settings: Settings, store: Store, ledger: Ledger, read: Callable[[int], None] | None = None
    ) -> None:
        """Prepare a run; ``read`` is told the bytes of each piece of a file that was read."""
        self._settings = settings
        self._store = store
        self._ledger = ledger
        self._read = read
        self._unusable: dict[str, DamagedData] = {}
        self.report = Report()

    def is_blocked(self, target: str) -> bool:
        """Whether a batch of ``target`` could not be read; until it can, no later one is taken."""
        return target in self._unusable

    def raise_unusable(self) -> None:
        """Raise what kept batches from being read, if anything did, once all others are done."""
        for error in self._unusable.values():
            raise error

    @contextmanager
    def _keeping_apart(self, target: str) -> Iterator[None]:
        # What cannot be read of one target must not keep the others from being taken.
        try:
            yield
        except DamagedData as error:
            self._unusable.setdefault(target, error)

    def _check_free(self, target: str) -> None:
        if self.is_blocked(target):
            raise self._unusable[target]

    def take_landing(self, target: str, files: Sequence[str], now: datetime) -> None:
        """Take waiting files of ``target`` as a batch and remove them once it is stored."""
        batch = self._ledger.take_batch(target, LANDING, files, now)
        faults.reach(self._settings, "ingest.taken")
        with self._keeping_apart(target):
            self._run_landing(batch, now)

    def take_paths(self, target: str, files: Sequence[WaitingFile], now: datetime) -> None:
        """Take ``files`` as a batch and keep them."""
        self._check_free(target)
        batch = self._ledger.take_batch(target, PATHS, [file.path.name for file in files], now)
        faults.reach(self._settings, "ingest.taken")
        with self._given_up_on_failure(batch, now):
            self._store_lines(batch, LineReader(files).chunks(), list(map(_shown, files)))
        self._end(batch, now)

    def take_quarantined(self, entry: Quarantined, now: datetime) -> None:
        """Take the lines of ``entry`` again as a batch; those rejected again stay in quarantine with it."""
        path = quarantine.name_of(self._settings, entry.path)
        self._check_free(entry.target)
        batch = self._ledger.take_batch(entry.target, quarantine.REPLAY, [path], now)
        faults.reach(self._settings, "ingest.taken")
        names: list[str] = []
        with self._given_up_on_failure(batch, now):
            self._store_lines(batch, quarantine.chunks(entry.path, names), names)
        self._end(batch, now)

    @contextmanager
    def _given_up_on_failure(self, batch: Batch, now: datetime) -> Iterator[None]:
        # Files that are kept are taken again by another batch, not by this one.
        try:
            yield
        except Exception:
            self._give_up(batch, now)
            raise

    def _give_up(self, batch: Batch, now: datetime) -> None:
        if self._store.committed(TABLE_OF[batch.target], batch.id) is None:
            remove_file(quarantine.path_of(self._settings, batch))
            self._ledger.abandon_batch(batch.id, now)

    def _run_landing(self, batch: Batch, now: datetime) -> None:
        for attempt in range(_ATTEMPTS):
            files = landing.claim(self._settings, batch.target, batch.id, batch.files)
            faults.reach(self._settings, "ingest.claimed")
            try:
                self._store_lines(batch, LineReader(files).chunks(), list(map(_shown, files)))
                break
            except Changed:
                # A file was written again meanwhile, so that it is not this batch's any more.
                if attempt == _ATTEMPTS - 1:
                    raise TransientError(
                        f"files of {batch.target} are written again all the time; "
                        "write each landing file once, under a name of its own"
                    ) from None
        self._end(batch, now)

    def recover(self, now: datetime) -> None:
        """Put right what a run that died left behind."""
        for scratch in self._settings.tmp.glob(f"{SCRATCH}-*"):
            shutil.rmtree(scratch)
        for batch in self._ledger.open_batches():
            if self._store.committed(TABLE_OF[batch.target], batch.id) is not None:
                self._end(batch, now)
            elif batch.source == LANDING:
                with self._keeping_apart(batch.target):
                    self._run_landing(batch, now)
            else:
                self._give_up(batch, now)
        landing.remove_stored(self._settings)

    def _store_lines(self, batch: Batch, chunks: Iterable[Chunk], names: Sequence[str]) -> None:
        settings = self._settings
        with self._staging(batch) as staging:
            staging.fill(chunks, self._read)
            self._settle(batch.target, staging)
            faults.reach(settings, "ingest.staged")
            quarantine.write(settings, batch, staging.rejected(names))
            faults.reach(settings, "ingest.quarantined")
            days = staging.days() if batch.target in DATA_TYPES else {}
            self._store.append(
                TABLE_OF[batch.target],
                staging.rows(batch.sequence),
                {
                    "batch": batch.id,
                    "counts": json.dumps(asdict(staging.counts())),
                    "days": json.dumps({day.isoformat(): rows for day, rows in days.items()}),
                },
            )
        faults.reach(settings, "ingest.stored")

    @contextmanager
    def _staging(self, batch: Batch) -> Iterator[Staging]:
        judge = validation_of(batch.target, batch.taken_at, self._settings.raw_retention_days)
        with scratch_directory(self._settings.tmp, SCRATCH) as scratch:
            staging = Staging(judge, scratch)
            try:
                yield staging
            finally:
                staging.close()

    def _settle(self, target: str, staging: Staging) -> None:
        suppressions = self._ledger.suppressions()
        if suppressions.num_rows:
            staging.suppress(suppressions, secrets.key(self._settings, KEY))
        staging.settle_repeated()
        table = TABLE_OF[target]
        if target in DATA_TYPES:
            for start, end in _runs(list(staging.days())):
                staging.settle_stored(self._store.files(table, start, end))
        else:
            staging.settle_stored(self._store.files(table))

    def _end(self, batch: Batch, now: datetime) -> None:
        carried = self._store.committed(TABLE_OF[batch.target], batch.id)
        assert carried is not None
        counts = Counts(**json.loads(carried["counts"]))
        days = {date.fromisoformat(day): rows for day, rows in json.loads(carried["days"]).items()}
        if batch.source == quarantine.REPLAY:
            remove_file(quarantine.replayed(self._settings, batch))
        landing.mark_stored(self._settings, batch.target, batch.id)
        faults.reach(self._settings, "ingest.marked")
        self._ledger.commit_batch(batch.id, counts, days, now)
        faults.reach(self._settings, "ingest.committed")
        landing.remove_stored(self._settings)
        self.report.add(batch, counts, days)


@contextmanager
def exclusively(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    now: datetime,
    read: Callable[[int], None] | None = None,
) -> Iterator[Ingest]:
    """A run of ingest while no other one runs, after what a dead one left was put right.

    Raises:
        DamagedData: at the end, if files of a target could not be read; the other targets are done by then.
        StorageFull: if no room is left, in here or in the block.
    """
    with answering(), needing_room("the state root", "run ingest again, it loses nothing"), ledger.lock(LOCK):
        run = Ingest(settings, store, ledger, read)
        run.recover(now)
        yield run
        run.raise_unusable()


def _shown(file: WaitingFile) -> str:
    """The name of ``file`` as text; a name may hold any bytes."""
    return os.fsencode(file.path.name).decode("utf-8", "backslashreplace")


def _runs(days: Sequence[date]) -> list[tuple[date, date]]:
    """``days``, sorted, as ranges without gaps."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs
