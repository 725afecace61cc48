"""The portal's templates and static files are part of what is installed."""

from pathlib import Path

import pytest
from setuptools import Distribution
from setuptools.config.pyprojecttoml import apply_configuration

ROOT = Path(__file__).resolve().parents[2]
PORTAL = ROOT / "export_pipeline" / "portal"


def test_a_wheel_holds_every_template_and_static_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    project = apply_configuration(Distribution(), "pyproject.toml")
    project.include_package_data = False  # no look at what git tracks: the patterns alone count
    build = project.get_command_obj("build_py")
    build.ensure_finalized()
    packed = {
        name for package, *_, names in build.data_files if package.endswith(".portal") for name in names
    }
    there = {
        str(path.relative_to(PORTAL))
        for folder in ("templates", "static")
        for path in (PORTAL / folder).iterdir()
    }
    assert packed == there
    assert {"static/htmx.min.js", "static/htmx.LICENSE.txt", "templates/base.html"} <= packed
