"""A mail server on this machine: over TLS, with a login, and refusing wherever a test says so."""

import asyncio
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

HOST = "localhost"
USER, PASSWORD = "exports", "a password"


@dataclass
class Mailbox:
    """What came; ``refuse`` maps a step (MAIL, RCPT, DATA) to the server's answer."""

    port: int = 0
    trusting: ssl.SSLContext | None = None
    got: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)

    def settings(self, security: str = "starttls", **more: str) -> dict[str, str]:
        """The settings with which e-mail goes here."""
        return {
            "smtp_host": HOST, "smtp_port": str(self.port), "smtp_security": security, "smtp_user": USER,
            "smtp_password": PASSWORD, "mail_from": "exports@example.com", **more,
        }  # fmt: skip

    async def handle_MAIL(
        self, server: SMTP, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.refuse.get("MAIL", "250 OK")

    async def handle_RCPT(
        self, server: SMTP, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.refuse.get("RCPT", "250 OK").replace("ADDRESS", address)

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        if "DATA" in self.refuse:
            return self.refuse["DATA"]
        content = envelope.original_content or b""
        self.got.append(message_from_bytes(content, policy=policy.default))  # type: ignore[arg-type]
        self.recipients += envelope.rcpt_tos
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 accepted"


@contextmanager
def mailbox(security: str = "starttls") -> Iterator[Mailbox]:
    """A server that wants a login over ``starttls`` or ``tls``; with ``none`` it wants neither."""
    ca, box = trustme.CA(), Mailbox()
    served, box.trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert(HOST).configure_cert(served)
    ca.configure_trust(box.trusting)

    def authenticate(_: Any, __: Any, ___: Any, mechanism: str, data: Any) -> AuthResult:
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=right)

    def protocol() -> SMTP:
        return SMTP(
            box,
            hostname=HOST,
            require_starttls=security == "starttls",
            tls_context=served if security == "starttls" else None,
            auth_required=security != "none",
            auth_require_tls=security == "starttls",
            authenticator=authenticate,
        )

    warnings.filterwarnings(
        "ignore", "Requiring AUTH", UserWarning
    )  # with TLS from the start it cannot see it
    loop = asyncio.new_event_loop()
    listening = socket.create_server((HOST, 0))
    box.port = listening.getsockname()[1]
    over_tls = served if security == "tls" else None
    server = loop.run_until_complete(loop.create_server(protocol, sock=listening, ssl=over_tls))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
