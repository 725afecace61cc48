"""Settings come from the environment, checked once, with one clear error."""

from pathlib import Path

import pytest

from export_pipeline.errors import InvalidSetting
from export_pipeline.settings import PREFIX, Settings, describe, load


def test_without_variables_every_setting_has_a_default() -> None:
    assert load({}) == Settings()
    assert {setting["source"] for setting in describe(load({}), {})} == {"default"}


def test_a_variable_sets_its_setting_and_is_named_as_the_source() -> None:
    environ = {f"{PREFIX}HOME": "/data", f"{PREFIX}EXPORT_HOUR": "5", "OTHER": "x"}
    settings = load(environ)
    assert (settings.root, settings.export_hour) == (Path("/data"), 5)
    sources = {setting["name"]: setting["source"] for setting in describe(settings, environ)}
    assert (sources["home"], sources["workers"]) == ("environment", "default")


def test_an_empty_variable_is_as_good_as_none() -> None:
    environ = {f"{PREFIX}HOME": "", f"{PREFIX}DUCKDB_SOURCE": ""}
    assert load(environ) == Settings()
    assert {setting["source"] for setting in describe(load(environ), environ)} == {"default"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("EXPORT_HOUR", "24"), ("WORKERS", "0"), ("RAW_RETENTION_DAYS", "many"), ("FIRST_DAY", "2026-13-01")],
)
def test_a_value_that_cannot_be_used_is_named_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{PREFIX}{name} is {value!r}") as refused:
        load({f"{PREFIX}{name}": value})
    assert refused.value.field == f"{PREFIX}{name}"


def test_a_variable_that_is_no_setting_is_named() -> None:
    with pytest.raises(InvalidSetting, match=f"{PREFIX}HOEM is not a setting"):
        load({f"{PREFIX}HOEM": "/data"})
