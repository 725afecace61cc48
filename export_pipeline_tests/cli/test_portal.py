"""``portal``, and what ``serve`` prints of it: how a newcomer gets in."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from export_pipeline_tests.cli.conftest import Run


def test_the_address_that_serve_prints_leads_into_the_portal(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "export_pipeline", "serve", "--port", "0"]
    environment = {**os.environ, "EXPORT_PIPELINE_HOME": str(tmp_path / "home")}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith("Open http://127.0.0.1:")
            answer = requests.get(line.split()[1], timeout=60)
            assert "<h1>Export data</h1>" in answer.text
        finally:
            process.send_signal(signal.SIGINT)


def test_the_password_that_was_made_is_shown_and_a_set_one_is_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run("portal", "password", "--json").document["password"]
    assert run("portal", "password").out.strip() == made
    monkeypatch.setenv("EXPORT_PIPELINE_PORTAL_PASSWORD", "correct horse battery")
    refused = run("portal", "password")
    assert refused.code == 1
    assert "correct horse" not in refused.out + refused.err
    assert "correct horse" not in run("settings").out


def test_a_link_into_the_portal_leads_to_where_people_reach_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = "/portal/enter?token="
    assert run("portal", "link").out.startswith(f"http://127.0.0.1:8000{link}")
    monkeypatch.setenv("EXPORT_PIPELINE_PUBLIC_URL", "https://exports.example.com")
    found = run("portal", "link", "--json").document["url"]
    assert found.startswith(f"https://exports.example.com{link}")
