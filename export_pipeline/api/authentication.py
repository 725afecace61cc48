"""Who asks, and whether they may: API keys with scopes, and how often (contract, section 4)."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from export_pipeline.api.deployment import deployment
from export_pipeline.api.rates import too_many
from export_pipeline.days import utc_now
from export_pipeline.errors import Forbidden, Unauthorized
from export_pipeline.ledger.keys import PREFIX, Key

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description=f"An API key, `{PREFIX}…`; `export-pipeline keys create` makes one.",
)


class Requires:
    """A dependency: the key of a request, which must be in force and have ``scope``."""

    def __init__(self, scope: str) -> None:
        self._scope = scope

    def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Key:
        """The key of a request.

        Raises:
            Unauthorized: if there is none, or it is not in force.
            RateLimited: if it asks too often.
            Forbidden: if it has not the scope.
        """
        if given is None:
            raise Unauthorized(
                f"the Authorization header is missing or malformed; it must be 'Bearer {PREFIX}…'",
                field="Authorization",
            )
        here = deployment(request)
        key = here.ledger.keys.find(given.credentials)
        rate = here.rates.count(key.id)
        request.state.rate_headers = rate.headers() if rate.remaining >= 0 else _none_left(rate.headers())
        if rate.remaining < 0:
            raise too_many(rate)
        here.ledger.keys.note_use(key, utc_now())
        check_scope(key, self._scope)
        return key


def check_scope(key: Key, scope: str) -> None:
    """Refuse what a key may not do.

    Raises:
        Forbidden: naming the scope.
    """
    if scope not in key.scopes:
        raise Forbidden(f"the key has the scopes {', '.join(key.scopes)}; this needs {scope}", field="scope")


def _none_left(headers: dict[str, str]) -> dict[str, str]:
    return headers | {"X-RateLimit-Remaining": "0"}
