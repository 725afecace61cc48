"""Whatever comes, in whatever order, a consumer that follows the messages holds the rows of the store, each
once: one of a feed in full, one of increments."""

import gzip
import json
import shutil
import tempfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from export_pipeline.delivery.links import HmacSigner, followed
from export_pipeline.delivery.onefile import assembled
from export_pipeline.delivery.payloads import payload
from export_pipeline.delivery.recurring import create
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import export_day, verify
from export_pipeline.exports.scheduled import queue_due
from export_pipeline.exports.service import clear, run_job
from export_pipeline.ledger import Batch, Counts, Ledger
from export_pipeline.ledger.attempts import Outcome
from export_pipeline.operations.delivered import restate, stale_deliveries
from export_pipeline.privacy.erasing import erase_now
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.privacy.restating import removed_events
from export_pipeline.settings import load, variable
from export_pipeline.store import Store
from export_pipeline.store.maintenance import compact_day
from export_pipeline_tests.rows import row, table

TABLE = DATA_TYPES["events"].table
BEGIN = datetime(2026, 11, 23, 5, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MOST_DAYS = 4
"""Fewer than exports are kept for."""
URL = "http://127.0.0.1:9/"
LONG = 100
"""Examples from which on a failure is made small, which takes minutes."""
AGO = st.integers(1, 4)
FATES = {"taken": None, "unanswered": "no answer within 30 s", "unreachable": "no connection: refused"}


class Consumer:
    """Holds of each export what the newest message about it links to; a message seen before says nothing."""

    def __init__(self) -> None:
        self.held: dict[str, list[str]] = {}
        self.days: set[date] = set()
        self._seen: set[str] = set()

    @property
    def rows(self) -> Counter[str]:
        return Counter(event_id for ids in self.held.values() for event_id in ids)

    def take(self, following: "Following", message_id: str, body: dict[str, Any]) -> None:
        if message_id in self._seen:
            return
        self._seen.add(message_id)
        data = body["data"]
        if body["event"] == "user.erased":
            gone = {i for line in following.lines(data["removedEventsUrl"]) for i in line["eventIds"]}
            for export_id, ids in self.held.items():
                self.held[export_id] = [each for each in ids if each not in gone]
            return
        assert body["event"] in ("export.ready", "export.restated")
        lines = following.lines(data["downloadUrl"])
        assert len(lines) == data["rowCount"]
        self.held[data["exportId"]] = [line["eventId"] for line in lines]
        self.days.add(date.fromisoformat(data["dateRange"]["start"]))


class Following(RuleBasedStateMachine):
    """``stored`` is what was committed and not erased: the person and the day of each event.

    A batch that is open keeps others of its data type from being taken, as ingest does.
    """

    home = Path(tempfile.gettempdir()) / "unset"
    made: Path | None = None

    def __init__(self) -> None:
        super().__init__()
        cls = type(self)
        if cls.made is None:
            # The store's tables know where they lie, so what is made once is copied to where it was.
            cls.home = Path(tempfile.mkdtemp(prefix="following-")) / "home"
            self.open_deployment()
            self.begin_feeds()
            self.ledger._engine.dispose()
            cls.made = shutil.copytree(cls.home, cls.home.with_name("made"))
        shutil.rmtree(cls.home, ignore_errors=True)
        shutil.copytree(cls.made, cls.home)
        self.open_deployment()
        self.now, self.number = BEGIN, 0
        self.stored: dict[str, tuple[str, date]] = {}
        self.erased: set[str] = set()
        self.people = [f"user_{n:08d}" for n in range(1, 6)]
        self.slow: tuple[Batch, int] | None = None
        names = {schedule.webhook_id: schedule.mode for schedule in self.ledger.schedules.list()[0]}
        self.consumers = {webhook_id: Consumer() for webhook_id in names}
        self.modes = {mode: self.consumers[webhook_id] for webhook_id, mode in names.items()}

    def open_deployment(self) -> None:
        given = {"home": str(self.home), "workers": "1", "webhook_allow": URL.rstrip("/")}
        self.settings = load({variable(name): value for name, value in given.items()})
        self.store, self.ledger = Store(self.settings), Ledger(self.settings)
        self.signer = HmacSigner(self.settings)

    def begin_feeds(self) -> None:
        for mode in ("full", "incremental"):
            asked = {"frequency": "daily", "mode": mode, "delivery": {"url": URL + mode}}
            create(self.settings, self.ledger, asked, BEGIN - 5 * HOUR, created_by="command")
        self.now = BEGIN
        self.make_due()

    def make_due(self) -> None:
        queue_due(self.settings, self.store, self.ledger, self.now, lambda _: ())
        for job in self.ledger.jobs.open(self.now):
            run_job(self.settings, self.store, self.ledger, job.id, 1, clock=lambda: self.now)

    def lines(self, url: str) -> list[dict[str, Any]]:
        parts = urlsplit(url)
        link_id, name = unquote(parts.path).removeprefix("/v1/downloads/").split("/", 1)
        signed = {key: value for key, (value,) in parse_qs(parts.query).items()}
        self.signer.check(link_id, name, signed["expires"], signed["signature"], self.now)
        if link_id.startswith("era_"):
            file = removed_events(self.settings, link_id)
            content = b"".join(file.read(0, file.length))
        else:
            file = assembled(followed(self.settings, self.ledger, link_id, self.now)[1], name)
            content = gzip.decompress(b"".join(file.read(0, file.length)))
        return [json.loads(line) for line in content.splitlines()]

    def take_batch(self) -> Batch:
        return self.ledger.take_batch("events", "landing", (), self.now)

    def commit(self, batch: Batch, ago: int) -> None:
        at = datetime.combine(self.now.date() - ago * DAY, BEGIN.timetz()) - 4 * HOUR
        rows = []
        for person in self.people[:3]:
            self.number += 1
            rows.append(
                row(
                    self.number,
                    userId=person,
                    timestamp=at + timedelta(seconds=self.number),
                    receivedAt=self.now,
                    eventId=f"e{self.number}",
                    batchSequence=batch.sequence,
                )
            )
        self.store.append(TABLE, [table(rows)], {"batch": batch.id})
        counts = Counts(received=len(rows), accepted=len(rows))
        self.ledger.commit_batch(batch.id, counts, {at.date(): len(rows)}, self.now)
        self.stored |= {each["eventId"]: (each["userId"], at.date()) for each in rows}

    @precondition(lambda self: self.slow is None)
    @rule(ago=AGO)
    def land(self, ago: int) -> None:
        self.commit(self.take_batch(), ago)

    @precondition(lambda self: self.slow is None)
    @rule(ago=AGO)
    def begin_slowly(self, ago: int) -> None:
        self.slow = self.take_batch(), ago

    @precondition(lambda self: self.slow is not None)
    @rule()
    def end_slowly(self) -> None:
        assert self.slow is not None
        (batch, ago), self.slow = self.slow, None
        self.commit(batch, ago)

    @rule(ago=AGO)
    def compact(self, ago: int) -> None:
        compact_day(self.settings, self.store, TABLE, self.now.date() - ago * DAY)

    @rule(ago=AGO)
    def export_a_day(self, ago: int) -> None:
        export_day(
            "events", "jsonl", self.now.date() - ago * DAY, settings=self.settings, store=self.store,
            ledger=self.ledger, now=self.now,
        )  # fmt: skip

    @precondition(lambda self: self.now - BEGIN < MOST_DAYS * DAY)
    @rule()
    def tomorrow(self) -> None:
        self.now = datetime.combine(self.now.date() + DAY, BEGIN.timetz())
        self.make_due()

    @rule()
    def restate_what_is_due(self) -> None:
        self.now += HOUR / 2
        for stale in list(stale_deliveries(self.settings, self.ledger, self.now)):
            if stale.due_at <= self.now:
                restate(self.settings, self.store, self.ledger, stale.job_id, now=self.now)
        clear(self.settings, self.ledger, self.now)

    @precondition(lambda self: self.slow is None and len(self.people) > 2)
    @rule()
    def erase(self) -> None:
        person = self.people.pop(0)
        erase_now(
            self.settings, self.store, self.ledger,
            lambda: request_erasures(self.ledger, [person], now=self.now, created_by="command"),
            clock=lambda: self.now,
        )  # fmt: skip
        self.erased |= {event_id for event_id, (whose, _) in self.stored.items() if whose == person}
        self.stored = {event_id: of for event_id, of in self.stored.items() if of[0] != person}

    @rule(fate=st.sampled_from(list(FATES)))
    def deliver(self, fate: str) -> None:
        self.now += timedelta(minutes=1)
        for claimed in self.ledger.attempts.turn([], self.now, 9, {}, 9)[0]:
            message, again = claimed.message, None if fate == "taken" else self.now + HOUR
            if fate != "unreachable":
                body = payload(self.settings, self.ledger, message, self.now)
                self.consumers[message.webhook_id].take(self, message.id, body)
            outcome = Outcome(claimed, fate == "taken", self.now, 0, None, "", FATES[fate], again)
            self.ledger.attempts.turn([outcome], self.now, 0, {}, 0)

    @invariant()
    def no_increment_has_a_row_of_another(self) -> None:
        rows = self.modes["incremental"].rows
        assert not rows or max(rows.values()) == 1
        assert rows.keys() <= self.stored.keys() | self.erased

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.check()
        finally:
            self.ledger._engine.dispose()

    def come_to_rest(self) -> None:
        if self.slow is not None:
            self.end_slowly()
        self.now = datetime.combine(self.now.date() + DAY, BEGIN.timetz())
        self.make_due()
        for _ in range(3):
            self.now += 2 * HOUR
            self.deliver("taken")
            self.restate_what_is_due()
        assert list(stale_deliveries(self.settings, self.ledger, self.now)) == []
        while self.ledger.messages.waiting(self.now)[0]:
            self.deliver("taken")
        assert self.ledger.messages.waiting(self.now + DAY) == (0, None)

    def check(self) -> None:
        full, increments = self.modes["full"], self.modes["incremental"]
        assert increments.rows == Counter(list(self.stored))
        delivered = [event_id for event_id, (_, day) in self.stored.items() if day in full.days]
        assert full.rows == Counter(delivered)
        assert verify(self.settings.exports).problems == ()


def _run(most: int, steps: int) -> None:
    try:
        run_state_machine_as_test(
            Following,
            settings=examples(
                max_examples=most,
                stateful_step_count=steps,
                deadline=None,
                phases=[Phase.reuse, Phase.generate] if most < LONG else list(Phase),
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
    finally:
        shutil.rmtree(Following.home.parent, ignore_errors=True)
        Following.made = None


def test_a_consumer_of_messages_holds_what_the_store_holds() -> None:
    _run(4, 12)


@pytest.mark.soak
def test_a_consumer_of_messages_holds_what_the_store_holds_however_long() -> None:
    _run(200, 40)
