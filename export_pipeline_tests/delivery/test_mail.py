"""E-mail goes over TLS with a login, is written once in text and HTML, and retried like a webhook."""

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.days import utc_now
from export_pipeline.delivery import mail
from export_pipeline.delivery.letters import letter
from export_pipeline.delivery.retrying import DELAYS
from export_pipeline.delivery.sending import Answer
from export_pipeline.errors import InvalidRequest
from export_pipeline.ledger.posting import EXPORT_READY, add
from export_pipeline.settings import MAIL_PATTERN, Settings, load, variable
from export_pipeline_tests.delivery.mailboxes import Mailbox, mailbox
from export_pipeline_tests.delivery.outboxes import Outbox
from export_pipeline_tests.delivery.receivers import raw

TO = "someone@example.com"
DATA: dict[str, Any] = {
    "exportId": "exp_1",
    "dateRange": {"start": "2026-11-16", "end": "2026-11-22"},
    "downloadUrl": "https://exports.example.com/v1/downloads/lnk_1/exp_1.jsonl.gz?a=1&b=2",
    "manifestUrl": "https://exports.example.com/m",
    "expiresAt": "2026-11-30T00:00:00Z",
    "fileSize": "5.2MB",
    "rowCount": 136524,
}


@pytest.fixture(scope="module")
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(box: Mailbox) -> None:
    box.got.clear()
    box.refuse.clear()


def configured(values: dict[str, str]) -> Settings:
    return load({variable(name): value for name, value in values.items()})


def sent(settings: Settings, box: Mailbox, data: dict[str, Any] = DATA, **more: Any) -> Answer:
    written = letter(EXPORT_READY, data)
    composed = mail.composed(settings, written, TO, "del_1", utc_now())
    return mail.send(settings, composed, TO, context=box.trusting, **more)


def text_and_html(box: Mailbox) -> tuple[str, str]:
    (got,) = box.got
    text, html = got.get_body(("plain",)), got.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


def test_a_letter_has_range_rows_size_and_link_in_text_and_html(box: Mailbox) -> None:
    assert sent(configured(box.settings()), box).error is None
    assert box.encrypted[-1]
    assert box.recipients[-1] == TO
    (got,) = box.got
    assert got["Subject"] == "Export 2026-11-16 to 2026-11-22: 136,524 rows, 5.2MB"
    assert got["From"] == "Analytics exports <exports@example.com>"
    assert got["Message-ID"] == "<del_1@example.com>"
    text, html = text_and_html(box)
    for shown in ("2026-11-16 to 2026-11-22", "136,524", "5.2MB"):
        assert shown in text
        assert shown in html
    assert DATA["downloadUrl"] in text
    assert DATA["downloadUrl"].replace("&", "&amp;") in html


@pytest.mark.parametrize("security", ["tls", "none"])
def test_tls_from_the_start_and_a_server_on_this_machine_work_too(security: str) -> None:
    with mailbox(security) as other:
        values = other.settings(security)
        if security == "none":
            values |= {"smtp_user": "", "smtp_password": ""}
        assert sent(configured(values), other).error is None
        assert other.encrypted == [security == "tls"]


@pytest.mark.parametrize(
    ("step", "answer", "code"),
    [
        ("MAIL", "451 later", 451),
        ("RCPT", "550 <ADDRESS>: no such user", 550),
        ("DATA", "552 too big", 552),
        ("DATA", "421 closing", 421),
    ],
)
def test_a_server_that_refuses_at_a_step_is_told_with_its_code(
    box: Mailbox, step: str, answer: str, code: int
) -> None:
    box.refuse[step] = answer
    found = sent(configured(box.settings()), box)
    assert (found.code, str(code) in str(found.error)) == (code, True)
    assert TO not in found.response + str(found.error)
    assert not box.got


def test_a_wrong_password_is_told(box: Mailbox) -> None:
    found = sent(configured(box.settings(smtp_password="wrong")), box)
    assert found.code == 535
    assert "wrong" not in found.response + str(found.error)


def test_a_server_without_tls_or_with_a_certificate_of_nobody_gets_no_password(box: Mailbox) -> None:
    with mailbox("none") as plain:
        found = sent(configured(plain.settings()), box)
        assert "STARTTLS" in str(found.error)
        assert not plain.got
    settings = configured(box.settings())
    composed = mail.composed(settings, letter(EXPORT_READY, DATA), TO, "del_1", utc_now())
    found = mail.send(settings, composed, TO)
    assert "CERTIFICATE_VERIFY_FAILED" in str(found.error)
    assert not box.got


@pytest.mark.parametrize(
    "greeting", [b"", b"hello\r\n", b"554 no service\r\n", b"220 x\r\n", b"\xff\x00\r\n"]
)
def test_a_server_that_is_none_is_told(box: Mailbox, greeting: bytes) -> None:
    def behave(client: socket.socket, _: threading.Event) -> None:
        client.sendall(greeting)

    with raw(behave) as (url, _):
        found = sent(configured(box.settings(smtp_port=url.split(":")[2].split("/")[0])), box)
    assert found.error is not None


def test_a_server_that_talks_for_ever_is_given_up(box: Mailbox) -> None:
    def behave(client: socket.socket, over: threading.Event) -> None:
        while not over.wait(0.05):
            client.sendall(b"2")

    with raw(behave) as (url, _):
        settings = configured(box.settings(smtp_port=url.split(":")[2].split("/")[0]))
        found = sent(settings, box, connect_seconds=0.3, answer_seconds=0.2)
    assert found.error == "not done within 0.5 s"
    assert found.milliseconds < 5000


HOSTILE = st.text() | st.sampled_from(
    ["x\r\nBcc: victim@example.com", "x\nSubject: other", "\u2028\x85", "<script>"]
)


@given(HOSTILE, HOSTILE)
def test_no_text_adds_a_header_or_markup(name: str, reason: str) -> None:
    settings = configured({"smtp_host": "x", "mail_from": "exports@example.com"})
    data = {"exportId": name, "dateRange": {"start": reason, "end": name}, "fileSize": name, "rowCount": 1}
    written = letter(EXPORT_READY, {**data, "downloadUrl": reason})
    composed = mail.composed(settings, written, TO, "del_1", utc_now())
    assert "\n" not in written.subject
    assert set(composed.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert len(composed.get_all("Subject", [])) == 1
    head = composed.as_bytes().split(b"\n\n")[0]
    assert b"\nBcc:" not in head
    assert "<script>" not in written.html


@pytest.mark.parametrize(
    "address",
    ["", "x", "a@", "@b", "a@b\n", "a@b\r\nBcc: c@d", "a@b, c@d", "a b@c", "<a@b>", "a@b>", "ü@b.example",
     "a@b..", None, 7, "a" * 65 + "@b.example", "a..b@c.example", ".a@b.example", "a.@b.example",
     "a@b..example", "a@b-.example", "a@" + "b" * 250],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_it(address: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        mail.check_address(address, "email")
    assert refused.value.field == "email"
    assert not address or str(address) not in refused.value.message or len(str(address)) < 3


@given(st.from_regex(MAIL_PATTERN, fullmatch=True))
def test_whatever_is_an_address_is_written_to(address: str) -> None:
    settings = configured({"smtp_host": "x", "mail_from": "exports@example.com"})
    try:
        mail.check_address(address, "email")
    except InvalidRequest:
        return
    composed = mail.composed(settings, letter("operator.alert", {}), address, "del_1", utc_now())
    assert composed["To"].addresses[0].addr_spec == address


@pytest.mark.parametrize("spelled", ["ADDRESS", TO.upper()])
def test_a_message_by_e_mail_is_retried_until_it_is_taken_and_says_nothing_of_its_address(
    box: Mailbox, tmp_path: Path, spelled: str
) -> None:
    outbox = Outbox(tmp_path / "home", **box.settings())
    job_id = outbox.complete_job()
    messages = outbox.ledger.messages
    with outbox.ledger._engine.begin() as connection:
        data = {"exportId": job_id, "dateRange": {"start": "2026-11-16", "end": "2026-11-16"}}
        add(connection, EXPORT_READY, data, outbox.clock(), address=messages.sealed(TO), job_id=job_id)
    box.refuse["RCPT"] = f"450 <{spelled}> later"
    outbox.deliver(context=box.trusting)
    (message,) = outbox.messages()
    assert message.next_attempt_at == outbox.clock() + DELAYS[0]
    assert outbox.log(message.id)[0].response == f"<{mail.RECIPIENT}> later"
    box.refuse.clear()
    outbox.clock.forward(DELAYS[0])
    outbox.deliver(context=box.trusting)
    assert outbox.messages()[0].state == "success"
    assert "/v1/downloads/" in text_and_html(box)[0]
    assert box.got[0]["Message-ID"] == f"<{message.id}@example.com>"


def test_without_a_mail_server_a_message_waits_and_says_why(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "home")
    outbox.ledger.messages.tell({"x": "y"}, TO, outbox.clock(), timedelta(days=1))
    outbox.deliver()
    (message,) = outbox.messages()
    assert "EXPORT_PIPELINE_SMTP_HOST" in str(outbox.log(message.id)[0].error)
    assert message.next_attempt_at == outbox.clock() + timedelta(minutes=1)
