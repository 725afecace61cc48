"""The page of an access export that a person can read: what is held of them, since when, how much.

Complete in itself: no script, nothing loaded from elsewhere; whatever the data holds is escaped.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.archives import DEVICES, EXPERIMENTS, PROFILE, rows_name
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import instant_text
from export_pipeline.privacy.chart import chart
from export_pipeline.privacy.holdings import Rows, UserRow
from export_pipeline.privacy.identity import Person

_MOST_LISTED = 200
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2127; --soft: #5d6773; --line: #d8dee4; --back: #fff;
  --card: #f4f6f8; --bar: #2f6fdd }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --soft: #9aa5b1; --line: #333b44;
  --back: #14181c; --card: #1d2329; --bar: #6ea2ff } }
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--back);
  max-width: 50rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem }
p { margin: .5rem 0 } .soft { color: var(--soft); font-size: .9rem }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem;
  margin: 1.5rem 0 } .card { background: var(--card); border-radius: 10px; padding: .75rem 1rem }
.card b { display: block; font-size: 1.15rem; white-space: nowrap }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .35rem .75rem .35rem 0;
  border-top: 1px solid var(--line); vertical-align: top; font-weight: normal }
td:last-child { padding-right: 0 } .number { text-align: right; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere } .count { white-space: nowrap; text-align: right }
figure { margin: 1rem 0 }
svg { display: block; width: 100%; height: 8rem; border-bottom: 1px solid var(--line) }
rect { fill: var(--bar) }
.axis { display: flex; justify-content: space-between; gap: 1rem; text-align: center }
.axis :not(:nth-child(2)) { white-space: nowrap }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
td:first-child code { overflow-wrap: break-word }
"""


@dataclass(frozen=True)
class Story:
    """What the page tells: all that was found of a person, and when it was looked for (RFC 3339)."""

    job_id: str
    made_at: str
    person: Person
    rows: Sequence[Rows]
    profile: UserRow | None
    devices: Sequence[UserRow]
    experiments: Sequence[UserRow]
    retention_days: int

    @property
    def count(self) -> int:
        """The events shown."""
        return sum(rows.count for rows in self.rows)

    @property
    def withheld(self) -> int:
        """The events withheld."""
        return sum(rows.withheld for rows in self.rows)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is held."""
        return not (self.count or self.withheld or self.profile or self.devices or self.experiments)


def page(story: Story) -> bytes:
    """The page, as HTML in UTF-8."""
    return "\n".join(_parts(story)).encode("utf-8", "replace")


def _parts(story: Story) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield "<meta name=referrer content=no-referrer><title>Your data</title>"
    yield f"<style>{_STYLE}</style><h1>Your data</h1>"
    yield f"<p>What is held about <code>{escape(story.person.user_id)}</code>, as of "
    yield f"{_instant(story.made_at)}.</p>"
    yield f"<p class=soft>Request <code>{escape(story.job_id)}</code>. All times are UTC.</p>"
    if story.is_empty:
        yield "<h2>Nothing is held</h2><p>There is no event, no profile, no device and no experiment "
        yield "under this id.</p>"
    else:
        yield from _cards(story)
        yield from _activity(story)
        yield from _profile(story.profile)
        yield from _devices(story)
        yield from _experiments(story.experiments)
    yield from _withheld(story)
    yield from _files(story)


def _cards(story: Story) -> Iterator[str]:
    first, last = _ends(story.rows)
    facts = [
        (f"{story.count:,}", "events"),
        (first, "first event") if first else ("–", "no event"),
        (last, "last event") if last else None,
        (f"{len(story.devices):,}", "device" if len(story.devices) == 1 else "devices"),
        (story.profile["createdAt"][:10], "profile as of") if story.profile else ("none", "profile"),
    ]
    cards = (f"<div class=card><b>{fact[0]}</b>{fact[1]}</div>" for fact in facts if fact)
    yield f"<div class=cards>{''.join(cards)}</div>"


def _ends(rows: Sequence[Rows]) -> tuple[str | None, str | None]:
    firsts = [each.first_us for each in rows if each.first_us is not None]
    lasts = [each.last_us for each in rows if each.last_us is not None]
    return (instant_text(min(firsts))[:10], instant_text(max(lasts))[:10]) if firsts else (None, None)


def _activity(story: Story) -> Iterator[str]:
    if not story.count:
        return
    days = Counter[date]()
    for rows in story.rows:
        days.update(rows.days)
    yield f"<h2>Activity by day</h2>{chart(days)}"
    yield "<h2>What you did</h2><table>"
    for rows in story.rows:
        for event in DATA_TYPES[rows.data_type].events:
            if count := rows.events.get(event.name):
                yield (
                    f"<tr><td>{escape(event.description)}<td class=soft>{escape(event.name)}"
                    f"<td class='number count'>{count:,}</tr>"
                )
    yield "</table>"
    yield f"<p class=soft>Events are kept for {story.retention_days} days. Each one stands in the files "
    yield f"{_listed([rows_name(rows.data_type) for rows in story.rows if rows.count])}, a line each.</p>"


def _profile(profile: UserRow | None) -> Iterator[str]:
    if profile is None:
        return
    yield f"<h2>Profile</h2><p class=soft>As of {_instant(profile['createdAt'])}; kept until it is deleted. "
    yield f"All of it is in {PROFILE}.</p>"
    for name, title in (("topicAffinities", "Interest by topic"), ("engagementSummary", "Summary")):
        if values := _object(profile[name]):
            yield f"<table><tr><th colspan=2 class=soft>{title}</tr>"
            for key, value in values:
                yield f"<tr><td>{escape(key)}<td class=number>{escape(value)}</tr>"
            yield "</table>"


def _object(text: str | None) -> list[tuple[str, str]]:
    # Numbers as they are written: they may have more digits than a number can hold.
    value: Any = json.loads(text, parse_int=str, parse_float=str) if text else None
    if not isinstance(value, dict):
        return []
    found = list(value.items())[:_MOST_LISTED]
    return [(key, v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)) for key, v in found]


def _devices(story: Story) -> Iterator[str]:
    if not story.devices:
        return
    yield "<h2>Devices</h2><table><tr class=soft><th>Anonymous id<th>Linked since</tr>"
    for row in story.devices[:_MOST_LISTED]:
        shared = " (shared)" if row["deviceId"] in story.person.contested else ""
        yield f"<tr><td><code>{escape(row['deviceId'])}</code>{shared}<td>{_instant(row['linkedAt'])}</tr>"
    yield f"</table>{_more(story.devices, DEVICES)}"


def _experiments(rows: Sequence[UserRow]) -> Iterator[str]:
    if not rows:
        return
    yield "<h2>Experiments</h2><table><tr class=soft><th>Experiment<th>Variant<th>Assigned</tr>"
    for row in rows[:_MOST_LISTED]:
        yield (
            f"<tr><td>{escape(row['experimentId'])}<td>{escape(row['variant'])}"
            f"<td>{_instant(row['assignedAt'])}</tr>"
        )
    yield f"</table>{_more(rows, EXPERIMENTS)}"


def _more(rows: Sequence[UserRow], name: str) -> str:
    rest = len(rows) - _MOST_LISTED
    return f"<p class=soft>{rest:,} more are in {name}.</p>" if rest > 0 else ""


def _withheld(story: Story) -> Iterator[str]:
    if story.withheld:
        yield f"<h2>Withheld</h2><p>{story.withheld:,} more events were recorded under an anonymous id that "
        yield "others are linked to as well, such as a shared device. They may be somebody else's and are "
        yield "not shown; an erasure removes them.</p>"


def _files(story: Story) -> Iterator[str]:
    meanings = [(PROFILE, "your profile"), (DEVICES, "devices you logged in from")]
    meanings += [(EXPERIMENTS, "experiments you take part in")]
    meanings += [(rows_name(name), DATA_TYPES[name].description) for name in DATA_TYPES]
    meanings += [(MANIFEST, "what this archive holds, with checksums")]
    yield "<h2>Files beside this page</h2><table>"
    for name, meaning in meanings:
        yield f"<tr><td><code>{name}</code><td>{escape(meaning)}</tr>"
    yield "</table><p class=soft>They are plain text: JSON, or a JSON object a line.</p>"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"<code>{escape(name)}</code>" for name in names)


def _instant(text: str) -> str:
    """An RFC 3339 instant for a person."""
    return f"{text[:10]} {text[11:16]}"
