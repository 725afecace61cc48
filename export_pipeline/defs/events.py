"""The event tables and user tables as assets: what the ingest job brought in, day by day.

They are external assets. Rows come from landing files, so there is nothing to compute for a chosen day and
the UI offers no button for it; the ``ingest`` job records what it brought in.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import dagster as dg

from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.partitions import daily, has_partition
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.ledger import DayState
from export_pipeline.settings import Settings

DATA_VERSION_TAG = "dagster/data_version"


def event_specs(settings: Settings) -> list[dg.AssetSpec]:
    """An asset a data type, with a partition a day."""
    return [
        dg.AssetSpec(
            data_type.table,
            description=f"{data_type.description}. Filled by the `ingest` job from "
            f"`landing/{data_type.name}`; a day's data version rises when its rows change.",
            group_name="events",
            owners=OWNERS,
            kinds={"iceberg", "parquet"},
            tags={"data_type": data_type.name},
            partitions_def=daily(settings),
            freshness_policy=dg.FreshnessPolicy.time_window(
                fail_window=timedelta(hours=settings.silence_hours)
            ),
        )
        for data_type in DATA_TYPES.values()
    ]


def user_specs() -> list[dg.AssetSpec]:
    """An asset a user table."""
    return [
        dg.AssetSpec(
            table.name,
            description=f"{table.description}; the newest row of a key counts. Filled by the `ingest` job "
            f"from `landing/users/{table.landing}`.",
            group_name="people",
            owners=OWNERS,
            kinds={"iceberg", "parquet"},
        )
        for table in USER_TABLES.values()
    ]


def unrecorded_days(
    deployment: Deployment, instance: dg.DagsterInstance, today: date
) -> Iterator[tuple[str, date, DayState]]:
    """Each (data type, day) whose data version Dagster has not recorded yet, with its state.

    It is a comparison with the ledger, so a batch that was ingested by the command line, or by a run that
    died before it could record it, is found as well. Days without a partition are left out.
    """
    for data_type in DATA_TYPES.values():
        known = deployment.ledger.known_days(data_type.name)
        recorded = _recorded_versions(instance, data_type.table)
        for day, state in sorted(known.items()):
            if has_partition(deployment.settings, day, today) and recorded.get(day.isoformat()) != str(
                state.version
            ):
                yield data_type.name, day, state


def _recorded_versions(instance: dg.DagsterInstance, table: str) -> Mapping[str, str]:
    latest = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(table), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    return {partition: tags.get(DATA_VERSION_TAG, "") for partition, tags in latest.items()}
