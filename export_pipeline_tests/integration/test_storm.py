"""Everything side by side while processes are killed: nothing lost, nothing twice, every file right."""

import gzip
import itertools
import json
import multiprocessing.connection
import os
import random
import signal
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from multiprocessing.context import ForkServerProcess as Process
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from export_pipeline import objects
from export_pipeline.days import utc_now
from export_pipeline.errors import NotFound
from export_pipeline.exports import live_daily, verify
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.erasures import COMPLETE
from export_pipeline.objects import AnyPath
from export_pipeline.settings import load
from export_pipeline_tests import processes
from export_pipeline_tests.integration import worker
from export_pipeline_tests.integration.contents import held

DAYS = 3
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
TYPES = {"events": "like", "quality": "rebuffer", "ads": "click"}
FAULT_POINTS = {
    "ingest": (
        "ingest.taken",
        "ingest.claimed",
        "ingest.staged",
        "ingest.quarantined",
        "ingest.stored",
        "ingest.marked",
        "ingest.committed",
    ),
    "backfill": ("export.events", "export.written", "export.sealed", "export.published"),
    "export": ("export.written", "export.sealed"),
    "maintenance": ("maintenance.merged", "maintenance.compacted", "maintenance.expired"),
}
AT_ONCE = (
    *("ingest", "ingest.2", "backfill", "erasure", "maintenance"),
    *("export", "export.2", "request", "request.2"),
)
"""What goes on side by side: a kind of work, and a number if there are several."""
USERS = 50


@dataclass
class Landed:
    """What the phones sent: every line, and the ids that must be stored with whose they are, by type, day."""

    lines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TYPES, 0))
    cut: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TYPES, 0))
    stored: dict[tuple[str, date], dict[str, str]] = field(default_factory=dict)

    def ids(self, data_type: str, day: date | None = None, without: Collection[str] = ()) -> set[str]:
        """The ids of the rows of everybody but some users; default: of all days."""
        return {
            event_id
            for (kind, of), rows in self.stored.items()
            for event_id, user in rows.items()
            if kind == data_type and day in (None, of) and user not in without
        }

    def batch(self, data_type: str, days: list[date], numbers: range, chance: random.Random) -> bytes:
        lines = []
        for number in numbers:
            day = chance.choice(days)
            event_id = f"evt_{number:012d}"
            at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(
                milliseconds=chance.randrange(86_400_000)
            )
            row = {
                "event": TYPES[data_type],
                "contentId": "vid_1",
                "userId": worker.user(number % USERS),
                "timestamp": at.isoformat().replace("+00:00", "Z"),
                "receivedAt": at.isoformat().replace("+00:00", "Z"),
                "deviceType": "web",
                "data": {"number": number},
                "eventId": event_id,
            }
            line = json.dumps(row)
            lines.append(line)
            self.stored.setdefault((data_type, day), {})[event_id] = str(row["userId"])
            if number % 10 == 0:
                lines.append(line)
            if number % 17 == 0:
                lines.append(line[: len(line) // 2])
                self.cut[data_type] += 1
        self.lines[data_type] += len(lines)
        return ("\n".join(lines) + "\n").encode()


class Storm:
    """Processes that start again when they end, and a landing directory that fills."""

    def __init__(self, environment: dict[str, str], out: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.environment, self.out = environment, out
        self.settings = load(environment)
        self.home = Path(environment["EXPORT_PIPELINE_HOME"])
        end = utc_now().date() - timedelta(days=1)
        self.days = [end - timedelta(days=n) for n in reversed(range(DAYS))]
        self.landed = Landed()
        self.failures: list[str] = []
        self.runs = dict.fromkeys((*FAULT_POINTS, *AT_ONCE), 0)
        self.kills = 0
        self.running: dict[str, Process] = {}
        # Starting a process asks for the exit status of all others, and a status can be read only once.
        self._status = threading.Lock()
        self._over = threading.Event()
        self._sent = 0

    def start(self, work: str, fault_point: str = "") -> Process:
        environ = {
            **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
            **self.environment,
            "EXPORT_PIPELINE_JOBS_PER_DAY": "1000000",
            "EXPORT_PIPELINE_WINDOW_ROWS": "500",
            "EXPORT_PIPELINE_COMPACTION_FILES": "1",
            "EXPORT_PIPELINE_SNAPSHOT_HOURS": "0.0005",
            "EXPORT_PIPELINE_FAULT_POINT": fault_point,
        }
        kind, _, number = work.partition(".")
        out = self.out.with_name(f"{self.out.name}{number}")
        given = (kind, self.days[0], self.days[-1], out, environ, self._log(work))
        with self._status:
            return processes.start(worker.run, *given)

    def finish(self, work: str, process: Process) -> int | None:
        multiprocessing.connection.wait([process.sentinel])
        with self._status:
            process.join()
        self.runs[work] += 1
        if process.exitcode not in (0, -signal.SIGKILL):
            self.failures.append(f"{work} {process.exitcode}: {self._log(work).read_text()[-2000:]}")
        return process.exitcode

    def _log(self, work: str) -> Path:
        return self.home.parent / f"{work}.log"

    def send(self, rows: int) -> None:
        for data_type in TYPES:
            content = self.landed.batch(
                data_type, self.days, range(self._sent, self._sent + rows), self.chance
            )
            if self._sent // rows % 2:
                content = gzip.compress(content)
            # Names are used again, so that a file lands under the name of one that was just taken.
            folder = self.settings.landing / data_type
            free = (folder / f"batch-{number}.jsonl" for number in itertools.count())
            objects.write(next(path for path in free if not path.exists()), content)
        self._sent += rows

    def rage(self, seconds: float, kill_every: float, works: Sequence[str] = tuple(FAULT_POINTS)) -> None:
        threads = [threading.Thread(target=self._again_and_again, args=(work,)) for work in works]
        threads.append(threading.Thread(target=self._keep_sending))
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pause, left = self.chance.uniform(0.2, 2 * kill_every), deadline - time.monotonic()
            time.sleep(max(0, min(pause, left)))
            if pause > left:
                break
            process = self.running.get(self.chance.choice(works))
            with self._status:
                if process and process.is_alive():
                    process.kill()
                    self.kills += 1
        self._over.set()
        for thread in threads:
            thread.join()

    def _again_and_again(self, work: str) -> None:
        while not self._over.is_set():
            self.running[work] = self.start(work)
            self.finish(work, self.running[work])

    def _keep_sending(self) -> None:
        while not self._over.wait(0.3):
            if not any(objects.files_below(self.settings.landing)):
                self.send(300)

    def calm(self, works: Sequence[str] = ("ingest", "maintenance", "backfill", "export")) -> None:
        """One undisturbed round of everything."""
        for work in works:
            assert self.finish(work, self.start(work)) == 0, self.failures

    def erased(self) -> list[str]:
        """The users whose erasure is complete; none that was asked for has failed."""
        ledger, asked = Ledger(self.settings), list[str]()
        for number in itertools.count():
            try:
                request = ledger.erasures.get(worker.request(number))
            except NotFound:
                return asked
            assert request.state == COMPLETE, request.error_message
            asked.append(worker.user(number))
        return asked


@pytest.fixture
def storm(environment: dict[str, str], tmp_path: Path) -> Iterator[Storm]:
    made = Storm(environment, tmp_path / "out", seed=4)
    yield made
    for process in made.running.values():
        process.kill()


def rows_in(folder: AnyPath) -> list[dict[str, Any]]:
    parts = sorted(folder.glob("part-*.jsonl.gz"), key=str)
    return [json.loads(line) for part in parts for line in gzip.decompress(part.read_bytes()).splitlines()]


def check(storm: Storm, outs: Sequence[str] = ("",)) -> None:
    """Every landed line is accounted for, every row exported once, every export right, nothing left over."""
    assert storm.failures == []
    settings = storm.settings
    ledger, erased = Ledger(settings), storm.erased()
    totals = ledger.totals()
    for data_type, lines in storm.landed.lines.items():
        counts, _ = totals[data_type]
        assert counts.received == lines
        assert counts.rejected == storm.landed.cut[data_type]
        assert counts.add_up()
        everybody, others = storm.landed.ids(data_type), storm.landed.ids(data_type, without=erased)
        assert len(others) <= counts.accepted <= len(everybody) <= counts.accepted + counts.suppressed
        assert erased or not counts.suppressed
    assert ledger.open_batches() == []
    for data_type, day in storm.landed.stored:
        live = live_daily(settings, data_type, "jsonl", day)
        assert live is not None
        ids = [row["eventId"] for row in rows_in(live.path / data_type)]
        assert len(ids) == len(set(ids))
        assert set(ids) == storm.landed.ids(data_type, day, erased)
    made = [storm.out.with_name(f"{storm.out.name}{number}") for number in outs]
    for out, data_type in itertools.product(made, TYPES):
        ids = [row["eventId"] for row in rows_in(out / data_type)]
        assert sorted(ids) == sorted(storm.landed.ids(data_type, without=erased))
    for place in (settings.exports, *made):
        report = verify(place)
        assert report.ok, report.problems
    leftovers = [p for p in settings.tmp.rglob("*") if p.is_file() and p.parent.name != "locks"]
    assert leftovers == []
    assert list(objects.files_below(settings.landing)) == []
    beside = [p.name for p in storm.out.parent.iterdir() if p not in (storm.home, *made)]
    assert [name for name in beside if not name.endswith(".log")] == []


def check_at_once(storm: Storm, copies: Path) -> None:
    """The same after everything at once; what was asked for is made, and of the erased nothing is left."""
    check(storm, ("", "2"))
    ledger, now = Ledger(storm.settings), utc_now()
    assert not ledger.jobs.open(now)
    assert {job.state for job in ledger.jobs.list(now, limit=100)[0]} == {"complete"}
    erased = storm.erased()
    assert erased
    places = held(storm.settings, erased, copies)
    assert [place for place in places if "quarantine/" not in place] == []
    # Nobody can say whose a damaged line is: one that comes after the erasure is kept as it came.
    taken = {batch.id: batch.taken_at for batch in ledger.last_batches(1_000_000)}
    asked = {user: ledger.erasures.get(worker.request(n)).created_at for n, user in enumerate(erased)}
    for path, _, _ in objects.files_below(storm.settings.quarantine):
        lines = str(pq.read_table(objects.for_arrow(path), partitioning=None)["raw"].to_pylist())
        assert [user for user in erased if user in lines and taken[path.stem] < asked[user]] == []


def test_a_process_killed_at_any_stage_loses_nothing_and_doubles_nothing(storm: Storm) -> None:
    storm.send(400)
    storm.calm()
    for work, points in FAULT_POINTS.items():
        for number, point in enumerate(points):
            # A backfill that died has many exports left to make, and an export is made each time.
            if work in ("ingest", "maintenance") or not number:
                storm.send(60)
                if work != "ingest":
                    assert storm.finish("ingest", storm.start("ingest")) == 0, storm.failures
            assert storm.finish(work, storm.start(work, point)) == -signal.SIGKILL, point
    storm.calm()
    check(storm)


@pytest.mark.soak
@pytest.mark.backends("postgres", "s3+postgres+dask")
def test_two_minutes_of_everything_with_random_kills(storm: Storm) -> None:
    storm.rage(SOAK_SECONDS, kill_every=1.0)
    storm.calm()
    check(storm)
    assert storm.kills > SOAK_SECONDS / 6
    assert all(storm.runs[work] > 3 for work in FAULT_POINTS), storm.runs


@pytest.mark.soak
@pytest.mark.backends("s3+postgres", "s3+postgres+dask")
def test_two_minutes_of_everything_at_once(storm: Storm, tmp_path_factory: pytest.TempPathFactory) -> None:
    storm.rage(SOAK_SECONDS, 1e9, AT_ONCE)
    storm.calm(("ingest", "backfill", "export", "export.2"))
    check_at_once(storm, tmp_path_factory.mktemp("copies"))
    # Beside eight others on two cores, an erasure from S3 takes about as long as the storm.
    assert all(storm.runs[work] > (work != "erasure") for work in AT_ONCE), storm.runs


def test_everything_at_once_is_right_without_kills(
    storm: Storm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    storm.rage(8, 1e9, AT_ONCE)  # each ends what it has begun
    storm.calm(("ingest", "backfill", "export", "export.2"))
    check_at_once(storm, tmp_path_factory.mktemp("copies"))
