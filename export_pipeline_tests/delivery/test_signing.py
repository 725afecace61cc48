"""What we sign, the public packages verify; what was changed or is old, they refuse."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.days import utc_now
from export_pipeline.delivery.signing import headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
OTHER = "whsec_" + "QUJD" * 10
BODY = '{"event":"export.ready","data":{"name":"ü😀"}}'.encode()
LIBRARIES = (standardwebhooks.Webhook, svix.Webhook)


def signed(
    at: datetime | None = None, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,)
) -> dict[str, str]:
    return headers("del_1", "whk_1", body, at or utc_now(), secrets, secrets[-1])


@pytest.mark.parametrize("library", LIBRARIES)
def test_public_packages_verify_it(library: type) -> None:
    library(SECRET).verify(BODY, signed())


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_secret_in_force_has_its_entry(library: type) -> None:
    for secret in (SECRET, OTHER):
        library(secret).verify(BODY, signed(secrets=(SECRET, OTHER)))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("wrong", ["body", "id", "age", "secret"])
def test_public_packages_refuse_what_is_not_ours(library: type, wrong: str) -> None:
    given_ = signed(utc_now() - timedelta(hours=1) if wrong == "age" else None)
    if wrong == "id":
        given_["webhook-id"] = "del_2"
    with pytest.raises(Exception, match=r"ignature|old"):
        library(OTHER if wrong == "secret" else SECRET).verify(
            BODY + b" " if wrong == "body" else BODY, given_
        )


@given(st.text(), st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))
def test_the_other_family_is_as_the_contract_says(text: str, at: datetime) -> None:
    body = text.encode("utf-8", "replace")
    found = signed(at.replace(tzinfo=UTC), body, (OTHER, SECRET))
    timestamp = found["X-Shortform-Timestamp"]
    mac = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    assert found["X-Shortform-Signature"] == f"sha256={mac.hexdigest()}"
    assert timestamp == found["webhook-timestamp"] == str(int(at.replace(tzinfo=UTC).timestamp()))
    assert (found["X-Shortform-Delivery-ID"], found["X-Shortform-Webhook-ID"]) == ("del_1", "whk_1")
    assert found["webhook-id"] == "del_1"
