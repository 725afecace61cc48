"""Hold every event once, late ones too; run it again and again:

EXPORT_KEY=sk_… python stay_complete.py URL DATABASE FIRST_DAY LAST_DAY
"""

import json
import os
import sys
import time
import urllib.request

import duckdb

url, database, first, last = sys.argv[1:]


def call(path, body=None):
    headers = {"Authorization": f"Bearer {os.environ['EXPORT_KEY']}"}
    request = urllib.request.Request(
        f"{url}/v1/analytics/{path}", body and json.dumps(body).encode(), headers
    )
    return json.load(urllib.request.urlopen(request))["data"]


held = duckdb.connect(database)
held.execute('create table if not exists events ("eventId" varchar primary key, line json)')
held.execute("create table if not exists last_export (cursor varchar)")
known = held.execute("select cursor from last_export").fetchone()

job = call("export", {"cursor": known[0]} if known else {"startDate": first, "endDate": last})["jobId"]
while (export := call(f"export/{job}"))["status"] in ("queued", "processing"):
    time.sleep(1)
if export["status"] != "complete":
    sys.exit(f"there is no export: {export['error']['message']}")
urllib.request.urlretrieve(export["downloadUrl"], f"{database}.jsonl.gz")

held.begin()
(before,) = held.execute("select count(*) from events").fetchone()
held.execute(
    """insert or ignore into events select json->>'eventId', json
    from read_json_objects(?, format = 'newline_delimited')""",
    [f"{database}.jsonl.gz"],
)
held.execute("delete from last_export")
held.execute("insert into last_export values (?)", [export["cursor"]])
(after,) = held.execute("select count(*) from events").fetchone()
held.commit()
print(after - before, after)
