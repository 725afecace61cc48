"""What is asked of a line of a user table: required fields, and the catalogue's type of each."""

from export_pipeline.events.catalogue import UserTable
from export_pipeline.ingest import rules
from export_pipeline.ingest.rules import Rule
from export_pipeline.ingest.validation import Validation, line_rules
from export_pipeline.sql import quoted


def user_validation(table: UserTable) -> Validation:
    """How lines of a user table are judged; two lines are duplicates if all their values are equal."""
    values: dict[str, str] = {}
    reading: dict[str, str] = {}
    columns: dict[str, str] = {}
    judged = line_rules()
    for field in table.fields:
        columns[field.name] = quoted(field.name)
        if field.datetime:
            values[f"{field.name} text"] = rules.string(field.name)
            reading[f"{field.name} read"] = rules.instant(rules.text_of(field.name))
            columns[field.name] = rules.read_of(field.name)
            detail = f"{field.name} must be a date and time as RFC 3339 has it, such as 2026-02-04T12:30:00Z"
            judged.append(Rule(f"{rules.value(field.name)} is null", rules.MISSING, field.name, detail))
            judged += rules.instant_rules(field.name)
        elif field.type == "object":
            columns[field.name] = f"{rules.value(field.name)}::varchar"
            judged += rules.optional(field)
        else:
            values[field.name] = rules.string(field.name)
            judged += rules.optional(field) if field.nullable else rules.required_string(field.name)
    return Validation(
        keys=tuple(columns),
        objects=tuple(field.name for field in table.fields if field.type == "object"),
        layers=[values, reading],
        rules=judged,
        columns=columns,
        identity=tuple(columns),
        instant=table.newest_by,
    )
