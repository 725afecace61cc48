"""Endpoints are made, tried and looked after from the command line."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline_tests.cli.conftest import Run
from export_pipeline_tests.delivery.receivers import Receiver, receiver


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver() as running:
        monkeypatch.setenv("EXPORT_PIPELINE_WEBHOOK_ALLOW", running.url.removesuffix("/hook"))
        yield running


@pytest.fixture
def webhook_id(run: Run, there: Receiver) -> str:
    return str(run("webhooks", "create", there.url, "--event", "export.failed", "--json").document["id"])


def test_a_new_endpoint_shows_id_and_secret_and_is_listed_without_it(run: Run, there: Receiver) -> None:
    assert run("webhooks", "list").out == "no webhooks\n"
    made = run("webhooks", "create", there.url, "--description", "ours", "--json").document
    assert set(made) == {"id", "secret"}
    listed = run("webhooks", "list", "--json")
    (shown,) = listed.document["webhooks"]
    assert (shown["id"], shown["events"], shown["description"]) == (made["id"], ["export.ready"], "ours")
    assert made["secret"] not in listed.out
    assert made["id"] in run("webhooks", "list").out
    said = run("webhooks", "create", there.url).out
    assert said.startswith("whsec_")
    assert "not shown again" in said


def test_an_endpoint_is_changed_and_removed(run: Run, webhook_id: str) -> None:
    changed = run("webhooks", "update", webhook_id, "--status", "disabled", "--json").document
    assert (changed["status"], changed["statusReason"]) == ("disabled", "disabled by hand")
    assert "status: disabled" in run("webhooks", "show", webhook_id).out
    assert run("webhooks", "update", webhook_id).code == 2
    rotated = run("webhooks", "rotate-secret", webhook_id, "--json").document
    assert set(rotated) == {"id", "secret", "previousSecretExpiresAt"}
    assert run("webhooks", "delete", webhook_id, "--json").document == {"id": webhook_id, "deleted": True}
    gone = run("webhooks", "show", webhook_id)
    assert (gone.code, gone.out) == (1, "")
    assert "there is no webhook whk_" in gone.err


def test_a_test_event_is_sent_at_once(run: Run, there: Receiver, webhook_id: str) -> None:
    told = run("webhooks", "test", webhook_id, "--json")
    assert (told.code, told.document["status"], told.document["statusCode"]) == (0, "success", 200)
    there.reply = lambda _, __: (500, {}, b"")
    failed = run("webhooks", "test", webhook_id, "--event", "user.erased")
    assert failed.code == 1
    assert failed.out.startswith("failed: answered 500 in ")
    assert failed.err == f"export-pipeline: {webhook_id} did not take the message: answered 500\n"
    assert len(there.got) == 2


def test_deliveries_are_listed_and_retried(run: Run, webhook_id: str, settings: Settings) -> None:
    ledger = Ledger(settings)
    ledger.messages.tell({"x": "y"}, "a@example.com", utc_now(), timedelta(days=1))
    run("webhooks", "test", webhook_id)
    assert run("webhooks", "deliveries", "--json").document["total"] == 2
    (tested,) = run("webhooks", "deliveries", webhook_id, "--json").document["deliveries"]
    assert tested["status"] == "success"
    (mail,) = run("webhooks", "deliveries", "--status", "pending", "--json").document["deliveries"]
    assert mail["webhookId"] is None
    shown = run("webhooks", "deliveries")
    assert "e-mail" in shown.out
    assert "a@example.com" not in shown.out
    assert run("webhooks", "retry", mail["id"], "--json").document["status"] == "pending"
    assert "is due now" in run("webhooks", "retry", mail["id"]).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "http://example.com"], "url cannot be used; it must begin with https://"),
        (["create", "https://me:secret@example.com"], "url cannot be used; it holds a user or password"),
        (["create", "https://example.com", "--event", "x"], "each must be one of export.ready"),
        (["update", "whk_1", "--status", "off"], "status is 'off'; it must be one of active, disabled"),
        (["test", "whk_1", "--event", "x"], "event is 'x'"),
        (["deliveries", "--status", "x"], "status is 'x'"),
    ],
)
def test_a_wrong_call_is_refused_with_what_would_be_right(run: Run, arguments: list[str], said: str) -> None:
    result = run("webhooks", *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "secret@" not in result.err


@pytest.mark.parametrize("command", ["show", "delete", "rotate-secret", "test", "deliveries", "retry"])
def test_what_does_not_exist_is_a_failure(run: Run, command: str) -> None:
    result = run("webhooks", command, "whk_nothing")
    assert (result.code, result.out) == (1, "")
    assert "there is no" in result.err
