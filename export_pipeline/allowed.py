"""Networks and hosts that settings name: what webhooks may reach besides the public internet, and where the
portal's proxies are.

For webhooks these are comma-separated networks (``10.1.0.0/16``), host names (``hooks.internal``) and
origins (``http://localhost:9000``): contract, section 5.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

_ORIGIN = re.compile(r"http://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?", re.ASCII)
_NAME = re.compile(r"(?=.{1,253}$)(?!.*\.\.)[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)

HTTP_PORT = 80

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Allowed:
    """Networks, lower-case host names, and (host, port) of plain HTTP servers."""

    networks: tuple[Network, ...]
    names: frozenset[str]
    origins: frozenset[tuple[str, int]]

    def address(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether an address is in one of the networks."""
        return any(address.version == net.version and address in net for net in self.networks)


def parse(text: str) -> Allowed:
    """What a setting's text allows.

    Raises:
        ValueError: with what is wrong, as the end of a sentence.
    """
    found, names, origins = [], set(), set()
    for item in _items(text):
        if origin := _ORIGIN.fullmatch(item):
            origins.add(_origin(item, origin))
        elif "//" in item:
            raise ValueError(f"{item[:80]!r} is no http:// origin, such as http://localhost:9000")
        elif "/" in item or ":" in item or item.replace(".", "").isdigit():
            found.append(_network(item))
        elif _NAME.fullmatch(item):
            names.add(item.lower())
        else:
            raise ValueError(f"{item[:80]!r} is neither a network, nor a host name, nor an http:// origin")
    return Allowed(tuple(found), frozenset(names), frozenset(origins))


def networks(text: str) -> tuple[Network, ...]:
    """The comma-separated networks of a setting's text.

    Raises:
        ValueError: with what is wrong, as the end of a sentence.
    """
    return tuple(map(_network, _items(text)))


def _items(text: str) -> Iterator[str]:
    return filter(None, (part.strip() for part in text.split(",")))


def _network(item: str) -> Network:
    try:
        return ip_network(item)
    except ValueError:
        raise ValueError(f"{item[:80]!r} is no network, such as 10.1.0.0/16") from None


def _origin(item: str, origin: re.Match[str]) -> tuple[str, int]:
    host, port = origin[1].lower(), int(origin[2] or HTTP_PORT)
    try:
        # As the host of a URL is written, whichever way this is.
        host = str(IPv6Address(host.strip("[]"))) if host.startswith("[") else host
    except ValueError:
        raise ValueError(f"{item[:80]!r} is no http:// origin, such as http://localhost:9000") from None
    if not 1 <= port <= 65535:
        raise ValueError(f"{item[:80]!r} is no http:// origin; its port must be from 1 to 65535")
    return host, port
