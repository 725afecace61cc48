"""One person's data handed over and erased in the portal; their id is shown to who typed it, once."""

import io
import json
import re
import zipfile

import httpx
import pytest

from export_pipeline.days import utc_now
from export_pipeline.ledger.jobs import USER
from export_pipeline.portal.slices import SLICE
from export_pipeline.privacy.access import Access
from export_pipeline.privacy.erasing import STEPS, take_step
from export_pipeline_tests.portal.conftest import ONCE, Opening, Portal, texts

PERSON, SECOND, THIRD = "user_00000002", "user_00000003", "user_00000004"
SCRIPT = "<script>alert(1)</script>"


def ask_for(portal: Portal, user_id: str, **more: str) -> str:
    answer = portal.post("/privacy/access", userId=user_id, **more)
    assert answer.status_code == 303, answer.text
    assert user_id not in answer.headers["location"]
    return str(answer.headers["location"].rpartition("/")[2])


def confirmed(portal: Portal, user_ids: str, **more: str) -> httpx.Response:
    return portal.post("/privacy/erasures", **{"userIds": user_ids, "confirm": "ERASE", **more})


def everywhere(portal: Portal, *paths: str) -> str:
    """All pages that somebody else may look at."""
    return "".join(portal.get(path).text for path in ("/privacy", "/activity", "/exports", *paths))


def test_a_person_gets_their_data(inside: Portal) -> None:
    job_id = ask_for(inside, PERSON, once=ONCE)
    assert job_id == ask_for(inside, PERSON, once=ONCE)
    assert "queued" in texts(inside.get(f"/privacy/access/{job_id}"))
    access = Access(inside.settings, inside.store, inside.ledger)
    access.collect(job_id)
    job = access.publish(job_id)
    page = inside.get(f"/privacy/access/{job_id}")
    assert "Kept until" in texts(page)
    assert "is complete" in texts(inside.get(f"/privacy/access/{job_id}/live?seen=processing"))
    leads_to = inside.get(f"/privacy/access/{job_id}/download").headers["location"]
    archive = zipfile.ZipFile(io.BytesIO(inside.client.get(leads_to).content))
    assert json.loads(archive.read("manifest.json"))
    assert job.rows
    assert PERSON not in everywhere(inside, f"/privacy/access/{job_id}")
    noted = [(entry.action, entry.subject) for entry in inside.ledger.audit.list()[0]]
    assert ("asked for a person's data", job_id) in noted
    assert ("downloaded a person's data", job_id) in noted
    inside.ledger.jobs.expire(job_id, "SUBJECT_ERASED", "it held a person who was erased", utc_now())
    assert "no longer there: it held a person" in texts(inside.get(f"/privacy/access/{job_id}"))


def test_that_nothing_is_held_of_a_person_is_said(inside: Portal) -> None:
    job_id = ask_for(inside, "mistyped_id")
    access = Access(inside.settings, inside.store, inside.ledger)
    access.collect(job_id)
    access.publish(job_id)
    assert "Nothing is held under this id" in texts(inside.get(f"/privacy/access/{job_id}"))


def test_going_back_and_typing_another_person_never_gives_the_data_of_the_first(inside: Portal) -> None:
    typed = ("typed_first", "typed_next")
    made = [ask_for(inside, who, once=ONCE) for who in typed]
    assert [inside.ledger.jobs.user_ids(each) for each in made] == [(who,) for who in typed]


def test_going_back_and_typing_another_person_never_shows_the_erasure_of_the_first(inside: Portal) -> None:
    first = confirmed(inside, "goes_first", once=ONCE).headers["location"]
    other = confirmed(inside, "goes_next", once=ONCE).headers["location"]
    found, _, _ = inside.ledger.erasures.list(limit=2)
    assert [inside.ledger.erasures.subject(each.id).user_id for each in found] == ["goes_next", "goes_first"]
    assert [each.id for each in found] == [other.rpartition("/")[2], first.rpartition("/")[2]]


def test_the_preview_says_what_would_go_and_changes_nothing(inside: Portal) -> None:
    before = inside.ledger.erasures.list()[2]
    page = inside.post("/privacy/erasures/preview", userIds=f"{PERSON}\n{SCRIPT}\n{PERSON}")
    assert page.status_code == 200
    assert PERSON in page.text
    assert SCRIPT not in page.text
    assert re.search(rf"{PERSON} [1-9]\d* engagement_events", texts(page))
    assert inside.ledger.erasures.list()[2] == before
    assert inside.ledger.audit.list(1)[0][0].action == "looked at what an erasure would remove"
    assert "No rows are held" in texts(inside.post("/privacy/erasures/preview", userIds="nobody_here"))


@pytest.mark.parametrize("typed", ["", "erase", "ERASE user_00000004"])
def test_nothing_is_erased_before_the_word_is_typed(inside: Portal, typed: str) -> None:
    before = inside.ledger.erasures.list()[2]
    answer = confirmed(inside, THIRD, confirm=typed)
    assert answer.status_code == 422
    assert 'id="confirm-error"' in answer.text
    assert THIRD in answer.text
    assert inside.ledger.erasures.list()[2] == before


def test_a_person_is_erased_and_the_certificate_says_so(
    inside: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    first, again = (confirmed(inside, SECOND, once=ONCE).headers["location"] for _ in range(2))
    assert first == again
    once = first.rpartition("/")[2]
    noted = [(entry.action, entry.subject) for entry in inside.ledger.audit.list()[0]]
    assert noted.count(("asked to erase a person", once)) == 1
    page = texts(inside.get(f"/privacy/erasures/{once}"))
    assert "queued" in page
    assert "The erasure is" not in texts(inside.get(f"/privacy/erasures/{once}/live?seen=queued"))
    assert "in 30 days" in page
    assert once in inside.get("/privacy").text
    assert inside.get(f"/privacy/erasures/{once}/certificate").status_code == 409
    for name in STEPS:
        take_step(inside.settings, inside.store, inside.ledger, once, name, utc_now())
    assert "The erasure is complete." in texts(inside.get(f"/privacy/erasures/{once}/live?seen=queued"))
    page = texts(inside.get(f"/privacy/erasures/{once}"))
    assert "Its signature is right" in page
    assert "Matches left 0" in page
    certificate = inside.get(f"/privacy/erasures/{once}/certificate")
    assert certificate.json()["requestId"] == once
    assert SECOND not in everywhere(inside, f"/privacy/erasures/{once}") + caplog.text
    path = inside.settings.data / (inside.ledger.erasures.get(once).certificate or "")
    path.write_bytes(certificate.content.replace(b'"matchesLeft": 0', b'"matchesLeft": 1'))
    broken = texts(inside.get(f"/privacy/erasures/{once}"))
    assert "signature does not fit" in broken
    assert "Its signature is right" not in broken
    path.write_bytes(certificate.content)


def test_several_people_are_a_request_each(inside: Portal) -> None:
    before = inside.ledger.erasures.list()[2]
    answer = confirmed(inside, "person_a\nperson_b\nperson_a")
    assert answer.headers["location"] == "/portal/privacy"
    assert inside.ledger.erasures.list()[2] == before + 2
    assert "person_" not in everywhere(inside)


def test_many_open_erasures_are_paged(opening: Opening) -> None:
    portal = opening()
    portal.log_in()
    people = [f"person_{n}" for n in range(SLICE + 1)]
    last = portal.ledger.erasures.create(people, "portal", utc_now())[-1].id
    assert last not in portal.get("/privacy").text
    assert last in portal.get("/privacy?open=2").text


def test_what_is_missing_is_told_at_its_field(inside: Portal) -> None:
    jobs = inside.ledger.jobs.list(utc_now(), kinds=[USER])[2]
    answer = inside.post("/privacy/access", userId=" ")
    assert (answer.status_code, 'id="userId-error"' in answer.text) == (422, True)
    answer = inside.post("/privacy/erasures/preview", userIds=" \n ")
    assert (answer.status_code, 'id="userIds-error"' in answer.text) == (422, True)
    answer = inside.post("/privacy/erasures/preview", userIds="\n".join(f"p{n}" for n in range(1001)))
    assert (answer.status_code, 'id="userIds-error"' in answer.text) == (422, True)
    assert inside.ledger.jobs.list(utc_now(), kinds=[USER])[2] == jobs


def test_an_id_in_an_address_is_nowhere_found(inside: Portal, caplog: pytest.LogCaptureFixture) -> None:
    for path in (f"/privacy/access/{PERSON}", f"/privacy/erasures/{PERSON}"):
        answer = inside.get(path)
        assert answer.status_code == 404
        assert PERSON not in answer.text + caplog.text
