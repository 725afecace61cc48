"""Whatever comes, in whatever order, a consumer that follows the cursors holds each row once."""

import gzip
import json
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import Manifest, export_day, parse_request, write_export
from export_pipeline.ledger import Batch, Counts, Ledger
from export_pipeline.settings import load
from export_pipeline.store import Store
from export_pipeline.store.maintenance import compact_day
from export_pipeline_tests.exports.conftest import NOW
from export_pipeline_tests.exports.encoded import DAY
from export_pipeline_tests.rows import NOON, row, table

TABLE = DATA_TYPES["events"].table
DAYS = st.integers(0, 3)


class Consumer(RuleBasedStateMachine):
    """The store is what was committed; ``held`` is what the consumer loaded, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.settings = load(
            {"EXPORT_PIPELINE_HOME": str(self.home / "home"), "EXPORT_PIPELINE_WORKERS": "1"}
        )
        self.store, self.ledger = Store(self.settings), Ledger(self.settings)
        self.stored: set[str] = set()
        self.held: list[str] = []
        self.cursors: list[str] = []
        self.open: tuple[Batch, int] | None = None
        self.number = 0

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    def commit(self, batch: Batch, ago: int) -> None:
        at = NOON - timedelta(days=ago)
        numbers = range(self.number, self.number + 2)
        self.number += 2
        rows = [
            row(n, timestamp=at + timedelta(seconds=n), eventId=f"e{n}", batchSequence=batch.sequence)
            for n in numbers
        ]
        self.store.append(TABLE, [table(rows)], {"batch": batch.id})
        days = {at.date(): len(rows)}
        self.ledger.commit_batch(batch.id, Counts(received=len(rows), accepted=len(rows)), days, NOW)
        self.stored |= {str(each["eventId"]) for each in rows}

    def take(self) -> Batch:
        return self.ledger.take_batch("events", "landing", (), NOW)

    @rule(ago=DAYS)
    def land(self, ago: int) -> None:
        if self.open is None:
            self.commit(self.take(), ago)

    @precondition(lambda self: self.open is None)
    @rule(ago=DAYS)
    def begin_slowly(self, ago: int) -> None:
        self.open = self.take(), ago

    @precondition(lambda self: self.open is not None and self.cursors)
    @rule(ago=DAYS)
    def overtake(self, ago: int) -> None:
        self.commit(self.take(), ago)

    @precondition(lambda self: self.open is not None)
    @rule()
    def end_slowly(self) -> None:
        assert self.open is not None
        (batch, ago), self.open = self.open, None
        self.commit(batch, ago)

    @rule(ago=DAYS)
    def compact(self, ago: int) -> None:
        compact_day(self.settings, self.store, TABLE, DAY - timedelta(days=ago))

    @precondition(lambda self: self.open is None)
    @rule(ago=DAYS)
    def restate(self, ago: int) -> None:
        self.daily(ago)

    @precondition(lambda self: self.open is None and not self.cursors)
    @rule()
    def begin_with_daily_exports(self) -> None:
        for ago in range(4):
            self.load(self.daily(ago))
            self.commit(self.take(), ago)
            self.commit(self.take(), 3 - ago)

    @precondition(lambda self: self.cursors)
    @rule()
    def increment(self) -> None:
        request = parse_request({"cursor": self.cursors}, now=NOW, settings=self.settings)
        made = write_export(
            request, self.home / "out", settings=self.settings, store=self.store, ledger=self.ledger,
            now=NOW, overwrite=True,
        )  # fmt: skip
        self.cursors.clear()
        self.load((made, self.home / "out"))

    def daily(self, ago: int) -> tuple[Manifest, Path]:
        made = export_day(
            "events", "jsonl", DAY - timedelta(days=ago), settings=self.settings, store=self.store,
            ledger=self.ledger, now=NOW,
        )  # fmt: skip
        return made.manifest, made.path

    def load(self, export: tuple[Manifest, Path]) -> None:
        manifest, folder = export
        for file in manifest.files:
            lines = gzip.decompress((folder / file.name).read_bytes()).splitlines()
            self.held += [json.loads(line)["eventId"] for line in lines]
        assert manifest.cursor is not None
        self.cursors.append(manifest.cursor)

    @invariant()
    def holds_nothing_twice(self) -> None:
        assert len(self.held) == len(set(self.held))
        assert set(self.held) <= self.stored

    @precondition(lambda self: self.open is None and self.cursors)
    @rule()
    def holds_everything_after_an_increment(self) -> None:
        self.increment()
        assert set(self.held) == self.stored


TestConsumer = Consumer.TestCase
TestConsumer.settings = examples(max_examples=8, stateful_step_count=12, deadline=None)
