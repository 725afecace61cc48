"""Settings come from the environment, checked once, with one clear error."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from export_pipeline.database_url import composed
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


PASSWORD = "p@ss/w:rd?#%1 ä"
URL = composed("db.example.com", 5433, "exports", "me@work", PASSWORD)


def test_the_address_of_a_database_is_shown_without_its_password() -> None:
    environ = {f"{PREFIX}DATABASE": f"{URL}?sslmode=require"}
    settings = load(environ)
    shown = repr(settings) + str(settings) + settings.model_dump_json() + str(describe(settings, environ))
    assert "postgresql://me%40work:***@db.example.com:5433/exports?sslmode=require" in shown
    assert "rd%3F" not in shown


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("mysql://me:SECRET@h/db", "it must begin with postgresql://"),
        ("postgresql://me:SECRET@h", "it must name one database"),
        ("postgresql://me:SECRET@/db", "it must name a host"),
        ("postgresql://me:SECRET/x@h/db", "characters such as"),
        ("postgresql://me:SECRET@x@h/db", "characters such as"),
        ("postgresql://me:1/SECRET@h", "characters such as"),
        ("postgresql://me:SECRET#@h/db", "characters such as"),
        ("postgresql://me@h/db?password=SECRET", "it must hold its password before the @"),
        ("postgresql://me:SECRET@h:99999/db", "it must have the form"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_not_repeated(url: str, right: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(right)) as refused:
        load({f"{PREFIX}DATABASE": url})
    assert "SECRET" not in str(refused.value)
    assert refused.value.field == f"{PREFIX}DATABASE"


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))
def test_an_address_is_put_together_and_read_whatever_user_and_password_are(user: str, password: str) -> None:
    read = make_url(composed("::1", 5432, "exports", user, password))
    load({f"{PREFIX}DATABASE": composed("::1", 5432, "exports", user, password)})
    assert (read.username, read.password or "", read.database) == (user, password, "exports")
