"""The form that asks for an export: its fields as the REST body's, and the words in which errors are told."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from export_pipeline.days import MAX_RANGE_DAYS, close_instant, days_between, oldest_kept_day, parse_day
from export_pipeline.errors import ExportPipelineError, InvalidRequest
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.portal.forms import Form
from export_pipeline.settings import Settings

_FILTERS = ("contentIds", "userIds", "eventTypes")
_FIELDS = {f"filters.{name}": name for name in _FILTERS}
_WORDS = {
    "filters.contentIds": "content ids",
    "filters.userIds": "user ids",
    "filters.eventTypes": "event types",
    "startDate": "first day",
    "endDate": "last day",
    "dataTypes": "data types",
}
_USUAL_DAYS = 7


@dataclass(frozen=True)
class Option:
    """One of several things that can be chosen."""

    value: str
    label: str
    note: str = ""


FORMATS = (
    Option("jsonl", "JSON Lines", "for programs"),
    Option("csv", "CSV", "for spreadsheets"),
)
COMPRESSIONS = (Option("gzip", "gzip", "smaller"), Option("none", "None"))
TYPES = tuple(
    Option(name, label, note)
    for name, label, note in (
        ("events", "Engagement", "plays, likes, shares"),
        ("quality", "Quality", "rebuffering, errors"),
        ("ads", "Ads", "impressions, clicks"),
    )
)
EVENTS = tuple(
    Option(event, event, ", ".join(name for name, kind in DATA_TYPES.items() if event in kind.event))
    for event in dict.fromkeys(event for kind in DATA_TYPES.values() for event in kind.event)
)


def fresh(settings: Settings, now: datetime) -> Form:
    """The form as it is first shown: the last seven days that have closed, as far as they are kept."""
    today = now.date()
    last = max(
        (day for day in days_between(today - timedelta(days=2), today) if _closed(day, settings, now)),
        default=today,
    )
    first = max(last - timedelta(days=_USUAL_DAYS - 1), oldest_kept_day(now, settings.raw_retention_days))
    return Form(
        {
            "startDate": [str(first)],
            "endDate": [str(last)],
            "dataTypes": ["events"],
            "format": ["jsonl"],
            "compression": ["gzip"],
        }
    )


def _closed(day: date, settings: Settings, now: datetime) -> bool:
    return close_instant(day, settings.close_delay) <= now


def asked(form: Form) -> dict[str, object]:
    """What a form asks for, keyed as in the REST body; what was typed twice counts once.

    Raises:
        InvalidRequest: naming a field that was left out.
    """
    for name, words in (("startDate", "Choose the first day."), ("endDate", "Choose the last day.")):
        if not form.text(name):
            raise InvalidRequest(words, field=name)
    if not form.all("dataTypes"):
        raise InvalidRequest("Choose at least one data type.", field="dataTypes")
    given = {
        "contentIds": form.lines("contentIds"),
        "userIds": form.lines("userIds"),
        "eventTypes": form.all("eventTypes"),
    }
    filters = {name: list(dict.fromkeys(values)) for name, values in given.items() if values}
    return {
        "startDate": form.text("startDate"),
        "endDate": form.text("endDate"),
        "dataTypes": list(form.all("dataTypes")),
        "format": form.text("format"),
        "compression": form.text("compression"),
        **({"filters": filters} if filters else {}),
    }


def told(form: Form, error: ExportPipelineError) -> Form:
    """The form with an error at its field, its names as the form shows them."""
    message = error.message
    for name, words in _WORDS.items():
        message = message.replace(name, words)
    worded = ExportPipelineError(message[:1].upper() + message[1:], field=error.field)
    return form.told(worded, _FIELDS)


def range_hint(form: Form, now: datetime) -> str:
    """Which last day a first day allows, said before it is exceeded."""
    most = f"At most {MAX_RANGE_DAYS} days"
    try:
        first = parse_day(form.text("startDate"), "startDate")
        latest = first + timedelta(days=MAX_RANGE_DAYS - 1)
    except (InvalidRequest, OverflowError):
        return f"{most}, both included"
    return f"{most}, both included: up to {min(latest, max(first, now.date()))}"
