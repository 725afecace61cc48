"""The portal in process: a deployment with a day of rows, and a visitor with a cookie jar."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from export_pipeline.api.app import create_app
from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.portal import attach, guards
from export_pipeline.portal.guards import COOKIE
from export_pipeline.settings import Settings, load, variable
from export_pipeline.store import Store
from export_pipeline_tests.api.conftest import land_yesterday

PASSWORD = "correct horse battery"
NAME = "Ana"


@dataclass
class Portal:
    """A deployment whose portal answers in this process."""

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


def texts(answer: httpx.Response) -> str:
    """The text of a page, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def opened(home: Path, rows: bool = False, client: str = "192.0.2.7", **given: str) -> Portal:
    """A portal on a state root; its settings can be given as environment variables."""
    environment = {"home": str(home), "portal_password": PASSWORD, "workers": "2", **given}
    settings = load({variable(name): value for name, value in environment.items()})
    store, ledger = Store(settings), Ledger(settings)
    yesterday = land_yesterday(store, ledger) if rows else ""
    return Portal(settings, store, ledger, browser(attach(create_app(settings)), client), yesterday)


def browser(app: FastAPI, client: str = "192.0.2.7") -> TestClient:
    return TestClient(app, follow_redirects=False, client=(client, 50000))


@pytest.fixture
def opening(tmp_path: Path) -> Opening:
    """Open a portal on an empty state root."""
    return partial(opened, tmp_path / "home")


@pytest.fixture
def portal(opening: Opening) -> Portal:
    """A portal nobody is logged in to."""
    return opening()


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Portal:
    return opened(tmp_path_factory.mktemp("portal") / "home", rows=True, jobs_per_day="1000")


@pytest.fixture
def inside(_filled: Portal) -> Portal:
    """A portal with a day of rows, the same for many tests, with somebody logged in."""
    app = _filled.client.app
    assert isinstance(app, FastAPI)
    here = replace(_filled, client=browser(app))
    here.hold(here.ledger.sessions.begin(NAME, guards.PASSWORD, utc_now()))
    return here
