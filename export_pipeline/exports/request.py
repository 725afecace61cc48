"""What is asked for: an export request, parsed and validated from plain values (contract, sections 4 and 8).

Owns the names and rules of the request's fields, whatever surface they come through.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, cast

from export_pipeline.days import check_range, parse_day
from export_pipeline.errors import InvalidRequest
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.cursors import Since, parse_since
from export_pipeline.given import check_names, kind, one_of, shown
from export_pipeline.settings import Settings

Format = Literal["jsonl", "csv"]
Compression = Literal["gzip", "none"]

FORMATS = ("jsonl", "csv")
COMPRESSIONS = ("gzip", "none")

_FIELDS = ("startDate", "endDate", "dataTypes", "format", "compression", "filters", "cursor")
_FILTERS = ("contentIds", "userIds", "eventTypes")


@dataclass(frozen=True)
class Filters:
    """Which rows are wanted: or-ed inside a list, and-ed between; an empty list asks for all.

    ``user_ids`` stays out of the representation, so that no log or exception shows it.
    """

    content_ids: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = field(default=(), repr=False)
    event_types: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether any row can be left out."""
        return bool(self.content_ids or self.user_ids or self.event_types)


@dataclass(frozen=True)
class ExportRequest:
    """A valid request. ``start`` and ``end`` are days (UTC), both included.

    With ``since`` it asks for an increment: the rows of batches taken since, whatever day they belong to.
    ``start`` and ``end`` are then the range of what is held already.
    """

    start: date
    end: date
    data_types: tuple[str, ...] = ("events",)
    format: Format = "jsonl"
    compression: Compression = "gzip"
    filters: Filters = Filters()
    since: Since | None = None


def parse_request(values: Mapping[str, object], *, now: datetime, settings: Settings) -> ExportRequest:
    """The request that ``values``, keyed as in the REST body, ask for.

    Raises:
        InvalidRequest: naming the field, its value and what would be right.
        OutsideRetention: if the first day, or what came since the cursor, is no longer kept.
    """
    check_names(values, _FIELDS)
    since = None
    if "cursor" in values:
        _check_no_dates(values)
        since = parse_since(values["cursor"], now=now, settings=settings)
        start, end = since.start, since.end
    else:
        for name in ("startDate", "endDate"):
            if name not in values:
                raise InvalidRequest(
                    f"{name} is missing; it must be a calendar day as YYYY-MM-DD", field=name
                )
        start, end = parse_day(values["startDate"], "startDate"), parse_day(values["endDate"], "endDate")
        check_range(start, end, now, settings.raw_retention_days)
    data_types = check_data_types(values.get("dataTypes", since.data_types if since else ["events"]))
    if since:
        _check_covered(data_types, since)
    return ExportRequest(
        start,
        end,
        data_types,
        check_format(values.get("format", "jsonl")),
        check_compression(values.get("compression", "gzip")),
        check_filters(values.get("filters", {}), data_types),
        since,
    )


def _check_no_dates(values: Mapping[str, object]) -> None:
    for name in ("startDate", "endDate"):
        if name in values:
            raise InvalidRequest(
                f"{name} is given together with cursor; give either the cursor, or startDate and endDate",
                field=name,
            )


def _check_covered(data_types: tuple[str, ...], since: Since) -> None:
    for name in data_types:
        if name not in since.data_types:
            raise InvalidRequest(
                f"cursor is of an export of {_listed(since.data_types)}; it says nothing of {name}, "
                "which has to be exported in full first",
                field="cursor",
            )


def check_format(value: object) -> Format:
    """``value`` as a format; anything else is ``InvalidRequest`` naming ``format``."""
    return cast(Format, one_of(value, FORMATS, "format"))


def check_compression(value: object) -> Compression:
    """``value`` as a compression; anything else is ``InvalidRequest`` naming ``compression``."""
    return cast(Compression, one_of(value, COMPRESSIONS, "compression"))


def check_data_types(value: object) -> tuple[str, ...]:
    """``value`` as data types in the order asked; anything else is ``InvalidRequest``."""
    names = _texts(value, "dataTypes")
    for name in names:
        one_of(name, tuple(DATA_TYPES), "dataTypes")
    return names


def check_filters(value: object, data_types: tuple[str, ...]) -> Filters:
    """``value`` as filters for these data types; anything else is ``InvalidRequest`` naming the field."""
    if not isinstance(value, Mapping):
        raise InvalidRequest(
            f"filters is {kind(value)}; it must be an object with any of {_listed(_FILTERS)}",
            field="filters",
        )
    check_names(map(str, value), _FILTERS, prefix="filters.", whole="filters")
    content, users, events = (
        _texts(value[name], f"filters.{name}") if name in value else () for name in _FILTERS
    )
    known = tuple(dict.fromkeys(event for name in data_types for event in DATA_TYPES[name].event))
    for event in events:
        if event not in known:
            raise InvalidRequest(
                f"filters.eventTypes holds {shown(event)}; for dataTypes {_listed(data_types)} "
                f"it must be one of {_listed(known)}",
                field="filters.eventTypes",
            )
    return Filters(content, users, events)


def _texts(value: object, name: str) -> tuple[str, ...]:
    right = "it must be a list of one or more different non-empty strings"
    if not isinstance(value, list | tuple):
        raise InvalidRequest(f"{name} is {kind(value)}; {right}", field=name)
    if not value:
        raise InvalidRequest(f"{name} is an empty list; {right}", field=name)
    for position, item in enumerate(value):
        if not isinstance(item, str) or not item:
            raise InvalidRequest(
                f"{name}[{position}] is {kind(item)}; it must be a non-empty string", field=name
            )
        if not _encodable(item):
            raise InvalidRequest(
                f"{name}[{position}] holds half a surrogate pair; it must be Unicode text", field=name
            )
    if len(set(value)) < len(value):
        first_of = {item: place for place, item in reversed(list(enumerate(value)))}
        position = next(place for place, item in enumerate(value) if first_of[item] != place)
        raise InvalidRequest(f"{name}[{position}] repeats a value; {right}", field=name)
    return tuple(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
