"""What is wrong with a small share of the sample's lines, so that ingest has something to refuse.

Works on finished lines: picks some, and changes their text.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.events.sample_text import Bools, Ints, Text

MALFORMED, EXTRA_DATA, EXTRA_KEY, DRIFT = 20, 15, 3, 6
"""Lines in 10,000: malformed; unknown keys in ``data``; an unknown key; a ``data`` field of another type."""

_STALE_DAYS = 400

_BROKEN: tuple[tuple[str, str], ...] = (
    (r"(?s)^(.{150}).*$", r"\1" + "\n"),
    (r'"userId":"[^"]*",', ""),
    (r'"event":"[A-Za-z]*"', r'"event":"videoTeleported"'),
    (r'("timestamp":"[^"]*)Z"', r'\1"'),
    (r'"deviceType":"[a-z]*"', r'"deviceType":7'),
    (r'"timestamp":"[^"]*"', r'"timestamp":"yesterday, about noon"'),
    (r"(?s)^.*$", '["watchProgress","ios"]' + "\n"),
    (r'"event":"[A-Za-z]*",', ""),
    (r"(?s)^.*$", "<html><body>502 Bad Gateway</body></html>\n"),
)
_NO_CONTENT = (r'"contentId":"[^"]*"', r'"contentId":null')

_EXTRA_DATA = (
    r'"droppedFrames":3,',
    r'"viewport":{"width":1080,"height":2400},',
    r'"größe":"10 \\"Zoll\\"",',
    r'"tags":["a","=b",null],',
    r'"sequence":123456789012345678901234567890,',
)

_DRIFT = (
    (r'"(bitrate|position|startupTime|videosWatched|loopCount)":(\d+)', r'"\1":"\2"'),
    (r'"(didSkip|looped)":(true|false)', r'"\1":"\2"'),
    (r'"(reason|networkType|platform|direction)":"[^"]*"', r'"\1":4'),
    (r'"(currentTime|duration|totalSessionTime)":([\d.]+)', r'"\1":"\2 s"'),
)


def _replace(lines: Text, pattern: str, replacement: str) -> Text:
    return pc.replace_substring_regex(lines, pattern, replacement, max_replacements=1)


def _in_turn(lines: Text, changes: Sequence[tuple[str, str]], turn: int) -> Text:
    """The lines with the changes applied in turn, each to every n-th line."""
    groups = [
        _replace(lines[k :: len(changes)], *changes[(k + turn) % len(changes)]) for k in range(len(changes))
    ]
    index = np.arange(len(lines))
    before = np.cumsum([0, *(len(g) for g in groups)])
    return pa.concat_arrays(groups).take(pa.array(before[index % len(changes)] + index // len(changes)))


def disturb(lines: Text, day: date, needs_content: Bools, has_data: Bools, rng: np.random.Generator) -> Text:
    """The same lines with trouble in some of them; their number and order stay.

    ``needs_content`` marks the rows of events that must have a ``contentId``, ``has_data`` those whose
    ``data`` has fields. Stale timestamps lie more than a year before ``day``.
    """
    if not len(lines):
        return lines
    fate = rng.integers(0, 10_000, len(lines))
    turn = int(rng.integers(0, 1 << 16))
    replaced: list[tuple[Ints, Text]] = []

    def change(rows: Ints, changes: Sequence[tuple[str, str]]) -> None:
        if len(rows):
            replaced.append((rows, _in_turn(lines.take(pa.array(rows)), changes, turn)))

    stale = f'"timestamp":"{day - timedelta(days=_STALE_DAYS)}'
    breaks = [*_BROKEN, (r'"timestamp":"\d{4}-\d\d-\d\d', stale)]
    broken = fate < MALFORMED
    change(np.flatnonzero(broken & needs_content), [*breaks, _NO_CONTENT])
    change(np.flatnonzero(broken & ~needs_content), breaks)
    low, high = MALFORMED, MALFORMED + EXTRA_DATA
    extra = [(r'"data":\{', r'"data":{' + member) for member in _EXTRA_DATA]
    change(np.flatnonzero((fate >= low) & (fate < high) & has_data), extra)
    low, high = high, high + EXTRA_KEY
    change(np.flatnonzero((fate >= low) & (fate < high)), [(r"\}\n$", r',"appVersion":"4.12.0"}' + "\n")])
    low, high = high, high + DRIFT
    rows = np.flatnonzero((fate >= low) & (fate < high))
    if len(rows):
        drifted = lines.take(pa.array(rows))
        for pattern, replacement in _DRIFT:
            drifted = _replace(drifted, pattern, replacement)
        replaced.append((rows, drifted))
    if not replaced:
        return lines
    source = np.arange(len(lines))
    total = len(lines)
    for rows, text in replaced:
        source[rows] = total + np.arange(len(rows))
        total += len(text)
    return pa.concat_arrays([lines, *(text for _, text in replaced)]).take(pa.array(source))
