import dagster as dg
import pytest

from export_pipeline.defs.failures import told_in_words
from export_pipeline.errors import DamagedData


def raising(error: Exception) -> dg.Failure:
    def work() -> None:
        raise error

    with pytest.raises(dg.Failure) as failure:
        told_in_words(work)
    return failure.value


def test_an_error_of_ours_keeps_its_sentence() -> None:
    failure = raising(DamagedData("store/x.parquet is missing"))
    assert failure.description == "INTERNAL_ERROR: store/x.parquet is missing"


def test_a_foreign_error_is_told_by_type_and_place_only() -> None:
    failure = raising(ValueError("user_00000001 is odd"))
    assert str(failure.description).startswith("INTERNAL_ERROR: ValueError in work, line ")
    assert failure.__context__ is None
    assert failure.__cause__ is None
