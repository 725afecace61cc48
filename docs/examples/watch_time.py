"""Seconds watched by video, from a downloaded .jsonl.gz: python watch_time.py FILE"""

import gzip
import json
import sys

import pandas as pd

# Line by line, as pandas.read_json refuses integers of more than 64 bits, which events may hold.
with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
    events = pd.DataFrame(map(json.loads, lines))
completions = events[events["event"] == "completion"]
watched = completions["data"].map(lambda data: data["watchTime"])
print(watched.groupby(completions["contentId"]).sum().to_json())
