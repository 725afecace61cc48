"""Load a downloaded .jsonl.gz into a DuckDB table, each event once: python load_duckdb.py FILE DATABASE"""

import sys

import duckdb

file, database = sys.argv[1:]
connection = duckdb.connect(database)
connection.execute(
    """
    create table if not exists events (
        "eventId" varchar primary key, "dataType" varchar, event varchar, "contentId" varchar,
        "userId" varchar, "timestamp" timestamp, "sessionId" varchar, "deviceType" varchar,
        "deviceId" varchar, country varchar, "receivedAt" timestamp, data json
    )
    """
)
connection.execute(
    """
    insert or ignore into events by name
    select columns(* exclude ("timestamp", "receivedAt")),
           rtrim("timestamp", 'Z')::timestamp as "timestamp",
           rtrim("receivedAt", 'Z')::timestamp as "receivedAt"
    from read_json(?, format = 'newline_delimited', columns = {
        eventId: 'varchar', dataType: 'varchar', event: 'varchar', contentId: 'varchar', userId: 'varchar',
        timestamp: 'varchar', sessionId: 'varchar', deviceType: 'varchar', deviceId: 'varchar',
        country: 'varchar', receivedAt: 'varchar', data: 'json'})
    """,
    [file],
)
print(connection.execute("select count(*) from events").fetchone()[0])
