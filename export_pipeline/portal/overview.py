"""Analytics → Overview: the daily metrics as charts, tables and CSV."""

import csv
import io
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from export_pipeline.api.deployment import deployment
from export_pipeline.days import parse_day, utc_now
from export_pipeline.errors import ExportPipelineError, InvalidRequest
from export_pipeline.portal.auditing import note
from export_pipeline.portal.bins import bins
from export_pipeline.portal.charts import QUANTITIES, chart
from export_pipeline.portal.forms import Form
from export_pipeline.portal.guards import member
from export_pipeline.portal.held_totals import HeldTotals
from export_pipeline.portal.pages import code_of, page
from export_pipeline.retention.metrics import SHOWN_DAYS, DayTotals

router = APIRouter(prefix="/overview", dependencies=[Depends(member)])

_QUICK = (7, SHOWN_DAYS, 90, 365)
_HEADER = ("date", *(quantity.name for quantity in QUANTITIES))


@router.get("")
def show(request: Request, startDate: str = "", endDate: str = "") -> Response:
    """Charts of a range of days; default: the last thirty that have metrics."""
    held = deployment(request).ledger.keeping.metrics()
    given = {name: text for name, text in (("startDate", startDate), ("endDate", endDate)) if text}
    form, code = Form(), 200
    first, last = _usual(held)
    try:
        first, last = _range(request, given, first, last)
    except ExportPipelineError as error:
        form, code = form.told(error), code_of(error, is_form=True)
    values = {**{name: [text] for name, text in given.items()}}
    form = Form({"startDate": [str(first)], "endDate": [str(last)], **values}, form.errors)
    settings = deployment(request).settings
    found = _totals(request, held, first, last)
    unit, cut = bins(first, last)
    return page(
        request,
        "overview.html",
        code,
        form=form,
        first=first,
        last=last,
        most=settings.aggregate_retention_days,
        unit=unit,
        charts=[chart(quantity, cut, found) for quantity in QUANTITIES],
        found=found,
        held=held,
        newest=max(held, default=None),
        quick=_shortcuts(held),
        delay=settings.close_delay,
    )


@router.get("/metrics.csv")
def download(request: Request, startDate: str = "", endDate: str = "") -> Response:
    """The numbers behind the charts of a range."""
    here = deployment(request)
    given = {name: text for name, text in (("startDate", startDate), ("endDate", endDate)) if text}
    held = here.ledger.keeping.metrics()
    first, last = _range(request, given, *_usual(held))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_HEADER)
    for total in _totals(request, held, first, last):
        values = (quantity.of(total) for quantity in QUANTITIES)
        rows.writerow([total.day, *("" if value is None else value for value in values)])
    note(request, "downloaded daily metrics")
    named = {"Content-Disposition": f'attachment; filename="metrics_{first}_{last}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=named)


def _totals(request: Request, held: Mapping[date, Any], first: date, last: date) -> list[DayTotals]:
    kept = request.app.state.totals
    assert isinstance(kept, HeldTotals)
    return kept.of(deployment(request).store, held, first, last)


def _usual(held: Mapping[date, Any]) -> tuple[date, date]:
    last = max(held, default=utc_now().date() - timedelta(days=1))
    return last - timedelta(days=SHOWN_DAYS - 1), last


def _range(request: Request, given: Mapping[str, str], first: date, last: date) -> tuple[date, date]:
    """The days given; what is not given is as it usually is.

    Raises:
        InvalidRequest: naming the field.
    """
    try:
        last = parse_day(given["endDate"], "endDate") if "endDate" in given else last
        first = parse_day(given["startDate"], "startDate") if "startDate" in given else min(first, last)
    except InvalidRequest as error:
        raise InvalidRequest("Choose a day.", field=error.field) from None
    if last < first:
        raise InvalidRequest("The last day is before the first.", field="endDate")
    most = deployment(request).settings.aggregate_retention_days
    if (last - first).days >= most:
        told = f"Choose at most {most} days, both included: so long daily metrics are kept."
        raise InvalidRequest(told, field="endDate")
    return first, last


def _shortcuts(held: Mapping[date, Any]) -> list[tuple[int, date, date]]:
    """Ranges up to the last day with metrics: how many days, the first and the last."""
    _, last = _usual(held)
    return [(days, last - timedelta(days=days - 1), last) for days in _QUICK]
