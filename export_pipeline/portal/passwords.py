"""The portal's password: the operator's, or one that is made on first use and kept by its key."""

import base64
import hashlib
import hmac

from export_pipeline import secrets
from export_pipeline.errors import Conflict
from export_pipeline.portal.guards import SECRET
from export_pipeline.settings import Settings

_GROUPS, _GROUP = 4, 5


def has_password(settings: Settings) -> bool:
    """Whether people log in with a password; not if a proxy says who they are and none is set."""
    return bool(settings.portal_password.get_secret_value() or not settings.portal_user_header)


def is_made(settings: Settings) -> bool:
    """Whether the password is one that nobody has set."""
    return has_password(settings) and not settings.portal_password.get_secret_value()


def made_password(settings: Settings) -> str:
    """The password where none is set: 100 bits in four groups, always the same for a deployment.

    Raises:
        Conflict: if one is set, or people log in at a proxy.
    """
    if not is_made(settings):
        raise Conflict("the password of the portal is set, or a proxy logs people in; none was made")
    made = hmac.new(secrets.key(settings, SECRET), b"password", hashlib.sha256).digest()
    letters = base64.b32encode(made).decode().lower()
    return "-".join(letters[n * _GROUP : (n + 1) * _GROUP] for n in range(_GROUPS))


def is_right(settings: Settings, given: str) -> bool:
    """Whether ``given`` is the password, found out in a time that tells nothing."""
    if not has_password(settings):
        return False
    right = settings.portal_password.get_secret_value() or made_password(settings)
    return hmac.compare_digest(_digest(given), _digest(right))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
