"""What is a match: tokens and whole values, in every form, and nothing else."""

import html
import json
import pickle
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from export_pipeline.privacy.matching import Needles


def every_character_escaped(text: str) -> str:
    """``text`` with every character as a JSON escape."""
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02X}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def csv_cell(text: str) -> str:
    """``text`` as a quoted cell."""
    return '"' + text.replace('"', '""') + '"'


FORMS = {
    "plain": str,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON with every character escaped": every_character_escaped,
    "JSON in JSON": lambda text: json.dumps(json.dumps({"a": text})),
    "URL": quote,
    "part of a URL": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "URL in a URL": lambda text: quote(quote(text, safe=""), safe=""),
    "URL with every byte encoded": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "URL in JSON": lambda text: json.dumps({"u": "https://a/?b=" + quote(text)}),
    "JSON in a URL": lambda text: quote(json.dumps(text)),
    "HTML": html.escape,
    "CSV": csv_cell,
    "JSON in CSV": lambda text: csv_cell(json.dumps({"k": text})),
}

IDS = st.one_of(
    st.from_regex(r"\A[A-Za-z0-9_-]{6,20}\Z"),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=6, max_size=12),
).filter(lambda text: text.strip() == text and not text.replace(".", "").isdigit())


@settings(deadline=None, max_examples=30)
@given(IDS, st.sampled_from(sorted(FORMS)))
def test_an_id_is_found_in_every_form(text, form):
    written = f"<< {FORMS[form](text)} >>".encode("utf-8", "surrogatepass")
    assert Needles([text]).count(written) >= 1


@settings(deadline=None, max_examples=30)
@given(st.from_regex(r"\A[A-Za-z0-9_-]{6,20}\Z"), st.sampled_from([*"aZ09_-", "é", "语"]), st.booleans())
def test_an_id_next_to_a_letter_digit_underscore_or_hyphen_is_another(text, neighbour, before):
    assume(not text.isdigit())
    written = neighbour + text if before else text + neighbour
    assert not Needles([text]).occurs(f"({written})".encode())
    assert Needles([text]).mentioned(pa.array([written, text])).tolist() == [False, True]


@pytest.mark.parametrize("before", ["", " ", '"', "\\n", "%20", "\\u0020", "«", ":", ".", "/", "\n", "\\\\n"])
@pytest.mark.parametrize("after", ["", " ", '"', "\\n", "%20", "»", ",", ".", "/", "\n"])
def test_an_id_next_to_anything_else_is_found(before, after):
    assert Needles(["user_00000042"]).count(f"{before}user_00000042{after}".encode()) == 1


def test_values_next_to_each_other_in_memory_are_apart():
    values = pa.array(["user_", "00000042", "user_00000042", "user_00000042", None, "a user_00000042 b"])
    assert Needles(["user_00000042"]).mentioned(values).tolist() == [False, False, True, True, False, True]
    assert Needles(["user_00000042"]).mentioned(values.slice(3)).tolist() == [True, False, True]


def test_a_short_id_is_found_as_a_whole_field_only():
    values = pa.array(["u1", "a u1 b", '{"a": "u1"}', '{"u1": "a"}', '{"a": "x u1"}', '{\\"a\\": \\"u1\\"}'])
    assert Needles(["u1"]).mentioned(values).tolist() == [True, False, True, False, False, True]
    assert not Needles(["u1"]).occurs(b"seen: u1 today")


def test_an_id_that_is_a_word_of_the_catalogue_is_found_where_it_names_a_person():
    needles = Needles(["impression", "web"])
    assert not needles.occurs(b'{"event":"impression","deviceType":"web"}')
    assert needles.count(b'{"event":"impression","userId":"impression","deviceId": "web"}') == 2


def test_erasing_leaves_every_other_byte_and_json_valid():
    needles = Needles(["user_00000042", "12345678"])
    values = pa.chunked_array(
        [["x", None, '{"a": "user_00000042!", "user_00000042": [12345678, 0.12345678]}'], []]
    )
    erased, count = needles.replace(values)
    assert count == 3
    assert erased.to_pylist() == ["x", None, '{"a": "[erased]!", "[erased]": ["[erased]", 0.12345678]}']
    assert erased.type == values.type


@settings(deadline=None, max_examples=30)
@given(IDS, st.sampled_from(sorted(FORMS)))
def test_what_was_erased_is_found_no_more(text, form):
    assume("erased" not in text)
    written = f"<< {FORMS[form](text)} >>"
    erased, _ = Needles([text]).replace(pa.array([written, written], pa.large_string()))
    assert not Needles([text]).mentioned(erased).any()


def test_many_people_are_found_at_once_and_each_once():
    ids = [f"user_{number:08d}" for number in range(1000)]
    assert Needles(ids).count(json.dumps(ids).encode()) == 1000


def test_needles_show_no_id_and_travel_to_other_processes():
    needles = Needles(["user_00000042"])
    assert "42" not in repr(needles)
    assert pickle.loads(pickle.dumps(needles)).occurs(b"user_00000042")
    assert not Needles([]).occurs(b"user_00000042")


@pytest.mark.parametrize("length", [6, 36, 48, 49, 64, 300])
@pytest.mark.parametrize("tail", ["", "é/"])
def test_ids_of_every_length_are_found(length, tail):
    text = "aB3_" * 75
    text = text[: length - len(tail)] + tail
    needles = Needles([text])
    assert needles.count(f'x {text} "{text}" {json.dumps(text)}{text}a'.encode()) == 3
    assert needles.mentioned(pa.array([text, f"{text}b"])).tolist() == [True, False]


def test_a_number_in_json_becomes_a_string_and_what_only_looks_like_json_none() -> None:
    values = pa.array(['{"a":[12345678]}', "{12345678", '{"12345678'])
    erased, _ = Needles(["12345678"]).replace(values)
    assert erased.to_pylist() == ['{"a":["[erased]"]}', "{[erased]", '{"[erased]']
