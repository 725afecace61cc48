"""Who gets into the portal, how long they stay, and what is noted of them."""

import re
from datetime import timedelta

import httpx
import pytest

from export_pipeline.days import utc_now
from export_pipeline.ledger.audit import Entry
from export_pipeline.portal.entrance import entrance, link
from export_pipeline.portal.login import ATTEMPTS_A_MINUTE
from export_pipeline.portal.passwords import made_password
from export_pipeline.secrets import path_of
from export_pipeline_tests.portal.conftest import PASSWORD, Opening, Portal, listening, texts


def is_inside(portal: Portal) -> bool:
    return portal.get("/activity").status_code == 200


def test_the_password_opens_the_portal_and_logging_out_closes_it(portal: Portal) -> None:
    assert portal.get("/activity").headers["location"] == "/portal/login?next=%2Factivity"
    assert portal.log_in().status_code == 303
    assert is_inside(portal)
    held = portal.token
    portal.post("/logout")
    assert not is_inside(portal)
    portal.hold(held)
    assert not is_inside(portal)


def test_a_wrong_password_is_told_at_its_field_and_never_sent_back(portal: Portal) -> None:
    answer = portal.log_in(password="not this one")
    assert answer.status_code == 401
    assert "The password is not right." in answer.text
    assert "not this one" not in answer.text
    assert 'value="Ana"' in answer.text
    assert not is_inside(portal)


def test_after_some_attempts_even_the_right_password_has_to_wait(portal: Portal) -> None:
    for _ in range(ATTEMPTS_A_MINUTE):
        portal.log_in(password="not this one")
    assert portal.log_in().status_code == 429


def test_a_session_has_a_new_id_so_that_one_set_before_is_worth_nothing(portal: Portal) -> None:
    portal.get("/login")
    before = portal.token
    portal.log_in()
    assert portal.token != before
    portal.hold(before)
    assert not is_inside(portal)


def test_a_chosen_id_is_not_taken_for_a_session(portal: Portal) -> None:
    portal.hold("x" * 43)
    portal.log_in()
    assert portal.token != "x" * 43
    assert is_inside(portal)


def test_a_session_ends_when_it_is_not_used_and_in_any_case(opening: Opening) -> None:
    sessions = opening(portal_idle_minutes="60", portal_session_hours="3").ledger.sessions
    now = utc_now()
    minute = timedelta(minutes=1)
    token = sessions.begin("Ana", "password", now)
    assert sessions.find(token, now + 59 * minute)
    assert sessions.find(token, now + 118 * minute)
    assert sessions.find(token, now + 177 * minute)
    assert not sessions.find(token, now + 180 * minute)
    idle = sessions.begin("Ana", "password", now)
    assert sessions.find(idle, now + 40 * minute, used=False)
    assert not sessions.find(idle, now + 60 * minute)


def test_a_form_sent_after_the_session_has_ended_says_that_it_was_not_done(portal: Portal) -> None:
    portal.log_in()
    token = portal.form_token("/webhooks/new")
    portal.ledger.sessions.end(portal.token)
    answer = portal.post("/webhooks", formToken=token, url="https://hooks.example.com/in")
    assert answer.headers["location"] == "/portal/login?next=%2Fwebhooks"
    assert "what you sent was not done" in texts(portal.client.get(answer.headers["location"]))
    assert "what you sent was not done" not in texts(portal.get("/login"))
    assert portal.ledger.webhooks.list()[2] == 0


def test_a_page_that_refreshes_itself_after_the_session_has_ended_is_come_back_to(portal: Portal) -> None:
    htmx = {"HX-Request": "true", "HX-Current-URL": "http://testserver/portal/exports/exp_1?a=b"}
    answer = portal.get("/exports/exp_1/live", headers=htmx)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/portal/login?next=%2Fexports%2Fexp_1%3Fa%3Db"
    assert "session has ended" in texts(portal.get("/login"))


def test_another_password_ends_every_session(opening: Opening) -> None:
    portal = opening()
    portal.log_in()
    changed = opening(portal_password="another horse battery")
    changed.hold(portal.token)
    assert is_inside(portal)
    assert not is_inside(changed)


def test_cookies_are_for_this_server_and_no_script(opening: Opening) -> None:
    plain = opening().get("/login").headers["set-cookie"]
    assert "HttpOnly" in plain
    assert "SameSite=Lax" in plain
    assert "Path=/portal" in plain
    assert "Secure" not in plain
    public = opening(public_url="https://exports.example.com").get("/login")
    assert "Secure" in public.headers["set-cookie"]
    assert "Strict-Transport-Security" in public.headers


@pytest.mark.parametrize(
    "following",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\t//x.y"],
)
def test_after_login_nobody_is_sent_elsewhere(portal: Portal, following: str) -> None:
    assert portal.get("/login", params={"next": following}).text.count("evil") == 0
    assert portal.log_in(next=following).headers["location"] == "/portal/"
    assert portal.get("/login", params={"next": following}).headers["location"] == "/portal/"


def test_after_login_people_are_where_they_wanted_to_go(portal: Portal) -> None:
    there = portal.get("/activity?cursor=7").headers["location"]
    assert 'name="next" value="/activity?cursor=7"' in portal.client.get(there).text
    assert portal.log_in(next="/activity?cursor=7").headers["location"] == "/portal/activity?cursor=7"


def test_where_no_password_is_set_one_is_made_and_kept(opening: Opening) -> None:
    portal = opening(portal_password="")
    made = made_password(portal.settings)
    assert made == made_password(portal.settings)
    assert len(made) == 23
    assert path_of(portal.settings, "portal").stat().st_mode & 0o777 == 0o600
    assert portal.log_in(password="").status_code == 401
    assert portal.log_in(password=made).status_code == 303


def test_the_address_that_is_shown_then_logs_in_who_is_first(opening: Opening) -> None:
    portal = opening(portal_password="")
    path = entrance(portal.settings, "").removeprefix("/portal")
    assert portal.get(path).status_code == 303
    assert is_inside(portal)
    portal.client.cookies.clear()
    second = portal.get(path)
    assert second.status_code == 401
    assert "was used or is too old" in texts(second)
    assert not is_inside(portal)


def test_where_a_password_is_set_the_address_opens_nothing_by_itself(portal: Portal) -> None:
    assert entrance(portal.settings, "http://x") == "http://x/portal/"


def test_a_link_is_too_old_after_an_hour(portal: Portal) -> None:
    old = link(portal.ledger, "", utc_now() - timedelta(minutes=61)).removeprefix("/portal")
    assert portal.get(old).status_code == 401


PROXY = {"portal_user_header": "X-Forwarded-User", "portal_proxies": "10.1.0.0/16", "portal_password": ""}
SAYS = {"X-Forwarded-User": "bea@example.com"}


def test_a_proxy_that_is_believed_says_who_is_logged_in(opening: Opening) -> None:
    portal = opening(client="10.1.2.3", **PROXY)
    assert "bea@example.com" in portal.get("/activity", headers=SAYS).text
    portal.client.headers.update(SAYS)
    assert portal.post("/exports", "/exports", startDate="").status_code == 422
    assert portal.get("/activity", headers={"X-Forwarded-User": "carl"}).text.count("carl") == 1
    portal.client.headers.pop("X-Forwarded-User")
    assert not is_inside(portal)


def test_the_header_is_worth_nothing_from_elsewhere(opening: Opening) -> None:
    portal = opening(client="10.2.0.1", **PROXY)
    assert portal.get("/activity", headers=SAYS).status_code == 303
    assert "Open the address that leads through it" in texts(portal.get("/login", headers=SAYS))


def test_behind_a_proxy_each_client_has_attempts_of_its_own(opening: Opening) -> None:
    portal = opening()
    with listening(portal.app) as url, httpx.Client(base_url=url) as client:
        token = re.search(r'name="formToken" value="(\w+)"', client.get("/login").text)
        assert token

        def tried(from_: str) -> int:
            form = {"formToken": token[1], "name": "Ana", "password": "not this one"}
            return client.post("/login", data=form, headers={"X-Forwarded-For": from_}).status_code

        assert {tried("198.51.100.1") for _ in range(ATTEMPTS_A_MINUTE + 1)} == {401, 429}
        assert tried("198.51.100.2") == 401
        assert {tried(f"2001:db8::{n}") for n in range(ATTEMPTS_A_MINUTE + 1)} == {401, 429}
    assert {entry.address for entry in portal.ledger.audit.list()[0]} >= {"198.51.100.1", "198.51.100.2"}


@pytest.mark.parametrize("more", [{"X-Forwarded-For": "10.1.2.3"}, {}])
def test_the_header_is_believed_by_the_connection_alone(opening: Opening, more: dict[str, str]) -> None:
    with listening(opening(**PROXY).app) as url:
        assert httpx.get(f"{url}/activity", headers={**SAYS, **more}).status_code == 303


def test_two_headers_that_say_who_it_is_are_none(opening: Opening) -> None:
    portal = opening(client="10.1.2.3", **PROXY)
    name, value = next(iter(SAYS.items()))
    assert portal.get("/activity", headers=[(name, value), (name, "carl")]).status_code == 303


def test_with_a_proxy_and_no_password_none_is_right(opening: Opening) -> None:
    portal = opening(client="10.2.0.1", **PROXY)
    page = portal.get("/login").text
    assert 'name="password"' not in page
    portal.ledger.sessions.end(portal.token)
    assert not is_inside(portal)


def test_what_is_done_is_noted_with_who_did_it_and_from_where(portal: Portal) -> None:
    portal.log_in(name="my password by mistake", password="not this one")
    portal.log_in(name="  Ana\n<b>Maria</b> ")
    portal.post("/logout")
    found, _, total = portal.ledger.audit.list()
    assert total == 3
    assert [entry.action for entry in found] == ["logged out", "logged in", "was refused: wrong password"]
    assert {(entry.who, entry.how, entry.address) for entry in found[:2]} == {
        ("Ana <b>Maria</b>", "password", "192.0.2.7")
    }
    assert all(entry.request_id.startswith("req_") for entry in found)
    assert found[2].who == ""
    portal.log_in(password=PASSWORD)
    shown = portal.get("/activity").text
    assert "Ana &lt;b&gt;Maria&lt;/b&gt;" in shown
    assert "<b>Maria" not in shown


def test_the_log_of_activity_is_paged(portal: Portal) -> None:
    for number in range(60):
        portal.ledger.audit.note(
            Entry(utc_now(), f"person{number}", "password", "", "logged in", "", "req_x")
        )
    portal.log_in()
    first = portal.get("/activity").text
    assert ">person12 " in first
    assert ">person5 " not in first
    older = first.partition('href="/portal/activity?cursor=')[2].partition('"')[0]
    assert ">person5 " in portal.get(f"/activity?cursor={older}").text
