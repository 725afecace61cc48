"""Seconds watched by video, from a downloaded .jsonl.gz: python watch_time.py FILE"""

import sys

import pandas as pd

events = pd.read_json(sys.argv[1], lines=True, dtype={"country": str})
completions = events[events["event"] == "completion"]
watched = completions["data"].map(lambda data: data["watchTime"])
print(watched.groupby(completions["contentId"]).sum().to_json())
