"""The six attempts are at the contract's times, and a receiver may ask for more, never for less."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.delivery.retrying import LONGEST_WISH, next_attempt, wish

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


def test_six_attempts_are_made_at_the_contract_s_times() -> None:
    gaps, at, made = [], NOW, 1
    while (following := next_attempt(made, at)) is not None:
        gaps.append(following - at)
        at, made = following, made + 1
    assert gaps == [
        timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30),
        timedelta(hours=2), timedelta(hours=24),
    ]  # fmt: skip
    assert made == 6


@given(st.integers(0, 5), st.integers(0, 10**9))
def test_a_wish_delays_and_never_hurries(made: int, seconds: int) -> None:
    plain, wished = next_attempt(made, NOW), next_attempt(made, NOW, timedelta(seconds=seconds))
    assert plain is not None
    assert wished is not None
    assert plain <= wished <= NOW + max(LONGEST_WISH, plain - NOW)
    assert wished >= NOW + min(timedelta(seconds=seconds), LONGEST_WISH)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", timedelta(minutes=2)),
        ("Fri, 20 Nov 2026 12:40:00 GMT", timedelta(minutes=10)),
        ("Fri, 20 Nov 2026 12:00:00 GMT", timedelta()),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1e9", None),
        ("9" * 30, LONGEST_WISH),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, expected: timedelta | None) -> None:
    assert wish(header, NOW) == expected


@given(st.text())
def test_no_retry_after_does_harm(header: str) -> None:
    assert (wish(header, NOW) or timedelta()) >= timedelta()
