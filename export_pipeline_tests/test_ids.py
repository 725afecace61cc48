"""Ids: each kind has one form, and what has not that form is never repeated."""

import pytest

from export_pipeline import ids
from export_pipeline.errors import NotFound
from export_pipeline.ids import Kind
from export_pipeline.ledger import Ledger

KINDS = [each for each in vars(ids).values() if isinstance(each, Kind)]
USER = "user_00000001"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
def test_a_new_id_has_the_form_of_its_kind_and_is_named_when_nothing_has_it(kind: Kind) -> None:
    made = kind.new()
    assert kind.fits(made)
    assert made != kind.new()
    assert kind.unknown(made).message == f"there is no {kind.noun} {made}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
@pytest.mark.parametrize("before", ["", "prefixed"])
def test_what_has_not_the_form_is_not_repeated_and_the_form_is_told(kind: Kind, before: str) -> None:
    said = kind.unknown((kind.prefix if before else "") + USER)
    assert USER not in said.message
    assert kind.prefix in said.message
    assert said.field == kind.field


def test_the_id_of_a_scheduled_export_is_one_of_a_job() -> None:
    assert ids.JOB.fits(f"exp_weekly_20260204_{ids.SCHEDULE.new()}")
    assert not ids.JOB.fits(f"exp_weekly_20260204_{USER}")


def test_no_part_of_the_ledger_repeats_what_is_no_id(ledger: Ledger) -> None:
    asked = (
        ledger.webhooks.get, ledger.schedules.get, ledger.messages.get, ledger.links.get, ledger.erasures.get,
    )  # fmt: skip
    for get in asked:
        with pytest.raises(NotFound) as said:
            get(USER)
        assert USER not in str(said.value)
