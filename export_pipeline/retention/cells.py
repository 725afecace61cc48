"""The SQL of the daily metrics: from a day's rows to one row a cell, small cells merged, in one statement.

Rows are first brought together by person and session, so that what follows is small; people are counted
exactly, before and after cells are merged. Sums are of integers: the same rows give the same numbers in any
order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from upath import UPath

from export_pipeline.days import midnight
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.metrics import METRICS, OTHER
from export_pipeline.exports.scanning import between
from export_pipeline.sql import literal, parquet, quoted
from export_pipeline.store.tables import METRICS_SCHEMA

_NO_ROWS = (
    "(select null::varchar as event, null::varchar as contentId, null::varchar as userId, null::varchar as "
    "sessionId, null::varchar as deviceType, null::varchar as data limit 0)"
)


@dataclass(frozen=True)
class DayRows:
    """Where the rows of a data type's day are, and up to which batch they count."""

    files: tuple[UPath, ...]
    watermark: int


def cells_sql(day: date, sources: Mapping[str, DayRows], min_viewers: int) -> str:
    """The statement whose rows are those of ``METRICS_SCHEMA`` for ``day``, ordered by content and device."""
    rows = {name: _rows(day, sources[name]) for name in DATA_TYPES}
    ours = ", ".join(f"{_EXPRESSIONS[m.name]} as {quoted(m.name)}" for m in METRICS)
    columns = ", ".join(quoted(name) for name in METRICS_SCHEMA.names)
    other = literal(OTHER)
    return f"""
with views as materialized (
    select
        {
        _content(
            "case when event = 'swipe' then coalesce(data ->> '$.fromContentId', contentId) "
            "else contentId end"
        )
    } as content,
        deviceType as device, userId, sessionId,
        count(*) filter (event = 'impression') as impressions,
        count(*) filter (event = 'playStart') as plays,
        count(*) filter (event = 'completion') as completions,
        count(*) filter (event = 'share') as shares,
        bool_or(event in ('playStart', 'watchProgress', 'completion')) as watched,
        greatest(
            coalesce(sum(case when event = 'completion' then {_ms("watchTime", 1000)} end), 0),
            coalesce(sum(case when event = 'swipe' then {_ms("watchTimeOnFrom", 1000)} end), 0),
            coalesce(max(case when event = 'watchProgress' then {_ms("currentTime", 1000)} end), 0)
        ) as watch_ms
    from {rows["events"]}
    where event in ('impression', 'playStart', 'completion', 'share', 'watchProgress', 'swipe')
    group by all
),
startups as materialized (
    select {_content("contentId")} as content, deviceType as device, {_ms("startupTime", 1)} as ms
    from {rows["events"]} where event = 'playStart'
),
people as materialized (
    select content, device, userId, bool_or(watched) as watched,
        sum(impressions) as impressions, sum(plays) as plays, sum(completions) as completions,
        sum(shares) as shares, sum(watch_ms) as watch_ms
    from views group by all
),
quality as materialized (
    select {_content("contentId")} as content, deviceType as device,
        count(*) filter (event = 'rebuffer') as rebuffers,
        sum(case when event = 'rebuffer' then {_ms("duration", 1)} end) as rebuffer_ms,
        count(case when event = 'rebuffer' then {_ms("duration", 1)} end) as timed,
        count(*) filter (event = 'error') as errors
    from {rows["quality"]} where event in ('rebuffer', 'error') group by all
),
ads as materialized (
    select {_content("contentId")} as content, deviceType as device,
        count(*) filter (event = 'impression') as ad_impressions,
        count(*) filter (event = 'completion' and (data -> '$.didComplete')::varchar = 'true')
            as ad_completions,
        count(*) filter (event = 'click') as ad_clicks
    from {rows["ads"]} group by all
),
found as (
    select content, device, count(*) filter (watched) as viewers from people group by all
    union all select content, device, 0 from quality
    union all select content, device, 0 from ads
),
sized as (
    select content, device, content = {other} or max(viewers) < {min_viewers} as merged
    from found group by content, device
),
leftover as (
    select device, count(distinct userId) filter (watched) as viewers
    from sized left join people using (content, device) where merged group by device
),
cells as materialized (
    select content, device,
        case when merged then {other} else content end as shown,
        case when merged and (select min(viewers) < {min_viewers} from leftover) then {other} else device end
            as shown_device
    from sized
),
persons as (
    select shown, shown_device, userId, bool_or(watched) as watched,
        sum(impressions) as impressions, sum(plays) as plays, sum(completions) as completions,
        sum(shares) as shares, sum(watch_ms) as watch_ms
    from people join cells using (content, device) group by all
),
of_people as (
    select shown, shown_device, count(*) filter (watched) as viewers, sum(impressions) as impressions,
        sum(plays) as plays, sum(completions) as completions, sum(shares) as shares, sum(watch_ms) as watch_ms
    from persons group by all
),
of_startups as (
    select shown, shown_device, quantile_cont(ms::double, [0.5, 0.95]) as startup
    from startups join cells using (content, device) where ms is not null group by all
),
of_quality as (
    select shown, shown_device, sum(rebuffers) as rebuffers, sum(rebuffer_ms) as rebuffer_ms,
        sum(timed) as timed, sum(errors) as errors
    from quality join cells using (content, device) group by all
),
of_ads as (
    select shown, shown_device, sum(ad_impressions) as ad_impressions,
        sum(ad_completions) as ad_completions, sum(ad_clicks) as ad_clicks
    from ads join cells using (content, device) group by all
),
shown_cells as (select distinct shown, shown_device from cells)
select {columns} from (
    select {literal(day.isoformat())}::date as date, shown as contentId, shown_device as deviceType, {ours}
    from shown_cells
    left join of_people using (shown, shown_device)
    left join of_startups using (shown, shown_device)
    left join of_quality using (shown, shown_device)
    left join of_ads using (shown, shown_device)
) order by contentId, deviceType
"""


_EXPRESSIONS: Mapping[str, str] = {
    "impressions": "coalesce(impressions, 0)::bigint",
    "plays": "coalesce(plays, 0)::bigint",
    "completions": "coalesce(completions, 0)::bigint",
    "uniqueViewers": "coalesce(viewers, 0)::bigint",
    "watchTime": "coalesce(watch_ms, 0)::double / 1000",
    "completionRate": "case when plays > 0 then completions::double / plays::double end",
    "shares": "coalesce(shares, 0)::bigint",
    "startupTimeP50": "startup[1]",
    "startupTimeP95": "startup[2]",
    "rebuffers": "coalesce(rebuffers, 0)::bigint",
    "rebufferRate": "case when plays > 0 then coalesce(rebuffers, 0)::double / plays::double end",
    "rebufferDuration": "case when timed > 0 then rebuffer_ms::double / timed::double end",
    "errors": "coalesce(errors, 0)::bigint",
    "adImpressions": "coalesce(ad_impressions, 0)::bigint",
    "adCompletions": "coalesce(ad_completions, 0)::bigint",
    "adClicks": "coalesce(ad_clicks, 0)::bigint",
}


def _rows(day: date, source: DayRows) -> str:
    if not source.files:
        return _NO_ROWS
    end = midnight(day) + timedelta(days=1)
    return (
        f"(select event, contentId, userId, sessionId, deviceType, data from {parquet(source.files)} "
        f"where {between(midnight(day), end)} and batchSequence <= {source.watermark})"
    )


def _content(expression: str) -> str:
    return f"coalesce({expression}, {literal(OTHER)})"


def _ms(field: str, scale: int) -> str:
    """A number of an event's own fields as whole milliseconds; null if it is none, or negative."""
    number = f"try_cast((data -> '$.{field}')::varchar as double)"
    whole = f"try_cast(round({number} * {scale}) as bigint)"
    return f"case when {whole} >= 0 then {whole} end"
