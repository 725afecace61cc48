"""E-mail: a letter to one address, by the operator's server over TLS (contract, section 5)."""

import re
import smtplib
import socket
import ssl
import threading
import time
from contextlib import suppress
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from export_pipeline.delivery.letters import Letter
from export_pipeline.delivery.sending import ANSWER_BYTES, ANSWER_SECONDS, CONNECT_SECONDS, Answer
from export_pipeline.errors import InvalidRequest
from export_pipeline.settings import MAIL_PATTERN, Settings

NAME = "Analytics exports"
LONGEST_ADDRESS, LONGEST_LOCAL_PART = 254, 64
RECIPIENT = "[recipient]"
"""What stands for the recipient's address wherever a server's answer is kept."""

_ADDRESS = re.compile(MAIL_PATTERN, re.ASCII)
_NO_SERVER = "EXPORT_PIPELINE_SMTP_HOST names no mail server"


def check_address(address: object, field: str) -> str:
    """An e-mail address that can be written to.

    Raises:
        InvalidRequest: naming ``field``; the address itself is not told.
    """
    # A dollar sign also matches before a final line end, which a header must not have.
    if (
        not isinstance(address, str)
        or len(address) > LONGEST_ADDRESS
        or address.find("@") > LONGEST_LOCAL_PART
        or not address.isprintable()
        or not _ADDRESS.match(address)
    ):
        raise InvalidRequest(f"{field} is no e-mail address; it must be like name@example.com", field=field)
    return address


def check_server(settings: Settings, field: str) -> None:
    """Refuse to deliver by e-mail where nothing could send one.

    Raises:
        InvalidRequest: naming ``field``.
    """
    if not settings.smtp_host:
        raise InvalidRequest(
            f"{field} cannot be written to: {_NO_SERVER}. Deliver to a "
            "webhook, or have whoever runs this deployment name a server",
            field=field,
        )


def composed(settings: Settings, letter: Letter, to: str, message_id: str, at: datetime) -> EmailMessage:
    """The e-mail that is sent; its Message-ID is the same on every try."""
    mail = EmailMessage()
    sender, domain = settings.mail_from, settings.mail_from.rpartition("@")[2]
    mail["From"] = Address(NAME, addr_spec=sender)
    mail["To"] = Address(addr_spec=to)
    mail["Subject"] = letter.subject
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{message_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(letter.text)
    mail.add_alternative(letter.html, subtype="html")
    return mail


def send(
    settings: Settings,
    mail: EmailMessage,
    to: str,
    *,
    context: ssl.SSLContext | None = None,
    connect_seconds: float = CONNECT_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
) -> Answer:
    """Hand an e-mail to the server; whatever goes wrong is in the answer.

    Args:
        context: which certificates are trusted; default: the machine's.
        answer_seconds: how long all of it may take.
    """
    began = time.perf_counter()

    def answer(code: int | None, response: str, error: str | None) -> Answer:
        text, shown = _without(to, response), None if error is None else _without(to, error)
        return Answer(code, text, shown, round((time.perf_counter() - began) * 1000))

    if not settings.smtp_host:
        return answer(None, "", f"not sent: {_NO_SERVER}")
    watch = _Watch(connect_seconds + answer_seconds)
    try:
        server = _connected(settings, context or ssl.create_default_context(), connect_seconds, watch)
        try:
            if settings.smtp_security == "starttls":
                server.starttls(context=context or ssl.create_default_context())
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(mail, settings.mail_from, [to])
        finally:
            _leave(server)
    except Exception as error:
        if watch.passed:
            return answer(None, "", f"not done within {connect_seconds + answer_seconds:g} s")
        return answer(*_failure(error))
    finally:
        watch.end()
    return answer(250, "accepted", None)


def _failure(error: Exception) -> tuple[int | None, str, str]:
    """The code, the server's words and ours for what went wrong."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
        return code, _text(text), f"the recipient was refused: {code}"
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code, _text(error.smtp_error), f"the mail server answered {error.smtp_code}"
    if isinstance(error, smtplib.SMTPException | OSError):
        return None, "", f"not taken by the mail server: {type(error).__name__}: {error}"
    return None, "", f"not sent: unexpected {type(error).__name__}"


class _Watch:
    """Ends a conversation after a time: each step may be within its own, and all of them take for ever."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self.server: smtplib.SMTP | None = None
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _pass(self) -> None:
        self.passed = True
        sock = getattr(self.server, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _connected(settings: Settings, context: ssl.SSLContext, seconds: float, watch: _Watch) -> smtplib.SMTP:
    kind = smtplib.SMTP_SSL if settings.smtp_security == "tls" else smtplib.SMTP

    class Watched(kind):  # type: ignore[misc, valid-type]
        """Known to the watch before it hears the server's first word."""

        def connect(self, *where: Any, **more: Any) -> Any:
            watch.server = self
            return super().connect(*where, **more)

    more = {"context": context} if settings.smtp_security == "tls" else {}
    server: smtplib.SMTP = Watched(settings.smtp_host, settings.smtp_port, timeout=seconds, **more)
    return server


def _leave(server: smtplib.SMTP) -> None:
    try:
        server.quit()
    except (smtplib.SMTPException, OSError):
        server.close()


def _without(to: str, text: str) -> str:
    """What is kept of a server's words: the beginning, without the address, however it spells that."""
    return re.sub(re.escape(to), RECIPIENT, text, flags=re.IGNORECASE)[:ANSWER_BYTES]


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
