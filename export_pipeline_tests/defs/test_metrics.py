"""The daily metrics in the UI: computed for the days asked, with a picture and a table a person can read."""

import base64
import re
from xml.etree import ElementTree

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline_tests.defs.conftest import AddRows, days_ago

NAME, JOB = "daily_metrics", "compute_metrics"


def compute(definitions: dg.Definitions, instance: dg.DagsterInstance, first: int, last: int) -> bool:
    job = definitions.resolve_job_def(JOB)
    tags = {
        "dagster/asset_partition_range_start": str(days_ago(first)),
        "dagster/asset_partition_range_end": str(days_ago(last)),
    }
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).success


def shown(instance: dg.DagsterInstance, day: str) -> dict[str, dg.MetadataValue]:
    [record] = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(NAME), asset_partitions=[day]), limit=1
    ).records
    assert record.asset_materialization is not None
    return dict(record.asset_materialization.metadata)


def test_each_day_has_its_numbers_and_a_picture_of_the_days_before(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(3), 50)
    add_rows(days_ago(2), 50)
    assert compute(definitions, instance, 3, 2)
    metadata = shown(instance, str(days_ago(2)))
    assert metadata["rows"].value == 1
    picture = re.fullmatch(r"!\[.*\]\(data:image/svg\+xml;base64,(.*)\)", str(metadata["overTheDays"].value))
    assert picture
    drawing = ElementTree.fromstring(base64.b64decode(picture[1]))
    assert "Completion rate" in "".join(drawing.itertext())
    assert "user_" not in str(metadata)
    assert "No content" in str(metadata["preview"].value)
    assert metadata["bytes"].value > 0
    assert re.fullmatch("[0-9a-f]{64}", str(metadata["sha256"].value))


def test_a_day_outside_retention_fails_in_words_and_the_others_are_made(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(90), 50)
    assert not compute(definitions, instance, 91, 90)
    assert shown(instance, str(days_ago(90)))["rows"].value == 1


def test_the_schedule_starts_what_is_due_and_nothing_else(
    definitions: dg.Definitions, add_rows: AddRows
) -> None:
    add_rows(days_ago(3), 50)
    add_rows(days_ago(2), 50)
    add_rows(days_ago(0), 50)
    repository = definitions.get_repository_def()
    # A schedule opens the instance by itself, so it cannot be an ephemeral one.
    with dg.instance_for_test() as instance:

        def tick() -> list[dg.RunRequest]:
            with dg.build_schedule_context(
                instance=instance,
                resources=dict(repository.get_top_level_resources()),
                scheduled_execution_time=utc_now(),
                repository_def=repository,
            ) as context:
                return list(repository.get_schedule_def(JOB).evaluate_tick(context).run_requests or [])

        [request] = tick()
        assert request.tags["dagster/asset_partition_range_start"] == str(days_ago(3))
        assert request.tags["dagster/asset_partition_range_end"] == str(days_ago(2))
        assert compute(definitions, instance, 3, 2)
        assert not tick()


@pytest.mark.parametrize("column", ["uniqueViewers", "rebufferRate", "contentId"])
def test_the_schema_says_what_a_column_means(definitions: dg.Definitions, column: str) -> None:
    spec = definitions.get_repository_def().asset_graph.get(dg.AssetKey(NAME))
    schema = spec.metadata["dagster/column_schema"]
    assert next(c.description for c in schema.columns if c.name == column)
