"""Programs of the system that some tests need; ``make test-system`` installs them, so none is skipped."""

import os
import shutil

import pytest


def program(name: str) -> str:
    """The path of a program; without it the test is skipped with the reason, or fails where none may be."""
    path = shutil.which(name)
    if path:
        return path
    reason = f"{name} is not installed; `make test-system` installs it"
    if os.environ.get("REQUIRE_SYSTEM"):
        pytest.fail(reason)
    pytest.skip(reason)
