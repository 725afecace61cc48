"""Edited lines are those that the rows that stay are encoded as, whatever is in them."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.errors import DamagedData
from export_pipeline.exports.editing import Edit, Lines, edited
from export_pipeline.exports.encoding import header
from export_pipeline.exports.request import FORMATS, Format
from export_pipeline.privacy.matching import Needles
from export_pipeline_tests.exports.encoded import content
from export_pipeline_tests.exports.test_rows_survive import in_order, rows_of
from export_pipeline_tests.rows import row

USER = "user_77770001"
PIECES = [
    USER,
    "=",
    "+",
    "@",
    "'",
    '"',
    '""',
    ",",
    "\n",
    "\r",
    " ",
    "x",
    "_",
    "é🎬",
    "\\",
    "\t",
    "",
    ":",
    "{",
    "%41",
]


class Nobody:
    """Finds nothing where ``occurs`` says that there may be something."""

    def occurs(self, content: Any) -> bool:
        return True

    def mentioned(self, values: Any) -> npt.NDArray[np.bool_]:
        return np.zeros(len(values), np.bool_)

    def replace(self, values: Any) -> tuple[pa.ChunkedArray, int]:
        return pa.chunked_array([values]), 0

    def marks(self, values: Any) -> pa.Array:
        return pa.array([""] * len(values))


def block(rows: Sequence[Mapping[str, Any]], data_type: str, format: Format) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        lines = content(Path(folder), rows, data_type, format) if rows else header(data_type, format)
    return lines[len(header(data_type, format)) :]


def text(lines: Lines) -> bytes:
    return "".join(lines.lines.to_pylist()).encode()


@pytest.mark.parametrize("format", FORMATS)
@given(draw=st.data())
@settings(max_examples=25, deadline=None)
def test_rows_of_some_users_go_and_the_others_stay_as_they_are(format: Format, draw: st.DataObject) -> None:
    rows = in_order(draw.draw(rows_of("quality")))
    users = draw.draw(st.sets(st.sampled_from([row["userId"] for row in rows])))
    # A cell '=x is the id =x made harmless or the id '=x itself, so that both go.
    users |= {row["userId"] for row in rows if row["userId"][1:] in users and row["userId"][:1] == "'"}
    stay = [row for row in rows if row["userId"] not in users]
    lines = edited(Edit(users, Nobody(), Nobody()), "quality", format, block(rows, "quality", format))
    assert text(lines) == block(stay, "quality", format)
    assert lines.ids.to_pylist() == [row["eventId"] for row in stay]
    assert lines.us.tolist() == [round(row["timestamp"].timestamp() * 1_000_000) for row in stay]
    assert sorted(lines.removed.to_pylist()) == sorted(
        row["eventId"] for row in rows if row["userId"] in users
    )


def texts() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@st.composite
def telling(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows whose texts may name the user."""
    known = st.sampled_from(["interactionType", "value", "feedId", "platform"])
    values = texts() | st.lists(texts(), max_size=2) | st.dictionaries(st.just("k"), texts())
    found = []
    for number in range(draw(st.integers(1, 4))):
        data = draw(st.dictionaries(known | st.sampled_from(["note", f"by {USER}"]), values, max_size=3))
        found.append(
            row(
                number,
                userId="user_1",
                contentId=draw(st.none() | texts()),
                deviceId=draw(st.none() | texts()),
                sessionId=draw(st.none() | texts()),
                data=json.dumps(data, ensure_ascii=False, separators=(",", ":")),
            )
        )
    return found


def stored_without(rows: Sequence[Mapping[str, Any]], needles: Needles) -> list[dict[str, Any]]:
    """The rows as the store has them once the ids were taken out, column by column."""
    columns = {
        name: needles.replace(pa.array([row[name] for row in rows], pa.string()))[0].to_pylist()
        for name in ("contentId", "deviceId", "sessionId", "data")
    }
    return [{**row, **{name: columns[name][at] for name in columns}} for at, row in enumerate(rows)]


@pytest.mark.parametrize("format", FORMATS)
@given(rows=telling())
@settings(max_examples=25, deadline=None)
def test_ids_go_from_lines_as_they_go_from_stored_rows(format: Format, rows: list[dict[str, Any]]) -> None:
    needles = Needles([USER])
    lines = edited(Edit([USER], needles, needles), "events", format, block(rows, "events", format))
    assert text(lines) == block(stored_without(rows, needles), "events", format)
    assert len(lines.removed) == 0


@pytest.mark.parametrize("format", FORMATS)
def test_events_named_after_a_person_stay_different_events(format: Format) -> None:
    needles = Needles([USER], b"key")
    rows = in_order([row(1, userId="user_1", eventId=id_) for id_ in (f"{USER}", f"{USER}:", f"={USER}")])
    lines = edited(Edit([USER], needles, needles), "events", format, block(rows, "events", format))
    ids = lines.ids.to_pylist()
    assert len(set(ids)) == 3
    assert not needles.occurs(text(lines))
    marked = [
        f"{id_.replace(USER, '[erased]')}{mark}"
        for id_, mark in zip(
            (r["eventId"] for r in rows),
            needles.marks(pa.array([r["eventId"] for r in rows])).to_pylist(),
            strict=True,
        )
    ]
    assert sorted(ids) == sorted(marked)
    stored = [{**r, "eventId": id_} for r, id_ in zip(rows, marked, strict=True)]
    assert sorted(text(lines).splitlines()) == sorted(block(stored, "events", format).splitlines())


@pytest.mark.parametrize("format", FORMATS)
def test_what_are_no_lines_of_the_type_is_damage_that_quotes_nothing(format: Format) -> None:
    edit = Edit([USER], Nobody(), Nobody())
    with pytest.raises(DamagedData) as raised:
        edited(edit, "events", format, b'{"private":"text"\n')
    assert "private" not in str(raised.value)
