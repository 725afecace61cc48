"""A person is a user id and the anonymous ids linked to it; those of several users are contested."""

import tempfile

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from export_pipeline.errors import InvalidRequest
from export_pipeline.privacy.identity import Person, checked_user_id, resolve
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests.privacy.people import DEVICES, USERS, Link, add_links, expected, links


def test_an_unknown_user_is_a_person_without_links(settings: Settings, store: Store) -> None:
    assert resolve(settings, store, ["nobody"]) == (Person("nobody"),)


def test_an_id_that_two_users_are_linked_to_is_contested(settings: Settings, store: Store) -> None:
    add_links(store, [("ada", "phone"), ("ada", "tablet"), ("bob", "tablet"), ("ada", "phone")])
    ada, bob = resolve(settings, store, ["ada", "bob"])
    assert (ada.ids, ada.contested) == ({"ada", "phone"}, {"tablet"})
    assert (bob.ids, bob.contested) == ({"bob"}, {"tablet"})


def test_a_given_id_that_somebody_is_linked_to_is_contested_itself(settings: Settings, store: Store) -> None:
    add_links(store, [("ada", "phone")])
    (phone,) = resolve(settings, store, ["phone"])
    assert (phone.ids, phone.row_ids) == (frozenset(), {"phone"})


@given(linked=links(), asked=st.lists(st.sampled_from(USERS + DEVICES), max_size=4, unique=True))
@trying(max_examples=15, deadline=None)
def test_every_graph_is_resolved_as_the_rules_say(linked: list[Link], asked: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = load({"EXPORT_PIPELINE_HOME": folder, "EXPORT_PIPELINE_WORKERS": "1"})
        store = Store(settings)
        add_links(store, linked)
        people = resolve(settings, store, asked)
    assert [person.user_id for person in people] == asked
    for person in people:
        right = expected(person.user_id, linked)
        assert (person.own, person.contested, person.ids) == (right.own, right.contested, right.gone)
        assert person.row_ids == right.gone | right.contested


def test_no_representation_of_a_person_shows_an_id() -> None:
    shown = repr(Person("ada", frozenset({"phone"}), frozenset({"tablet"})))
    assert not any(each in shown for each in ("ada", "phone", "tablet"))


@pytest.mark.parametrize("value", ["", None, 7, "ada \ud800"])
def test_what_is_no_user_id_is_refused_without_being_shown(value: object) -> None:
    with pytest.raises(InvalidRequest, match="userId") as refused:
        checked_user_id(value)
    assert "ada" not in refused.value.message
