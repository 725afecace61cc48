"""Messages as letters: subject, text and HTML, from one template for each event (contract, section 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from export_pipeline.ledger.posting import (
    EXPORT_FAILED,
    EXPORT_READY,
    EXPORT_RESTATED,
    OPERATOR_ALERT,
    USER_ERASED,
)

_STYLE = "font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem;color:#1f2328"
_CELL = "padding:.15rem 1.5rem .15rem 0;text-align:left;vertical-align:top"
_BUTTON = "display:inline-block;padding:.6rem 1.2rem;border-radius:6px;background:#0b57d0;color:#ffffff"


@dataclass(frozen=True)
class Letter:
    """What is written; the subject has one line."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class _Template:
    """Texts with ``{exportId}`` and the like in them, and the facts that are listed below."""

    subject: str
    opening: str
    facts: Sequence[tuple[str, str]] = ()
    link: tuple[str, str] | None = None
    closing: str = ""


_RANGE = ("Days (UTC)", "{start} to {end}")
_FILES = (_RANGE, ("Rows", "{rowCount:,}"), ("Size", "{fileSize}"), ("Manifest", "{manifestUrl}"))
_LINK = ("Download", "{downloadUrl}")
_UNTIL = "The link works until {expiresAt} and needs no password: whoever has it can download the file."

_TEMPLATES = {
    EXPORT_READY: _Template(
        "Export {start} to {end}: {rowCount:,} rows, {fileSize}",
        "The export {exportId} is ready.",
        _FILES,
        _LINK,
        _UNTIL,
    ),
    EXPORT_FAILED: _Template(
        "Export {start} to {end} failed",
        "The export {exportId} could not be made.",
        (_RANGE, ("Reason", "{message} ({code})")),
    ),
    EXPORT_RESTATED: _Template(
        "Export {start} to {end} was made again: version {version}",
        "The export {exportId} was made again; please use this version instead of the one before.",
        (
            *_FILES,
            ("Reason", "{reason}"),
            ("Rows added", "{rowsAdded:,}"),
            ("Rows removed", "{rowsRemoved:,}"),
        ),
        _LINK,
        _UNTIL,
    ),
    USER_ERASED: _Template(
        "A person was erased from exports that you got",
        "A person was erased at their request. Please remove the rows of this person from the exports that "
        "you got; the ids of these rows are behind the link.",
        (("Exports", "{exports}"), ("Requests", "{requestIds}")),
        ("Ids of the removed rows", "{removedEventsUrl}"),
    ),
    OPERATOR_ALERT: _Template(
        "{subject}",
        "This needs a look; `export-pipeline status` shows all that is broken now.",
        (("Alerts", "{alerts}"),),
    ),
}


def letter(event: str, data: Mapping[str, Any]) -> Letter:
    """The letter that tells of an event.

    Args:
        data: as ``payloads.payload`` has it.
    """
    template, values = _TEMPLATES[event], _values(data)
    opening, closing = template.opening.format_map(values), template.closing.format_map(values)
    facts = [(name, text.format_map(values)) for name, text in template.facts]
    link = template.link and (template.link[0], template.link[1].format_map(values))
    lines = [opening, "", *(f"{name}: {text}" for name, text in facts)]
    if link and link[1]:
        lines += ["", f"{link[0]}: {link[1]}"]
    if closing:
        lines += ["", closing]
    return Letter(
        _line(template.subject.format_map(values)),
        "\n".join(lines) + "\n",
        _html(opening, facts, link, closing),
    )


def _html(opening: str, facts: Sequence[tuple[str, str]], link: tuple[str, str] | None, closing: str) -> str:
    rows = "".join(
        f'<tr><th style="{_CELL}">{escape(name)}</th><td style="{_CELL}">{_lines(text)}</td></tr>'
        for name, text in facts
    )
    button = ""
    if link and link[1].startswith(("https://", "http://")):
        button = f'<p><a href="{escape(link[1])}" style="{_BUTTON}">{escape(link[0])}</a></p>'
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<body style="{_STYLE}"><p>{_lines(opening)}</p><table>{rows}</table>{button}'
        f"<p>{_lines(closing)}</p></body></html>\n"
    )


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _line(text: str) -> str:
    """A text as one line without control characters, which could end a header."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


class _Values(dict[str, Any]):
    """A value that is not there is shown as a dash, whatever its format."""

    def __missing__(self, key: str) -> "_Absent":
        return _Absent()


class _Absent:
    def __format__(self, _: str) -> str:
        return "-"


def _values(data: Mapping[str, Any]) -> _Values:
    values = _Values({name: value for name, value in data.items() if value is not None})
    values |= data.get("dateRange") or {}
    values |= data.get("error") or {}
    if "exports" in data:
        values["exports"] = "\n".join(f"{export['exportId']}" for export in data["exports"])
    for name in ("requestIds", "alerts"):
        if name in data:
            values[name] = "\n".join(map(str, data[name]))
    return values
