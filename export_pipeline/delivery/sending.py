"""One request of a webhook: to an address that was checked, within the contract's times, and read no
further than 1 kB (contract, section 5).

The name is looked up and its addresses are checked; one of those is connected to, by its number, so that a
name that changes meanwhile changes nothing. The certificate must be of the name all the same.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Self

import httpx

from export_pipeline.allowed import Allowed
from export_pipeline.delivery.addresses import Destination, Refused, check, resolve
from export_pipeline.ledger.posting import NO_ANSWER

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
ANSWER_BYTES = 1024
_BYTES = re.compile(r":? *(bytearray\()?\bb['\"].*", re.DOTALL)
_MOST_HEADERS, _HEADER_LENGTH = 40, 200
_SECRET_HEADERS = ("set-cookie", "set-cookie2")
MOST_TRIED = 4
"""Addresses of one name that are tried, one after the other."""

Address = IPv4Address | IPv6Address
Resolver = Callable[[Destination], list[Address]]


@dataclass(frozen=True)
class Answer:
    """What a receiver answered: ``error`` is None if it took the message, else why not, in words; ``sent``
    and ``headers`` are the headers of request and answer, as far as they are no secret."""

    code: int | None
    response: str
    error: str | None
    milliseconds: int
    retry_after: str | None = None
    sent: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Sender:
    """Sends requests side by side; keeps connections to receivers until it is closed.

    Args:
        lookups: names that can be looked up at once; those that hang hold up no other.
        context: which certificates are trusted; default: those of public authorities, or of the file that
            ``SSL_CERT_FILE`` names.
    """

    def __init__(
        self,
        allowed: Allowed,
        lookups: int = 4,
        *,
        context: ssl.SSLContext | None = None,
        resolver: Resolver = resolve,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._allowed = allowed
        self._context = context or httpx.create_ssl_context()
        self._resolver = resolver
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds
        self._threads = ThreadPoolExecutor(lookups, "lookup")
        self._transports: dict[tuple[str, int, bool, Address], httpx.AsyncHTTPTransport] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for transport in self._transports.values():
            await transport.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, to: Destination, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request; whatever goes wrong is in the answer."""
        began = time.perf_counter()

        def answer(code: int | None, error: str | None, response: str = "", **more: Any) -> Answer:
            return Answer(code, response, error, round((time.perf_counter() - began) * 1000), **more)

        try:
            async with _Deadline(self._connect_seconds, self._answer_seconds) as deadline:
                response = await self._exchange(to, headers, body, deadline)
                try:
                    text = await _beginning(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            if deadline.connected:
                return answer(None, f"{NO_ANSWER} within {self._answer_seconds:g} s")
            return answer(None, f"no connection within {self._connect_seconds:g} s")
        except Refused as refused:
            return answer(None, f"not sent: {refused}")
        except (httpx.ConnectError, OSError) as error:
            return answer(None, f"no connection: {_told(error)}")
        except httpx.TransportError as error:
            return answer(None, f"{NO_ANSWER} that is one: {_told(error)}")
        except Exception as error:
            return answer(None, f"not sent: unexpected {type(error).__name__}")
        told = _told_headers(response.headers)
        if response.is_success:
            return answer(response.status_code, None, text, headers=told)
        redirect = "; redirects are not followed" if response.is_redirect else ""
        return answer(
            response.status_code,
            f"answered {response.status_code}{redirect}",
            text,
            retry_after=response.headers.get("Retry-After"),
            headers=told,
        )

    async def _exchange(
        self, to: Destination, headers: Mapping[str, str], body: bytes, deadline: "_Deadline"
    ) -> httpx.Response:
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._threads, self._resolver, to)
        for address in addresses:
            check(to, address, self._allowed)
        tried = addresses[:MOST_TRIED]
        for number, address in enumerate(tried):
            share = deadline.left() / (len(tried) - number)
            request = httpx.Request(
                "POST",
                to.at(address),
                headers={"Host": to.authority, "Accept-Encoding": "identity", **headers},
                content=body,
                extensions={
                    "sni_hostname": to.host.removesuffix("."),
                    "timeout": {"connect": share, "read": None, "write": None, "pool": None},
                    "trace": deadline.trace,
                },
            )
            try:
                return await self._asked(to, address, request, deadline)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if address is tried[-1]:
                    if isinstance(error, httpx.ConnectTimeout):
                        raise TimeoutError from None
                    raise
        raise OSError("the name stands for no address")

    async def _asked(
        self, to: Destination, address: Address, request: httpx.Request, deadline: "_Deadline"
    ) -> httpx.Response:
        while True:
            deadline.fresh = False
            try:
                return await self._transport(to, address).handle_async_request(request)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                # A connection kept from an earlier message, which the receiver closes when it likes, says
                # nothing about this one.
                if deadline.fresh:
                    raise

    def _transport(self, to: Destination, address: Address) -> httpx.AsyncHTTPTransport:
        # By name too: a connection whose certificate was checked for one name is not used for another.
        key = (to.host, to.port, to.secure, address)
        if key not in self._transports:
            self._transports[key] = httpx.AsyncHTTPTransport(verify=self._context, trust_env=False)
        return self._transports[key]


class _Deadline:
    """So long until there is a connection, and so long from then until the answer is there."""

    def __init__(self, connect_seconds: float, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self._timeout = asyncio.timeout(connect_seconds)
        self.connected = False
        self.fresh = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._timeout.__aexit__(*raised)

    def left(self) -> float:
        """Seconds until it has passed."""
        return max(0.001, (self._timeout.when() or 0) - asyncio.get_running_loop().time())

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Told by the connection what it does."""
        if event == "connection.connect_tcp.started":
            self.fresh = True
        if event == "http11.send_request_headers.started" and not self.connected:
            self.connected = True
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._answer_seconds)


async def _beginning(response: httpx.Response) -> str:
    """The first 1 kB of the body; the rest is not read."""
    held = bytearray()
    async for block in response.aiter_raw():
        held += block
        if len(held) > ANSWER_BYTES:
            break
    return bytes(held[:ANSWER_BYTES]).decode(errors="replace").replace("\0", "\ufffd")


def _told_headers(headers: httpx.Headers) -> dict[str, str]:
    """The headers of an answer for its log."""
    shown = [(name, value) for name, value in headers.items() if name.lower() not in _SECRET_HEADERS]
    return {name[:_HEADER_LENGTH]: value[:_HEADER_LENGTH] for name, value in shown[:_MOST_HEADERS]}


def _told(error: Exception) -> str:
    # Less the bytes that a receiver sent in place of HTTP: this is shown where its own words are not.
    text = _BYTES.sub("", str(error)) or type(error).__name__
    return " ".join(text.split())[:200]
