"""Each message gets there, under one id, at the contract's times, whatever dies or hangs meanwhile."""

import hashlib
import hmac
import json
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import standardwebhooks

from export_pipeline.delivery.outbox import Courier, Limits
from export_pipeline.delivery.retrying import DELAYS
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.attempts import LEASE
from export_pipeline.settings import load, variable
from export_pipeline_tests import processes
from export_pipeline_tests.delivery.outboxes import ROWS, Outbox
from export_pipeline_tests.delivery.receivers import Received, raw, receiver


def allowing(tmp_path: Path, *urls: str, **more: str) -> Outbox:
    return Outbox(
        tmp_path / "home", webhook_allow=",".join(url.removesuffix("/hook") for url in urls), **more
    )


def test_an_export_is_told_with_links_that_work_and_a_signature_that_is_right(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url, public_url="https://exports.example.com")
        webhook_id = outbox.endpoint(there.url)
        job_id = outbox.complete_job()
        assert outbox.deliver() == 1
    (got,) = there.got
    standardwebhooks.Webhook(outbox.secret(webhook_id)).verify(got.body, dict(got.headers))
    payload = json.loads(got.body)
    assert list(payload) == ["event", "data", "timestamp", "webhookId"]
    assert (payload["event"], payload["webhookId"]) == ("export.ready", webhook_id)
    data = payload["data"]
    assert set(data) == {
        "exportId", "dateRange", "downloadUrl", "manifestUrl", "expiresAt", "fileSize", "bytes", "rowCount",
        "files",
    }  # fmt: skip
    assert (data["exportId"], data["rowCount"]) == (job_id, ROWS)
    assert data["downloadUrl"].startswith("https://exports.example.com/v1/downloads/lnk_")
    assert data["files"][0]["url"].startswith("https://exports.example.com/v1/downloads/lnk_")
    (message,) = outbox.messages()
    assert got.headers["webhook-id"] == got.headers["x-shortform-delivery-id"] == message.id
    assert (message.state, message.attempts) == ("success", 1)


def test_a_link_lasts_no_longer_than_the_file(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url)
        outbox.endpoint(there.url)
        job_id = outbox.complete_job()
        expires_at = outbox.ledger.jobs.get(job_id, outbox.clock()).expires_at
        assert expires_at is not None
        outbox.clock.forward(timedelta(days=3))
        outbox.deliver()
        link = outbox.ledger.links.newest(job_id, outbox.clock(), f"on_demand/{job_id}")
        assert link is not None
        assert link.expires_at == expires_at


def test_a_message_whose_files_are_gone_has_failed_without_an_attempt_to_send(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url)
        webhook_id = outbox.endpoint(there.url)
        outbox.complete_job()
        outbox.clock.forward(timedelta(days=8))
        outbox.deliver()
    assert not there.got
    (message,) = outbox.messages()
    assert message.state == "failed"
    assert outbox.ledger.webhooks.get(webhook_id).failing_since is None
    assert "were kept until" in str(outbox.log(message.id)[0].error)


def test_six_attempts_are_made_and_then_it_has_failed(tmp_path: Path) -> None:
    with receiver() as there:
        there.reply = lambda _, __: (500, {}, b"broken")
        outbox = allowing(tmp_path, there.url)
        outbox.endpoint(there.url)
        outbox.fail_job()
        began = outbox.clock()
        assert outbox.deliver() == 1
        for delay in DELAYS:
            outbox.clock.forward(delay - timedelta(seconds=1))
            assert outbox.deliver() == 0
            outbox.clock.forward(timedelta(seconds=1))
            assert outbox.deliver() == 1
        outbox.clock.forward(timedelta(days=30))
        assert outbox.deliver() == 0
    (message,) = outbox.messages()
    assert (message.state, message.attempts) == ("failed", 6)
    assert len(set(there.ids)) == 1
    assert len({got.body for got in there.got}) == 1
    log = outbox.log(message.id)
    assert [a.at - began for a in log] == [sum(DELAYS[:n], timedelta()) for n in range(6)]
    assert {(a.code, a.response, a.error) for a in log} == {(500, "broken", "answered 500")}


def test_retry_after_is_honoured_and_410_ends_it(tmp_path: Path) -> None:
    with receiver() as there:
        there.reply = lambda _, n: (503, {"Retry-After": "600"}, b"") if n == 0 else (410, {}, b"")
        outbox = allowing(tmp_path, there.url)
        webhook_id = outbox.endpoint(there.url)
        outbox.fail_job()
        outbox.deliver()
        (message,) = outbox.messages()
        assert message.next_attempt_at == outbox.clock() + timedelta(minutes=10)
        outbox.clock.forward(timedelta(minutes=10))
        outbox.deliver()
    assert outbox.messages()[0].state == "failed"
    assert outbox.ledger.webhooks.get(webhook_id).status == "disabled"


def test_in_the_hour_of_a_rotation_either_secret_verifies_every_request(tmp_path: Path) -> None:
    with receiver() as there:
        there.reply = lambda _, n: (500, {}, b"") if n == 0 else (200, {}, b"")
        outbox = allowing(tmp_path, there.url)
        webhook_id = outbox.endpoint(there.url)
        old = outbox.secret(webhook_id)
        outbox.fail_job()
        outbox.deliver()
        new, until = outbox.ledger.webhooks.rotate(webhook_id, outbox.clock())
        outbox.clock.forward(DELAYS[0])
        outbox.deliver()
        outbox.clock.now = until
        outbox.fail_job()
        outbox.deliver()
    first, second, third = there.got
    assert verifying(first, old, new) == [True, False]
    assert verifying(second, old, new) == [True, True]
    assert verifying(third, old, new) == [False, True]
    assert [key_of(got, old, new) for got in there.got] == [old, old, new]


def verifying(got: Received, *secrets: str) -> list[bool]:
    """Which secrets verify a request, its age aside."""
    moment = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
    entries, text = got.headers["webhook-signature"].split(), got.body.decode()
    return [
        standardwebhooks.Webhook(secret).sign(got.headers["webhook-id"], moment, text) in entries
        for secret in secrets
    ]


def key_of(got: Received, *secrets: str) -> str:
    """Which secret made the signature that has room for one."""
    signed = f"{got.headers['x-shortform-timestamp']}.".encode() + got.body
    (key,) = (
        secret
        for secret in secrets
        if got.headers["x-shortform-signature"]
        == "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    )
    return key


def test_a_receiver_that_knows_only_the_new_secret_is_asked_again_at_once(tmp_path: Path) -> None:
    with receiver() as there:
        there.reply = lambda _, n: (401, {}, b"") if n == 0 else (200, {}, b"")
        outbox = allowing(tmp_path, there.url)
        webhook_id = outbox.endpoint(there.url)
        old = outbox.secret(webhook_id)
        new, _ = outbox.ledger.webhooks.rotate(webhook_id, outbox.clock())
        outbox.fail_job()
        assert outbox.deliver() == 1
    first, second = there.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [key_of(first, old, new), key_of(second, old, new)] == [old, new]
    assert outbox.messages()[0].state == "success"


def test_after_two_rotations_in_an_hour_every_secret_verifies(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url)
        webhook_id = outbox.endpoint(there.url)
        first = outbox.secret(webhook_id)
        second, third = (outbox.ledger.webhooks.rotate(webhook_id, outbox.clock())[0] for _ in range(2))
        outbox.fail_job()
        outbox.deliver()
    (got,) = there.got
    assert verifying(got, first, second, third) == [True, True, True]
    assert key_of(got, first, second, third) == first


def test_without_a_rotation_401_is_a_failure_like_any_other(tmp_path: Path) -> None:
    with receiver() as there:
        there.reply = lambda _, __: (401, {}, b"")
        outbox = allowing(tmp_path, there.url)
        outbox.endpoint(there.url)
        outbox.fail_job()
        outbox.deliver()
    assert len(there.got) == 1
    assert outbox.messages()[0].state == "pending"


def deliver_and_die(home: str, allow: str) -> None:
    settings = load(
        {variable("home"): home, variable("webhook_allow"): allow, variable("fault_point"): "message.sent"}
    )
    Courier(settings, Ledger(settings)).deliver_due()


def test_a_worker_killed_between_send_and_record_sends_again_under_the_same_id(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url)
        outbox.endpoint(there.url)
        outbox.fail_job()
        processes.die(deliver_and_die, str(outbox.settings.home), outbox.settings.webhook_allow)
        assert len(there.got) == 1
        assert outbox.deliver() == 0
        outbox.clock.forward(LEASE + timedelta(seconds=60))
        assert outbox.deliver() == 1
    assert len(there.got) == 2
    assert len(set(there.ids)) == 1
    assert outbox.messages()[0].state == "success"


def test_a_message_held_by_a_dead_process_is_not_sent_to_an_endpoint_disabled_since(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url)
        webhook_id = outbox.endpoint(there.url)
        outbox.fail_job()
        outbox.ledger.attempts.turn([], outbox.clock(), 1, {}, 1)
        outbox.ledger.webhooks.change(webhook_id, outbox.clock(), status="disabled")
        outbox.clock.forward(LEASE)
        outbox.deliver()
    assert not there.got
    (message,) = outbox.messages()
    assert (message.state, outbox.log(message.id)[0].error) == (
        "failed",
        "not sent: the endpoint is disabled",
    )


def test_of_two_daemons_at_once_one_sends_each_message(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url)
        outbox.endpoint(there.url)
        for _ in range(30):
            outbox.fail_job()
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(lambda _: outbox.deliver(), range(2)))
    assert sum(made) == 30
    assert Counter(there.ids).most_common(1)[0][1] == 1
    assert {message.state for message in outbox.messages()} == {"success"}


def test_endpoints_that_hang_hold_up_no_other(tmp_path: Path) -> None:
    with ExitStack() as stack:
        hanging = [stack.enter_context(raw(lambda _, over: over.wait(60) and None))[0] for _ in range(3)]
        good = [stack.enter_context(receiver()) for _ in range(5)]
        outbox = allowing(tmp_path, *hanging, *(there.url for there in good))
        for url in [*hanging, *(there.url for there in good)]:
            outbox.endpoint(url)
        for _ in range(8):
            outbox.fail_job()
        ended: list[bool] = []
        courier = Courier(
            outbox.settings, outbox.ledger, clock=outbox.clock,
            limits=Limits(at_once=20, each=4), sender={"answer_seconds": 2.0},
        )  # fmt: skip
        courier.deliver_due(lambda outcome, _: ended.append(outcome.success))
    assert [len(there.got) for there in good] == [8] * 5
    assert (ended.count(True), ended.count(False)) == (40, 24)
    # Four at a time to each of the three that hang: the others wait for the first of these at most.
    last = len(ended) - ended[::-1].index(True)
    assert ended[:last].count(False) <= 12


def test_no_more_than_a_few_go_to_one_receiver_at_once(tmp_path: Path) -> None:
    at_once, most = 0, 0

    def slow(_: Received, __: int) -> tuple[int, dict[str, str], bytes]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.02)
        at_once -= 1
        return 200, {}, b""

    with receiver() as there:
        there.reply = slow
        outbox = allowing(tmp_path, there.url)
        outbox.endpoint(there.url)
        for _ in range(20):
            outbox.fail_job()
        outbox.deliver(limits=Limits(at_once=16, each=3))
    assert len(there.got) == 20
    assert 1 < most <= 3


def test_damaged_files_are_tried_again_and_lost_ones_say_so(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url)
        outbox.endpoint(there.url)
        job_id = outbox.complete_job()
        manifest = outbox.settings.exports / "on_demand" / job_id / "manifest.json"
        held = manifest.read_bytes()
        manifest.write_bytes(b"{")
        outbox.deliver()
        (message,) = outbox.messages()
        assert message.state == "pending"
        assert "not as they were published" in str(outbox.log(message.id)[0].error)
        manifest.write_bytes(held)
        os.utime(manifest, (1, 1))
        outbox.clock.forward(DELAYS[0])
        outbox.deliver()
    assert outbox.messages()[0].state == "success"


def test_an_endpoint_whose_address_is_no_longer_allowed_gets_nothing(tmp_path: Path) -> None:
    with receiver() as there:
        outbox = allowing(tmp_path, there.url)
        outbox.endpoint(there.url)
        outbox.fail_job()
        Courier(load({variable("home"): str(outbox.settings.home)}), outbox.ledger).deliver_due()
    assert not there.got
    assert "url cannot be used" in str(outbox.log(outbox.messages()[0].id)[0].error)


@pytest.mark.parametrize("code", [200, 500])
def test_a_test_message_is_sent_once_and_told(tmp_path: Path, code: int) -> None:
    with receiver() as there:
        there.reply = lambda _, __: (code, {}, b"hello")
        outbox = allowing(tmp_path, there.url)
        webhook_id = outbox.endpoint(there.url)
        courier = Courier(outbox.settings, outbox.ledger, clock=outbox.clock)
        for event in ("export.ready", "export.failed", "export.restated", "user.erased"):
            message = courier.test(webhook_id, event)
            assert message.state == ("success" if code == 200 else "failed")
            assert json.loads(there.got[-1].body)["data"]["test"] is True
        again = courier.test(webhook_id, "export.ready", message.id)
        assert again.id == message.id
        outbox.clock.forward(timedelta(days=2))
        assert outbox.deliver() == 0
    assert len(there.got) == 4
    assert outbox.ledger.messages.failed_since(outbox.clock() - timedelta(days=9)) == {}
