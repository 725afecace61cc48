"""Erasing people of a deployment whose databases are in PostgreSQL: searched, or there is no certificate."""

import json
import zlib
from typing import Any

import pytest

from export_pipeline.errors import NotProven, TransientError
from export_pipeline.ledger import Ledger
from export_pipeline.privacy.erasing import erase_now
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.postgres import Server, name_of
from export_pipeline_tests.rows import row

pytestmark = pytest.mark.system

ADA, BOB = "user_00000001", "user_00000002"


@pytest.fixture
def backend() -> str:
    return "postgres"


@pytest.fixture
def erase(settings: Settings, store: Store, ledger: Ledger, land: Land) -> Any:
    """Erases Ada, who has a row, as has Bob; gives her certificate."""
    land([row(1, userId=ADA), row(2, userId=BOB)])

    def erased() -> dict[str, Any]:
        (request,) = erase_now(
            settings,
            store,
            ledger,
            lambda: request_erasures(ledger, [ADA], now=NOW, created_by="command"),
            clock=lambda: NOW,
        )
        found: dict[str, Any] = json.loads((settings.root / str(request.certificate)).read_bytes())
        return found

    return erased


def test_the_certificate_counts_the_databases_that_were_searched(erase: Any) -> None:
    certificate = erase()
    places = certificate["searched"]["places"]
    assert {"ledger", "catalog", "dagster"} <= places.keys()
    assert places["ledger"]["bytes"] > 1000
    assert places["catalog"]["bytes"] > 100
    assert any("PostgreSQL" in limit for limit in certificate["limits"])


def test_ids_in_texts_of_the_ledger_are_replaced_and_gone_from_the_statistics(
    erase: Any, ledger: Ledger, postgres_server: Server, database: str
) -> None:
    for number in range(30):
        ledger.abandon_batch(ledger.take_batch("events", f"of {ADA}", [f"{ADA}.{number}.jsonl"], NOW).id, NOW)
    postgres_server.run("analyze export_pipeline.batches", name_of(database))
    erase()
    shown = postgres_server.run(
        "select source, files::text from export_pipeline.batches union all "
        "select most_common_vals::text, '' from pg_stats where schemaname = 'export_pipeline'",
        name_of(database),
    )
    assert not [each for each in shown if ADA in str(each)]
    assert ledger.last_batches(1)[0].files[0].startswith("[erased].")


@pytest.mark.parametrize(
    ("table", "type", "value", "place"),
    [
        ("export_pipeline_catalog.noted", "varchar", f"'{ADA}'", "catalog"),
        ("export_pipeline_catalog.noted", "jsonb", f'\'{{"a": ["{ADA}"]}}\'', "catalog"),
        ("export_pipeline_catalog.noted", "text[]", f"array['x', '{ADA}']", "catalog"),
        ("export_pipeline_catalog.noted", "bytea", f"'\\x{zlib.compress(ADA.encode()).hex()}'", "catalog"),
        ("public.event_logs", "text", f"'by {ADA}'", "dagster"),
    ],
)
def test_an_id_left_in_any_column_is_found(
    erase: Any, postgres_server: Server, database: str, table: str, type: str, value: str, place: str
) -> None:
    for statement in (
        f'create table {table} (number integer, "a %% b" {type})',
        f"insert into {table} values (1, {value})",
    ):
        postgres_server.run(statement, name_of(database))
    with pytest.raises(NotProven, match=f"1 in {place}"):
        erase()


def test_rows_that_the_server_hides_keep_the_certificate_back(
    erase: Any, settings: Settings, postgres_server: Server, database: str
) -> None:
    name = name_of(database)
    for each in (
        "alter role exports nosuperuser",
        "alter table export_pipeline.batches enable row level security",
        "alter table export_pipeline.batches force row level security",
        "create policy own on export_pipeline.batches for all using (id <> '') with check (true)",
    ):
        postgres_server.run(each, name)
    try:
        with pytest.raises(NotProven, match="PostgreSQL: the database cannot be searched"):
            erase()
    finally:
        postgres_server.run("alter role exports superuser", name, user="postgres")


def test_a_table_that_others_keep_locked_is_told_as_worth_another_try(
    erase: Any, settings: Settings, postgres_server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.databases import postgres

    monkeypatch.setitem(postgres._SESSION, "lock_timeout", "200ms")
    name = name_of(database)
    postgres_server.run("create table export_pipeline_catalog.noted (t text)", name)
    with postgres_server.session(name) as session:
        session.cursor().execute("lock table export_pipeline_catalog.noted")
        with pytest.raises(TransientError, match="cannot be reached or is busy"):
            erase()
