"""Everything side by side while processes are killed: nothing lost, nothing twice, every file right."""

import gzip
import itertools
import json
import multiprocessing
import multiprocessing.context
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.days import utc_now
from export_pipeline.exports import verify
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load
from export_pipeline_tests.integration import worker

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([worker.__name__])
Process = multiprocessing.context.ForkServerProcess

DAYS = 3
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


@dataclass
class Landed:
    """What the phones sent: every line, and the ids that must be stored, by data type and day."""

    lines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TYPES, 0))
    stored: dict[tuple[str, date], set[str]] = field(default_factory=dict)

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
                "userId": f"user_{number % 50:08d}",
                "timestamp": at.isoformat().replace("+00:00", "Z"),
                "receivedAt": at.isoformat().replace("+00:00", "Z"),
                "deviceType": "web",
                "data": {"number": number},
                "eventId": event_id,
            }
            line = json.dumps(row)
            lines.append(line)
            self.stored.setdefault((data_type, day), set()).add(event_id)
            if number % 10 == 0:
                lines.append(line)
            if number % 17 == 0:
                lines.append(line[: len(line) // 2])
        self.lines[data_type] += len(lines)
        return ("\n".join(lines) + "\n").encode()


class Storm:
    """Processes that start again when they end, and a landing directory that fills."""

    def __init__(self, environment: dict[str, str], out: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.environment, self.out = environment, out
        self.home = Path(environment["EXPORT_PIPELINE_HOME"])
        end = utc_now().date() - timedelta(days=1)
        self.days = [end - timedelta(days=n) for n in reversed(range(DAYS))]
        self.landed = Landed()
        self.failures: list[str] = []
        self.runs = dict.fromkeys(FAULT_POINTS, 0)
        self.kills = 0
        self.running: dict[str, Process] = {}
        self._over = threading.Event()
        self._sent = 0

    def start(self, work: str, fault_point: str = "") -> Process:
        environ = {
            **self.environment,
            "EXPORT_PIPELINE_WINDOW_ROWS": "500",
            "EXPORT_PIPELINE_COMPACTION_FILES": "1",
            "EXPORT_PIPELINE_SNAPSHOT_HOURS": "0.0005",
            "EXPORT_PIPELINE_FAULT_POINT": fault_point,
        }
        given = (work, self.days[0], self.days[-1], self.out, environ, self._log(work))
        process = PROCESSES.Process(target=worker.run, args=given)
        process.start()
        return process

    def finish(self, work: str, process: Process) -> int | None:
        process.join()
        self.runs[work] += 1
        if process.exitcode not in (0, -signal.SIGKILL):
            self.failures.append(f"{work} {process.exitcode}: {self._log(work).read_text()[-2000:]}")
        return process.exitcode

    def _log(self, work: str) -> Path:
        return self.home.parent / f"{work}.log"

    def send(self, rows: int) -> None:
        for data_type in TYPES:
            folder = self.home / "landing" / data_type
            folder.mkdir(parents=True, exist_ok=True)
            content = self.landed.batch(
                data_type, self.days, range(self._sent, self._sent + rows), self.chance
            )
            if self._sent // rows % 2:
                content = gzip.compress(content)
            # Names are used again, so that a file lands under the name of one that was just taken.
            free = (folder / f"batch-{number}.jsonl" for number in itertools.count())
            path = next(path for path in free if not path.exists())
            temporary = path.with_name(f"{path.name}.tmp")
            temporary.write_bytes(content)
            temporary.replace(path)
        self._sent += rows

    def rage(self, seconds: float, kill_every: float) -> None:
        threads = [threading.Thread(target=self._again_and_again, args=(work,)) for work in FAULT_POINTS]
        threads.append(threading.Thread(target=self._keep_sending))
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(self.chance.uniform(0.2, 2 * kill_every), deadline - time.monotonic() + 0.1))
            process = self.running.get(self.chance.choice(list(FAULT_POINTS)))
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
            if not any((self.home / "landing").glob("*/batch-*.jsonl")):
                self.send(300)

    def calm(self) -> None:
        """One undisturbed round of everything."""
        for work in ("ingest", "maintenance", "backfill", "export"):
            assert self.finish(work, self.start(work)) == 0, self.failures


@pytest.fixture
def storm(environment: dict[str, str], tmp_path: Path) -> Iterator[Storm]:
    made = Storm(environment, tmp_path / "out", seed=4)
    yield made
    for process in made.running.values():
        process.kill()


def rows_in(folder: Path) -> list[dict[str, Any]]:
    parts = sorted(folder.glob("part-*.jsonl.gz"))
    return [json.loads(line) for part in parts for line in gzip.decompress(part.read_bytes()).splitlines()]


def check(storm: Storm) -> None:
    """Every landed line is accounted for, every row exported once, every export right, nothing left over."""
    settings = load(storm.environment)
    ledger = Ledger(settings)
    totals = ledger.totals()
    for data_type, lines in storm.landed.lines.items():
        counts, _ = totals[data_type]
        assert counts.received == lines
        assert counts.add_up()
        stored = [ids for (kind, _), ids in storm.landed.stored.items() if kind == data_type]
        assert counts.accepted == sum(map(len, stored))
    assert ledger.open_batches() == []
    for (data_type, day), expected in storm.landed.stored.items():
        folder = max(
            (settings.exports / "daily" / data_type / "jsonl" / str(day)).glob("v*"),
            key=lambda path: int(path.name[1:]),
        )
        ids = [row["eventId"] for row in rows_in(folder / data_type)]
        assert len(ids) == len(set(ids))
        assert set(ids) == expected
    for data_type in TYPES:
        days = [ids for (kind, _), ids in storm.landed.stored.items() if kind == data_type]
        ids = [row["eventId"] for row in rows_in(storm.out / data_type)]
        assert sorted(ids) == sorted(set().union(*days))
    for place in (settings.exports, storm.out):
        report = verify(place)
        assert report.ok, report.problems
    leftovers = [p for p in settings.tmp.rglob("*") if p.is_file() and p.parent.name != "locks"]
    assert leftovers == []
    assert [p for p in settings.landing.rglob("*") if p.is_file()] == []
    beside = [p.name for p in storm.out.parent.iterdir() if p not in (storm.home, storm.out)]
    assert [name for name in beside if not name.endswith(".log")] == []
    assert storm.failures == []


def test_a_process_killed_at_any_stage_loses_nothing_and_doubles_nothing(storm: Storm) -> None:
    storm.send(400)
    storm.calm()
    for work, points in FAULT_POINTS.items():
        for point in points:
            storm.send(60)
            if work != "ingest":
                assert storm.finish("ingest", storm.start("ingest")) == 0, storm.failures
            assert storm.finish(work, storm.start(work, point)) == -signal.SIGKILL, point
    storm.calm()
    check(storm)


@pytest.mark.soak
@pytest.mark.backends("postgres")
def test_two_minutes_of_everything_at_once_with_random_kills(storm: Storm) -> None:
    storm.rage(float(os.environ.get("SOAK_SECONDS", "120")), kill_every=1.0)
    storm.calm()
    check(storm)
    assert storm.kills > 20
    assert all(runs > 3 for runs in storm.runs.values()), storm.runs


def test_everything_at_once_is_right_without_kills(storm: Storm) -> None:
    storm.rage(8, kill_every=1e9)
    storm.calm()
    check(storm)
