"""Every benchmark that can be named fits the product it measures."""

import importlib

import pytest

from benchmarks.__main__ import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_loads(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").run)
