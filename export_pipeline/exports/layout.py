"""What an export's directory is made of: names, and files that describe the rows (contract, section 3)."""

from export_pipeline.events.schema import dictionary, json_schema
from export_pipeline.files import to_json

MANIFEST = "manifest.json"

PIECES = ".making"
"""The folder below the exports' root in which workers of a cluster leave windows."""


def part_name(data_type: str, number: int, format: str, compression: str) -> str:
    """The name of a part file, relative to the export's directory."""
    ending = f"{format}.gz" if compression == "gzip" else format
    return f"{data_type}/part-{number:05d}.{ending}"


def descriptions(data_type: str) -> dict[str, bytes]:
    """The files that describe a data type's rows, by name relative to the export's directory."""
    return {
        f"{data_type}/schema.json": to_json(json_schema(data_type)),
        f"{data_type}/dictionary.md": dictionary(data_type).encode(),
    }
