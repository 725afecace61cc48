"""Programs of the system that some tests need; ``make test-system`` installs them, so none is skipped."""

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """The path of a program; without it the test is skipped with the reason, or fails where none may be."""
    return shutil.which(name) or missing(f"{name} is not installed; `make test-system` installs it")


def missing(reason: str) -> NoReturn:
    """Skip a test for want of what it needs, or fail where none may be skipped."""
    if os.environ.get("REQUIRE_SYSTEM"):
        pytest.fail(reason)
    pytest.skip(reason)
