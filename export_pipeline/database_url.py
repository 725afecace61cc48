"""The address of a PostgreSQL database: checked, put together, and shown without its password."""

import re
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from pydantic import SecretStr

SCHEME = "postgresql"
FORM = "postgresql://user:password@host:port/database"

_NAME = re.compile(r"/[A-Za-z0-9_.-]+", re.ASCII)
_ENCODED = (
    f"it must have the form {FORM}; in user and password, characters such as @ / : # ? % have to be "
    "percent-encoded, as `export-pipeline database-url` does"
)
_SECRET_PARAMETERS = ("password", "sslpassword")


class DatabaseUrl(SecretStr):
    """An address that shows everything but its password wherever it is printed."""

    def _display(self) -> str:
        return masked(self.get_secret_value())


def check(url: str) -> None:
    """Refuse what is no address of a database.

    Raises:
        ValueError: saying what would be right; nothing of the address is in it.
    """
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise ValueError(_ENCODED) from None
    if split.netloc.count("@") > 1 or "@" in split.path or split.fragment:
        raise ValueError(_ENCODED)
    given = dict(parse_qsl(split.query, keep_blank_values=True))
    if split.scheme != SCHEME:
        raise ValueError(f"it must begin with postgresql://, as {FORM} does")
    if secret := next((name for name in _SECRET_PARAMETERS if name in given), None):
        raise ValueError(f"it must hold its password before the @, not as the parameter {secret}")
    if not (split.hostname or given.get("host")) or port == 0:
        raise ValueError(f"it must name a host, as {FORM} does")
    if not _NAME.fullmatch(split.path):
        raise ValueError(f"it must name one database, of letters, digits, _ . and -, as {FORM} does")


def masked(url: str) -> str:
    """The address with ``***`` in the place of its password."""
    split = urlsplit(url)
    if split.password is None:
        return url
    user, host = split.username or "", split.netloc.rpartition("@")[2]
    return split._replace(netloc=f"{user}:***@{host}").geturl()


def composed(host: str, port: int, database: str, user: str, password: str) -> str:
    """An address; whatever characters user and password have."""
    if ":" in host:
        host = f"[{host}]"
    secret = f":{quote(password, safe='')}" if password else ""
    location = f"{quote(user, safe='')}{secret}@{host}:{port}"
    return SplitResult(SCHEME, location, f"/{database}", "", "").geturl()
