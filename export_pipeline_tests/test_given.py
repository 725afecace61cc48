"""What was given by mistake: a misspelt name is told, and what may be somebody's id is not."""

import pytest

from export_pipeline.errors import InvalidRequest
from export_pipeline.given import check_names, shown

IDS = ("user_00000001", "3f2b8c1e-7a54-4c0d-9b1f-2d6e8a90c711", "ada@example.com", "12345678", "a" * 41)


@pytest.mark.parametrize("name", ["startDat", "done", "export.redy"])
def test_a_name_is_told(name: str) -> None:
    assert shown(name) == repr(name)
    with pytest.raises(InvalidRequest, match=f"^filters.{name} is not a field; the fields are a, b$") as told:
        check_names([name], ["a", "b"], prefix="filters.", whole="filters")
    assert told.value.field == f"filters.{name}"


@pytest.mark.parametrize("given", IDS)
def test_what_has_not_the_form_of_a_name_is_not(given: str) -> None:
    assert shown(given) == "a string that is not repeated"
    with pytest.raises(InvalidRequest) as told:
        check_names(["a", given], ["a", "b"])
    assert told.value.message == "body holds a field that is not known; the fields are a, b"
    assert told.value.field == "body"


@pytest.mark.parametrize(
    ("given", "told"),
    [(None, "null"), ("", "an empty string"), ({"user_1": 1}, "an object"), ([7], "a list"), (7, "a number")],
)
def test_of_anything_else_the_kind_is_told(given: object, told: str) -> None:
    assert shown(given) == told
