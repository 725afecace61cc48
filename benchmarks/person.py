"""Person: one user's rows out of 90 days."""

import duckdb

from benchmarks.inputs import DAY, TABLE, Input, deployment, many_days, sampled_day
from benchmarks.measuring import alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section
from export_pipeline.sql import literal, parquet
from export_pipeline.store import Store
from export_pipeline.store.views import query


def run(plan: Plan) -> list[Section]:
    """By ``query`` over all files, and over the files that the bucket of the user leaves."""
    base = sampled_day(plan.inputs, plan.small_rows)
    given = many_days(plan.inputs, base, plan.person_days, plan.rows_a_day, DAY)
    user = typical_user(given)
    home = str(given.home)
    calls = {
        "query over the view": lambda: measure(by_query, home=home, user=user),
        "the files of the user's bucket": lambda: measure(by_bucket, home=home, user=user),
    }
    found = {name: typical(each) for name, each in alternate(calls, plan.rounds).items()}
    rows = [
        [name, f"{m.result[0]:,}", f"{m.result[1]:,}", f"{m.wall:.2f}", f"{m.cpu:.2f}"]
        for name, m in found.items()
    ]
    first, second = (m.result[0] for m in found.values())
    assert first == second, "both ways find the same rows"
    title = f"A person's rows over {given.days} days of {plan.rows_a_day:,}"
    return [Section(title, ["How", "rows", "files", "seconds", "CPU s"], rows)]


def by_query(home: str, user: str) -> tuple[int, int]:
    """The rows of ``user`` through the view of the events, and the files there are."""
    settings = deployment(home)
    store = Store(settings)
    found = query(settings, store, f"select * from {TABLE} where userId = {literal(user)}").fetchall()
    return len(found), len(store.files(TABLE))


def by_bucket(home: str, user: str) -> tuple[int, int]:
    """The rows of ``user`` in the files that can hold them, and how many files those are."""
    files = Store(deployment(home)).files_of_users(TABLE, [user])
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        found = connection.sql(
            f"select * exclude (timestamp, receivedAt), timestamp::timestamp, receivedAt::timestamp "
            f"from {parquet(files)} where userId = {literal(user)}"
        ).fetchall()
    return len(found), len(files)


def typical_user(given: Input) -> str:
    """Of the users seen on the most days, the one with the median number of rows."""
    with duckdb.connect() as connection:
        users = connection.execute(
            "select userId, count(distinct timestamp::timestamp::date) as days "
            f"from {parquet(given.files)} where starts_with(userId, 'user_') "
            "group by userId qualify days = max(days) over () order by count(*), userId"
        ).fetchall()
    return str(users[len(users) // 2][0])
