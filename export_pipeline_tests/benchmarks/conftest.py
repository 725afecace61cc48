"""A small sampled day, made once: what the benchmarks are tried on."""

from pathlib import Path

import pytest

from benchmarks.inputs import Input, sampled_day

ROWS = 3_000


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="session")
def day(inputs: Path) -> Input:
    return sampled_day(inputs, ROWS)
