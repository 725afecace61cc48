"""Where a webhook may go: which URLs an endpoint can have, and which addresses its name may stand for.

HTTPS to the public internet, and what the setting ``webhook_allow`` names (contract, section 5). A URL is
judged when an endpoint is made, its addresses each time before one of them is connected to.
"""

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from export_pipeline.allowed import HTTP_PORT, Allowed
from export_pipeline.errors import InvalidRequest

HTTPS_PORT = 443
LONGEST_URL = 2048

# RFC 6890 and the IANA registries of special-purpose addresses.
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: clouds answer with credentials there
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays to 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
)
# All others, such as mapped IPv4, NAT64, local and multicast ones, are outside of it.
_PUBLIC_IPV6 = ip_network("2000::/3")

_VISIBLE = re.compile(r"[!-~]+", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


class Refused(Exception):
    """An address is not one that a webhook may go to; the message says which and why."""


@dataclass(frozen=True)
class Destination:
    """Where a URL leads: the name (or address) and port of a server, and what is asked of it."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (HTTPS_PORT if self.secure else HTTP_PORT) else f"{host}:{self.port}"

    def at(self, address: IPv4Address | IPv6Address) -> str:
        """The URL with an address in place of the name."""
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"


def destination(url: object, allowed: Allowed) -> Destination:
    """Where the URL of an endpoint leads.

    Raises:
        InvalidRequest: naming ``url``, if it is none that a webhook may go to.
    """
    if not isinstance(url, str) or not _VISIBLE.fullmatch(url) or "\\" in url or len(url) > LONGEST_URL:
        raise _wrong(f"it must be a URL in visible ASCII of at most {LONGEST_URL} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("it is malformed; it must be like https://example.com/hook") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise _wrong("it must begin with https:// and a host name")
    if "@" in parts.netloc:
        raise _wrong("it holds a user or password; it must have none, as every request is signed")
    if "#" in url:
        raise _wrong("it has a fragment (#), which no server is sent; it must have none")
    if port == 0:
        raise _wrong("its port is 0; it must be from 1 to 65535")
    secure = parts.scheme == "https"
    host = _host(parts.hostname)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    found = Destination(secure, host, port or (HTTPS_PORT if secure else HTTP_PORT), path)
    if not secure and (found.host, found.port) not in allowed.origins:
        raise _wrong("it must begin with https://; the operator has not allowed plain HTTP to this server")
    try:
        literal = ip_address(host)
    except ValueError:
        return found
    try:
        check(found, literal, allowed)
    except Refused as refused:
        raise _wrong(f"it must lead to a public server; {refused}") from None
    return found


def _host(host: str) -> str:
    if ":" in host:
        try:
            return str(IPv6Address(host)) if "%" not in host else _no_host()
        except ValueError:
            _no_host()
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        _no_host()
    if _NUMBER.fullmatch(labels[-1]):
        # Resolvers read such names as addresses: octal, hexadecimal, one number for all four.
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise _wrong("its host is an IP address in an unusual form; it must be a host name") from None
    return host.lower()


def _no_host() -> str:
    raise _wrong("its host is none; it must be a host name, such as example.com")


def _wrong(right: str) -> InvalidRequest:
    # The URL itself is not told: what is wrong with it may be a password in it.
    return InvalidRequest(f"url cannot be used; {right}", field="url")


def resolve(found: Destination) -> list[IPv4Address | IPv6Address]:
    """The addresses a destination's name stands for at this moment, without repetition.

    Raises:
        OSError: if there are none.
    """
    infos = socket.getaddrinfo(found.host, found.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(info[4][0]).partition("%")[0]) for info in infos))


def check(found: Destination, address: IPv4Address | IPv6Address, allowed: Allowed) -> None:
    """Refuse an address that is not public, unless the operator has allowed it or the name.

    Raises:
        Refused: naming the address.
    """
    if allowed.address(address) or found.host in allowed.names:
        return
    if not found.secure and (found.host, found.port) in allowed.origins:
        return
    if not _is_public(address):
        raise Refused(
            f"{address} is inside a network of the operator or reserved; "
            "EXPORT_PIPELINE_WEBHOOK_ALLOW can name it"
        )


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if address.version == 6 and address not in _PUBLIC_IPV6:
        return False
    return not any(address.version == net.version and address in net for net in _NOT_PUBLIC)
