"""Every benchmark that can be named fits the product it measures."""

import importlib

import pytest

from benchmarks.__main__ import NAMES

PEERS = {"comparison": ("chdb", "polars")}
"""Packages of the extra ``bench`` that a benchmark needs."""


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_loads(name: str) -> None:
    for package in PEERS.get(name, ()):
        pytest.importorskip(package)
    assert callable(importlib.import_module(f"benchmarks.{name}").run)
