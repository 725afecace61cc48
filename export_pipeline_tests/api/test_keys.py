"""Who may ask, and how often."""

from pathlib import Path

import pytest

from export_pipeline.days import utc_now
from export_pipeline_tests.api.conftest import Api, Serving
from export_pipeline_tests.api.test_exports import EXPORT, refused

LIST = "/v1/analytics/exports"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "sk_live_x",
        "Bearer sk_live_unknown",
        "Bearer sk_live_" + "A" * 43,
    ],
)
def test_without_a_key_in_force_nothing_is_answered(api: Api, header: str | None) -> None:
    answer = api.session.get(api.url + LIST, headers={} if header is None else {"Authorization": header})
    assert refused(answer)[:2] == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_revoked_key_is_refused_at_once(api: Api) -> None:
    key, text = api.ledger.keys.create(["exports:read"], utc_now())
    assert api.get(LIST, key=text).status_code == 200
    api.ledger.keys.revoke(key.id, utc_now())
    assert refused(api.get(LIST, key=text))[:2] == (401, "UNAUTHORIZED")


def test_a_scope_that_is_missing_is_named(api: Api) -> None:
    reader, other = api.new_key("exports:read"), api.new_key("privacy", "webhooks")
    job_id = api.ask()
    assert refused(api.post(EXPORT, key=reader, json={})) == (403, "FORBIDDEN", "scope")
    assert refused(api.call("DELETE", f"{EXPORT}/{job_id}", key=reader)) == (403, "FORBIDDEN", "scope")
    assert refused(api.get(f"{EXPORT}/{job_id}", key=other)) == (403, "FORBIDDEN", "scope")
    assert api.get(f"{EXPORT}/{job_id}", key=reader).status_code == 200


def test_each_key_has_a_rate_and_sees_it(serving: Serving, tmp_path: Path) -> None:
    api = serving(tmp_path / "home", rate_limit="3")
    answers = [api.get(LIST) for _ in range(9)]
    # A minute may turn in between; then the count starts anew, once.
    assert [a.status_code for a in answers].count(429) >= 3
    assert answers[0].headers["X-RateLimit-Limit"] == "3"
    assert int(answers[0].headers["X-RateLimit-Remaining"]) in (0, 1, 2)
    last = next(a for a in answers if a.status_code == 429)
    assert refused(last)[:2] == (429, "RATE_LIMITED")
    assert last.headers["X-RateLimit-Remaining"] == "0"
    assert 0 < int(last.headers["Retry-After"]) <= 60
    assert api.get(LIST, key=api.new_key("exports:read")).status_code == 200
