"""The portal in process: a deployment with a day of rows, and a visitor with a cookie jar; and the same on a
socket for a real browser."""

import html
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from export_pipeline.api.app import create_app
from export_pipeline.api.server import noting_peer, server
from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.portal import attach, guards
from export_pipeline.portal.guards import COOKIE
from export_pipeline.settings import Settings, load, variable
from export_pipeline.store import Store
from export_pipeline_tests.api.conftest import land_yesterday
from export_pipeline_tests.delivery.receivers import Received, Reply, receiver
from export_pipeline_tests.system import program

PASSWORD = "correct horse battery"
ONCE = "0123456789abcdef" * 2
"""What one form has, sent twice."""
NAME = "Ana"


@dataclass
class Portal:
    """A deployment whose portal answers in this process."""

    app: FastAPI
    settings: Settings
    store: Store
    ledger: Ledger
    client: TestClient
    yesterday: str

    @property
    def token(self) -> str:
        return str(self.client.cookies.get(COOKIE) or "")

    def hold(self, token: str) -> None:
        """Have this cookie and no other."""
        self.client.cookies.clear()
        self.client.cookies.set(COOKIE, token, domain="testserver.local", path="/portal")

    def get(self, path: str, **more: Any) -> httpx.Response:
        answer: httpx.Response = self.client.get(f"/portal{path}", **more)
        return answer

    def form_token(self, path: str = "/login") -> str:
        found = re.search(r'name="formToken" value="([0-9a-f]{64})"', self.get(path).text)
        assert found
        return found[1]

    def post(
        self, path: str, page: str = "/activity", headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        """Send a form of ``page``, with its token unless another is given."""
        data = {"formToken": fields.pop("formToken", None) or self.form_token(page), **fields}
        answer: httpx.Response = self.client.post(f"/portal{path}", data=data, headers=headers)
        return answer

    def log_in(self, name: str = NAME, password: str = PASSWORD, **fields: str) -> httpx.Response:
        return self.post("/login", "/login", name=name, password=password, **fields)


Opening = Callable[..., Portal]
Visit = Callable[..., Page]


def texts(answer: httpx.Response) -> str:
    """The text of a page, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def opened(
    deployment: Mapping[str, str], rows: bool = False, client: str = "192.0.2.7", **given: str
) -> Portal:
    """A portal of a deployment; more of its settings can be given by name."""
    more = {"portal_password": PASSWORD, "workers": "2", "smtp_host": "mail.example.com", **given}
    settings = load({**deployment, **{variable(name): value for name, value in more.items()}})
    store, ledger = Store(settings), Ledger(settings)
    yesterday = land_yesterday(store, ledger) if rows else ""
    app = attach(create_app(settings))
    return Portal(app, settings, store, ledger, browser(app, client), yesterday)


def at(folder: Path) -> dict[str, str]:
    """A deployment on an empty state root."""
    return {variable("home"): str(folder / "home")}


def browser(app: FastAPI, client: str = "192.0.2.7") -> TestClient:
    return TestClient(noting_peer(app), follow_redirects=False, client=(client, 50000))


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of the portal on a socket, as ``serve`` serves it."""
    bound = socket.create_server(("127.0.0.1", 0))
    running = server(app, ending_seconds=1)
    thread = threading.Thread(target=running.run, args=([bound],), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{bound.getsockname()[1]}/portal"
    running.should_exit = True
    thread.join()


@pytest.fixture
def opening(environment: dict[str, str]) -> Opening:
    """Open a portal on an empty state root, on what a test is marked with."""
    return partial(opened, environment)


@pytest.fixture
def portal(opening: Opening) -> Portal:
    """A portal nobody is logged in to."""
    return opening()


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Portal:
    return opened(at(tmp_path_factory.mktemp("portal")), rows=True, jobs_per_day="1000")


@pytest.fixture
def inside(_filled: Portal) -> Portal:
    """A portal with a day of rows, the same for many tests, with somebody logged in."""
    here = replace(_filled, client=browser(_filled.app))
    here.hold(here.ledger.sessions.begin(NAME, guards.PASSWORD, utc_now()))
    return here


@pytest.fixture(scope="session")
def failing_once() -> Iterator[str]:
    """The address of a receiver that refuses each message the first time."""
    before: set[str] = set()

    def reply(request: Received, _: int) -> Reply:
        message = request.headers["webhook-id"]
        known = message in before
        before.add(message)
        return (200, {}, b"ok") if known else (500, {}, b"not now")

    with receiver() as listening:
        listening.reply = reply
        yield listening.url


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, failing_once: str) -> Iterator[tuple[str, Portal]]:
    """A portal with a day of rows on a socket, and where."""
    allowed = "http://" + failing_once.split("/")[2]
    portal = opened(
        at(tmp_path_factory.mktemp("browser")), rows=True, jobs_per_day="1000", webhook_allow=allowed
    )
    with listening(portal.app) as url:
        yield url, portal


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser; ended with the module, as no other event loop can run beside it."""
    path = program("chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def windows() -> dict[str, BrowserContext]:
    """Windows of the browser that were opened before, by what they are like."""
    return {}


@pytest.fixture
def visit(
    chromium: Browser, windows: dict[str, BrowserContext], served: tuple[str, Portal]
) -> Iterator[Visit]:
    """Open a page of the portal as somebody who is logged in; nothing may be refused or broken on it."""
    url, portal = served
    pages: list[Page] = []
    problems: list[str] = []

    def open_(path: str = "/exports", logged_in: bool = True, **more: Any) -> Page:
        context = windows.get(repr(more)) or chromium.new_context(**more)
        windows[repr(more)] = context
        context.clear_cookies()
        if logged_in:
            token = portal.ledger.sessions.begin(NAME, "password", utc_now())
            context.add_cookies([{"name": "export_pipeline_portal", "value": token, "url": url}])
        page = context.new_page()
        pages.append(page)
        page.on("console", lambda said: problems.append(said.text) if is_problem(said) else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url + path)
        return page

    yield open_
    for page in pages:
        page.close()
    assert not problems


def is_problem(said: ConsoleMessage) -> bool:
    """Whether it is one of the page itself.

    That an answer is an error is what some tests are about, and a page that is left, or an estimate that a
    newer one replaces, aborts its request.
    """
    expected = ("Failed to load", "Response Status Error", "htmx:afterRequest", "htmx:sendAbort")
    return said.type == "error" and not said.text.startswith(expected)
