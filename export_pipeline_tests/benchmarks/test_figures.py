"""What a figure is, and what is said of it."""

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.inputs import DATA_TYPE, Input
from benchmarks.measuring import Measured, alternate, measure, typical
from benchmarks.report import Section, at_least, at_most, document
from benchmarks.writers import ours

MEGABYTE = 1 << 20


def hold(megabytes: int) -> int:
    """Touch so much memory, and let it go."""
    return len(b"x" * (megabytes * MEGABYTE))


def fail() -> None:
    """End as a writer does that cannot write."""
    raise ValueError("on purpose")


def test_memory_is_that_of_the_call_in_its_own_process() -> None:
    small, large = measure(hold, megabytes=1), measure(hold, megabytes=200)
    assert large.result == 200 * MEGABYTE
    assert 190 * MEGABYTE < large.peak - small.peak < 210 * MEGABYTE


def test_a_call_that_fails_gives_no_figure(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="test_figures:fail failed"):
        measure(fail)
    assert "on purpose" in capfd.readouterr().err


def test_calls_are_made_in_turn_and_the_order_reversed() -> None:
    made: list[str] = []

    def call(name: str) -> Measured:
        made.append(name)
        return Measured(len(made), 0, len(made))

    found = alternate({name: lambda name=name: call(name) for name in "abc"}, 3)  # type: ignore[misc]
    assert "".join(made) == "abccbaabc"
    assert typical(found["a"]) == Measured(6, 0, 7)


def test_without_reading_back_the_export_has_the_same_bytes(day: Input, tmp_path: Path) -> None:
    exports = []
    for replayed in (False, True):
        out = tmp_path / f"export-{replayed}"
        seconds = ours.write_accounted(
            str(tmp_path / "kept"),
            replayed,
            home=str(day.home),
            data_type=DATA_TYPE,
            day=str(day.end),
            format="jsonl",
            compression="gzip",
            out=str(out),
        )
        assert ("read_range" in seconds) is not replayed
        assert sum(seconds.values()) > 0
        exports.append(next((out / DATA_TYPE).glob("part-*")).read_bytes())
    assert exports[0] == exports[1]


def test_the_report_says_which_targets_were_reached() -> None:
    targets = [at_least("speed", 2.2, 2.19, "x"), at_most("memory", 600, 599.6, "MB")]
    text = document([Section("Speed", ["What", "s"], [["this", "1.0"]], targets=targets)], [0.5], 60)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["speed", "2.2 x", "2.19 x", "**no**"] in lines
    assert ["memory", "≤ 600 MB", "600 MB", "yes"] in lines
    assert ["this", "1.0"] in lines


def test_a_benchmark_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["comparisson", "--workdir", str(tmp_path)])
    assert error.value.code == 2
    assert "NAME is comparisson; it must be one of comparison, limit" in capsys.readouterr().err


def test_figures_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.md"
    assert main(["arriving", "--quick", "--workdir", str(tmp_path / "work"), "--results", str(results)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == results.read_text().strip()
    assert "Ingest" in printed
    assert not list((tmp_path / "work").rglob("*.jsonl"))
