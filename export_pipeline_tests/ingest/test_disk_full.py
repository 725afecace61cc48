"""When no room is left, ingest says so, shows nothing half made, and finishes once there is room again."""

import json
import subprocess
import sys

import pytest

from export_pipeline.settings import Settings
from export_pipeline_tests.small_disk import IN_NAMESPACE, needs_small_disk

# A file system of a few kilobytes is mounted where the test says, in a namespace that ends with the process.
_SCRIPT = """
import json, subprocess, sys
from export_pipeline.errors import StorageFull
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import NOW, event_ids, kept, land, left_over, line

settings = Settings(home=sys.argv[1])
full = settings.root / sys.argv[2]
store, ledger = Store(settings), Ledger(settings)
full.mkdir(parents=True)
mount = ["mount", "-t", "tmpfs", "-o"]
subprocess.run([*mount, "size=5m", "tmpfs", str(full)], check=True)
land(settings, "a.jsonl", line(eventId="first"))
ingest_landing(settings, store, ledger, now=NOW)
subprocess.run([*mount, "remount,size=200k", "tmpfs", str(full)], check=True)
import random
noise = random.Random(1)
text = [line(eventId=f"e{n}", userId=noise.randbytes(500).hex()) for n in range(2000)]
text += [noise.randbytes(500).hex() for _ in range(2000)]
land(settings, "b.jsonl", "\\n".join(text))
told = None
try:
    ingest_landing(settings, store, ledger, now=NOW)
except StorageFull as error:
    told = error.message
seen = event_ids(store)
subprocess.run([*mount, "remount,size=50m", "tmpfs", str(full)], check=True)
ingest_landing(settings, store, ledger, now=NOW)
counts = ledger.totals()["events"][0]
print(json.dumps({
    "told": told, "seen": seen, "received": counts.received, "accepted": counts.accepted,
    "stored": len(event_ids(store)), "kept": len(kept(settings)), "left": left_over(settings),
}))
"""


@needs_small_disk
@pytest.mark.parametrize("folder", ["store", "quarantine"])
def test_an_ingest_without_room_is_told_and_finished_later(settings: Settings, folder: str) -> None:
    command = [*IN_NAMESPACE, sys.executable, "-c", _SCRIPT, str(settings.root), folder]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["told"] == (
        "no room is left to write in the state root; free some and run ingest again, it loses nothing"
    )
    assert found["seen"] == ["first"]
    assert (found["received"], found["accepted"], found["stored"], found["kept"]) == (4001, 2001, 2001, 2000)
    assert found["left"] == []
