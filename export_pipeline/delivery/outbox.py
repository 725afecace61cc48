"""Delivering what is due: every message of the outbox whose time has come, side by side, in one pass.

A pass goes on until nothing is due any more. Few messages at a time go to one receiver, so that one that
hangs holds up its own only. What was sent and not noted, because the process died, is sent again under the
same id (contract, section 5).
"""

import asyncio
import ssl
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import OperationalError

from export_pipeline import ids
from export_pipeline.days import utc_now
from export_pipeline.delivery import mail
from export_pipeline.delivery.addresses import destination
from export_pipeline.delivery.letters import letter
from export_pipeline.delivery.payloads import encoded, example, payload
from export_pipeline.delivery.retrying import next_attempt, wish
from export_pipeline.delivery.sending import Answer, Sender
from export_pipeline.delivery.signing import headers, without_signatures
from export_pipeline.errors import Conflict, DamagedData, Gone, InvalidRequest, NotFound, TransientError
from export_pipeline.faults import reach
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.attempts import LEASE, MAIL, Claimed, Outcome
from export_pipeline.ledger.posting import Message
from export_pipeline.ledger.webhooks import ACTIVE, Target
from export_pipeline.settings import Settings

MOST_AT_ONCE = 64
MOST_EACH = 4
"""Messages that go to one receiver at once."""
LONGEST = timedelta(minutes=10)
"""After how long a pass begins with nothing more, so that the next one starts afresh."""

REFUSED_CODES = (401, 403)
GONE_CODE = 410
USER_AGENT = "export-pipeline/1"
_LOOK_SECONDS = 1.0
_GATHER_SECONDS = 0.03
"""How long outcomes are gathered, so that one transaction notes many."""
_LEDGER_TRIES = 3
"""How often a locked ledger is waited for, each time as long as the ledger itself waits."""

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Limits:
    """How much a pass does side by side, and how long it begins with more."""

    at_once: int = MOST_AT_ONCE
    each: int = MOST_EACH
    longest: timedelta = LONGEST


class Courier:
    """Carries messages of one deployment out.

    Args:
        context: which certificates are trusted, of receivers and of the mail server.
        sender: more arguments for ``Sender``.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        clock: Clock = utc_now,
        context: ssl.SSLContext | None = None,
        limits: Limits = Limits(),
        sender: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._context = context
        self._limits = limits
        self._sender = dict(sender or {})

    def deliver_due(self, told: Callable[[Outcome, Message], None] = lambda *_: None) -> int:
        """Send everything that is due, and what becomes due meanwhile; how many attempts were made.

        Args:
            told: each attempt, and the message as it is afterwards.
        """
        return asyncio.run(self._pass(told))

    def test(self, webhook_id: str, event: str, message_id: str | None = None) -> Message:
        """Send a test message to an endpoint, once; what became of it.

        Args:
            message_id: its id; default: a new one. If there is a message with it already, nothing is sent.

        Raises:
            NotFound: if there is no such endpoint.
        """
        now, claim = self._clock(), uuid.uuid4().hex
        message_id = message_id or ids.DELIVERY.new()
        messages = self._ledger.messages
        if messages.add_test(message_id, event, example(event), webhook_id, claim, now + LEASE, now):
            claimed = Claimed(messages.get(message_id), claim)

            async def once() -> Outcome:
                async with self._opened(1) as sender:
                    with ThreadPoolExecutor(1) as threads:
                        return await self._attempt(sender, threads, claimed)

            outcome = asyncio.run(once())
            self._ledger.attempts.turn([outcome], self._clock(), 0, {}, 0)
        return messages.get(message_id)

    def _opened(self, lookups: int) -> Sender:
        return Sender(self._settings.allowed, lookups, context=self._context, **self._sender)

    async def _pass(self, told: Callable[[Outcome, Message], None]) -> int:
        limits, made = self._limits, 0
        until = self._clock() + limits.longest
        under_way: dict[asyncio.Task[Outcome], str] = {}
        finished: list[Outcome] = []
        with ThreadPoolExecutor(limits.at_once, "delivery") as threads:
            async with self._opened(limits.at_once) as sender:
                while True:
                    room = limits.at_once - len(under_way) if self._clock() < until else 0
                    claimed, noted = await self._turn(threads, finished, room, Counter(under_way.values()))
                    by_id = {message.id: message for message in noted}
                    for outcome in finished:
                        if message := by_id.get(outcome.claimed.message.id):
                            made += 1
                            told(outcome, message)
                    finished = []
                    for one in claimed:
                        task = asyncio.create_task(self._attempt(sender, threads, one))
                        under_way[task] = one.target
                    if not under_way:
                        return made
                    await asyncio.wait(under_way, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.sleep(_GATHER_SECONDS)
                    for task in [task for task in under_way if task.done()]:
                        del under_way[task]
                        finished.append(task.result())

    async def _turn(
        self, threads: ThreadPoolExecutor, finished: list[Outcome], room: int, busy: Mapping[str, int]
    ) -> tuple[list[Claimed], list[Message]]:
        def turn() -> tuple[list[Claimed], list[Message]]:
            return self._ledger.attempts.turn(finished, self._clock(), room, busy, self._limits.each)

        for left in reversed(range(_LEDGER_TRIES)):
            try:
                return await asyncio.get_running_loop().run_in_executor(threads, turn)
            except (OperationalError, TransientError):
                # What is not noted is sent a second time.
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _attempt(self, sender: Sender, threads: ThreadPoolExecutor, claimed: Claimed) -> Outcome:
        loop, message = asyncio.get_running_loop(), claimed.message
        try:
            if message.webhook_id is None:
                answer = await loop.run_in_executor(threads, self._mail, message)
            else:
                answer = await self._post(sender, threads, message, message.webhook_id)
        except (Gone, NotFound) as error:
            return Outcome(
                claimed, False, self._clock(), 0, None, "", f"not sent: {error.message}", ours=True
            )
        except InvalidRequest as error:
            return self._judged(claimed, _not_sent(error.message))
        except (DamagedData, Conflict) as error:
            return self._judged(claimed, _not_sent(error.message), ours=True)
        except (OperationalError, TransientError):
            return self._judged(claimed, _not_sent("the ledger could not be used"), ours=True)
        except Exception as error:
            return self._judged(claimed, _not_sent(f"unexpected {type(error).__name__}"), ours=True)
        reach(self._settings, "message.sent")
        return self._judged(claimed, answer)

    def _judged(self, claimed: Claimed, answer: Answer, ours: bool = False) -> Outcome:
        at, gone = self._clock(), answer.code == GONE_CODE and claimed.target != MAIL
        success = answer.error is None
        again = None
        if not (success or gone):
            again = next_attempt(claimed.message.attempts + 1, at, wish(answer.retry_after, at))
        return Outcome(
            claimed,
            success,
            at,
            answer.milliseconds,
            answer.code,
            answer.response,
            answer.error,
            again,
            gone,
            ours,
            answer.sent,
            answer.headers,
        )

    async def _post(
        self, sender: Sender, threads: ThreadPoolExecutor, message: Message, webhook_id: str
    ) -> Answer:
        def prepared() -> tuple[Target, bytes]:
            now = self._clock()
            target = self._ledger.webhooks.target(webhook_id, now)
            if target.webhook.status != ACTIVE and not message.test:
                # Disabled since it was claimed, or while a process held it that has died.
                raise Conflict("the endpoint is disabled", field="webhookId")
            return target, encoded(payload(self._settings, self._ledger, message, now))

        target, body = await asyncio.get_running_loop().run_in_executor(threads, prepared)
        to = destination(target.webhook.url, self._settings.allowed)
        secrets = [target.secret, *target.previous]

        async def post(key: str) -> Answer:
            signed = headers(message.id, webhook_id, body, self._clock(), secrets, key)
            plain = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
            answer = await sender.post(to, plain | signed, body)
            return replace(answer, sent=without_signatures(plain | signed))

        answer = await post(secrets[-1])
        if target.previous and answer.code in REFUSED_CODES:
            # Its receiver may know the new secret only; X-Shortform-Signature has room for one.
            answer = await post(target.secret)
        return answer

    def _mail(self, message: Message) -> Answer:
        now = self._clock()
        address = self._ledger.messages.address(message.id)
        written = letter(message.event, payload(self._settings, self._ledger, message, now)["data"])
        composed = mail.composed(self._settings, written, address, message.id, now)
        return mail.send(self._settings, composed, address, context=self._context)


def _not_sent(why: str) -> Answer:
    return Answer(None, "", f"not sent: {why}", 0)
