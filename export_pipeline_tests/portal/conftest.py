"""The portal in process: a deployment with a day of rows, and a visitor with a cookie jar."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from export_pipeline.api.app import create_app
from export_pipeline.ledger import Ledger
from export_pipeline.portal import attach
from export_pipeline.portal.guards import COOKIE
from export_pipeline.settings import Settings, load
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


@pytest.fixture
def opening(tmp_path: Any) -> Opening:
    """Open a portal on an empty state root; its settings can be given as environment variables."""

    def open_(rows: bool = False, client: str = "192.0.2.7", **given: str) -> Portal:
        environment = {"home": str(tmp_path / "home"), "portal_password": PASSWORD, "workers": "2", **given}
        settings = load({f"EXPORT_PIPELINE_{name.upper()}": value for name, value in environment.items()})
        store, ledger = Store(settings), Ledger(settings)
        yesterday = land_yesterday(store, ledger) if rows else ""
        app = attach(create_app(settings))
        browser = TestClient(app, follow_redirects=False, client=(client, 50000))
        return Portal(settings, store, ledger, browser, yesterday)

    return open_


@pytest.fixture
def portal(opening: Opening) -> Portal:
    """A portal nobody is logged in to."""
    return opening()


@pytest.fixture
def inside(opening: Opening) -> Portal:
    """A portal with a day of rows, with somebody logged in."""
    opened = opening(rows=True, jobs_per_day="1000")
    assert opened.log_in().status_code == 303
    return opened
