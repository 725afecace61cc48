"""What the tests ask the web server: queries and mutations of the UI, cut to what is looked at."""

from collections.abc import Sequence
from typing import Any

from export_pipeline_tests.integration.stack import Stack

_BACKFILL = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
_BACKFILL_STATUS = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
    __typename ... on PartitionBackfill { status error { message } } ... on PythonError { message } } }
"""
_RUNS = """
{ runsOrError(limit: 200) { ... on Runs { results {
    runId jobName status startTime endTime tags { key value } } } } }
"""
_ASSET = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    isMaterializable
    assetMaterializations(limit: 500) { runId partition metadataEntries { label
        ... on IntMetadataEntry { intRepr } ... on TextMetadataEntry { text }
        ... on MarkdownMetadataEntry { mdStr } ... on PathMetadataEntry { path } } }
    assetPartitionStatuses { ... on TimePartitionStatuses { ranges { startKey endKey status } } }
    assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization {
        status evaluation { description severity } } } } } } } }
"""
_SENSOR_LOG = """
query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor {
    sensorState { status ticks(limit: 50) { logEvents { events { message } } } } } } }
"""


def backfill(stack: Stack, assets: Sequence[str], partitions: Sequence[str]) -> str:
    """Start a backfill as the UI does; its id."""
    params = {
        "assetSelection": [{"path": [asset]} for asset in assets],
        "partitionNames": list(partitions),
        "tags": [],
    }
    started = stack.graphql(_BACKFILL, params=params)["launchPartitionBackfill"]
    assert started["__typename"] == "LaunchBackfillSuccess", started
    return str(started["backfillId"])


def backfill_status(stack: Stack, backfill_id: str) -> str:
    """``REQUESTED`` while it is under way, then ``COMPLETED_…`` or another end."""
    answer = stack.graphql(_BACKFILL_STATUS, id=backfill_id)["partitionBackfillOrError"]
    return str(answer["status"])


def runs(stack: Stack) -> list[dict[str, Any]]:
    """The runs, newest first, their tags as a dictionary."""
    found: list[dict[str, Any]] = stack.graphql(_RUNS)["runsOrError"]["results"]
    for run in found:
        run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
    return found


def asset(stack: Stack, name: str) -> dict[str, Any]:
    """An asset as its page shows it."""
    node: dict[str, Any] = stack.graphql(_ASSET, key={"path": [name]})["assetNodeOrError"]
    return node


def shown(stack: Stack, name: str) -> dict[str, dict[str, Any]]:
    """By partition, the metadata of an asset's latest materialization."""
    found: dict[str, dict[str, Any]] = {}
    for event in asset(stack, name)["assetMaterializations"]:
        found.setdefault(
            event["partition"],
            {
                entry["label"]: next((value for key, value in entry.items() if key != "label"), None)
                for entry in event["metadataEntries"]
            },
        )
    return found


def sensor_log(stack: Stack, name: str) -> list[str]:
    """What a sensor has logged."""
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "export_pipeline",
        "sensorName": name,
    }
    state = stack.graphql(_SENSOR_LOG, selector=selector)["sensorOrError"]["sensorState"]
    return [event["message"] for tick in state["ticks"] for event in tick["logEvents"]["events"]]
