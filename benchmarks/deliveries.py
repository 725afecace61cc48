"""Deliveries: many messages that are due at once, to endpoints of which some never answer."""

import asyncio
import multiprocessing
import shutil
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.inputs import deployment
from benchmarks.measuring import measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, at_most
from export_pipeline.days import utc_now
from export_pipeline.delivery.outbox import Courier
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.attempts import Outcome
from export_pipeline.ledger.posting import EXPORT_FAILED, Message, NewMessage

_ENDPOINTS, _HANGING = 50, 5
_WANTED_SECONDS = 60
_DATA = {
    "exportId": "exp_benchmark",
    "dateRange": {"start": "2026-01-01", "end": "2026-01-31"},
    "error": {"code": "INTERNAL_ERROR", "message": "a benchmark"},
}
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def run(plan: Plan) -> list[Section]:
    """All are due when the pass begins; it ends once those to endpoints that answer are delivered."""
    found = []
    for number in range(plan.rounds):
        home = plan.outputs / f"deliveries-{number}"
        try:
            found.append(measure(delivered, home=str(home), messages=plan.messages))
        finally:
            shutil.rmtree(home, ignore_errors=True)
    median = typical(found)
    seconds, sent = median.result
    what = f"{plan.messages:,} messages to {_ENDPOINTS} endpoints, {_HANGING} of which hang"
    return [
        Section(
            "Deliveries",
            ["What", "delivered to the others", "seconds", "a second", "CPU s", "peak memory"],
            [
                [
                    what,
                    f"{sent:,}",
                    f"{seconds:.1f}",
                    f"{sent / seconds:,.0f}",
                    f"{median.cpu:.1f}",
                    f"{median.peak / 1e6:,.0f} MB",
                ]
            ],
            notes=[
                "Plain HTTP to receivers in another process on the same cores, which counts in CPU s too."
            ],
            targets=[at_most(f"{what}: the others", _WANTED_SECONDS, seconds, "s")],
        )
    ]


class _Done(Exception):
    """Everything that can be delivered is."""


def delivered(home: str, messages: int) -> tuple[float, int]:
    """Seconds until every message to an endpoint that answers was delivered, and how many these are."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    receivers = context.Process(target=_receive, args=(there,), daemon=True)
    receivers.start()
    port = here.recv()
    settings = deployment(Path(home)).model_copy(update={"webhook_allow": f"http://127.0.0.1:{port}"})
    ledger = Ledger(settings)
    _fill(ledger, port, messages)
    wanted = messages * (_ENDPOINTS - _HANGING) // _ENDPOINTS
    successes = 0

    def told(outcome: Outcome, _: Message) -> None:
        nonlocal successes
        successes += outcome.success
        if successes == wanted:
            raise _Done

    began = time.monotonic()
    with suppress(_Done):
        Courier(settings, ledger).deliver_due(told)
    took = time.monotonic() - began
    receivers.kill()
    receivers.join()
    if successes != wanted:
        raise RuntimeError(f"{successes} of {wanted} messages were delivered")
    return took, wanted


def _fill(ledger: Ledger, port: int, messages: int) -> None:
    now = utc_now()
    kinds = ["hang" if number < _HANGING else "answer" for number in range(_ENDPOINTS)]
    webhooks = [
        ledger.webhooks.create(f"http://127.0.0.1:{port}/{kind}/{number}", [EXPORT_FAILED], "", now)[0].id
        for number, kind in enumerate(kinds)
    ]
    ledger.messages.send_all(
        [NewMessage(EXPORT_FAILED, _DATA, webhooks[number % _ENDPOINTS]) for number in range(messages)], now
    )


def _receive(told: Connection) -> None:
    """Answer every request at once, but those that are to hang; a process of its own."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                await reader.readexactly(length)
                if b" /hang/" in head:
                    await asyncio.sleep(3600)
                writer.write(_ANSWER)
                await writer.drain()

    async def serve() -> None:
        server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=512)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
