"""The benchmark measures what it says: ratios, operations, and a report that can be read."""

import dataclasses
import json

import pytest
from rich.console import Console

from disinhib.experiments.benchmark import Case, measure, required_operations, scaling_cases
from disinhib.experiments.benchmark_report import draw_rows, draw_scaling, print_rows, write_rows
from disinhib.experiments.stage_profile import stage_profile
from disinhib.refimpl.errors import ConfigurationError

SMALL = Case("numba", "float32", "exact-inverse", "fixed-point", (20, 16, 10), 8, threads=1)


@pytest.fixture(scope="module")
def rows():
    return [measure(SMALL), measure(dataclasses.replace(SMALL, rule="backprop"))]


def test_a_row_holds_together(rows):
    for row in rows:
        assert 0 < row.slowest <= row.samples_per_second <= row.fastest
        seconds = row.case.batch / row.samples_per_second
        assert row.gigaflops == pytest.approx(required_operations(row.case) / seconds / 1e9)
        assert 10 < row.peak_mebibytes < 10_000
        assert row.first_step_seconds > 0
    learning, backprop = rows
    assert backprop.backprop_ratio == 1
    # A closed loop cannot cost less than the forward and backward pass that it contains.
    assert learning.backprop_ratio > 1


def test_operations_of_the_products_counted_by_hand():
    """20-16-10, 8 samples: forward, back and gradients; feedback needs no product here."""
    forward = 20 * 16 + 16 * 10
    above = 16 * 10
    backprop = dataclasses.replace(SMALL, rule="backprop")
    assert required_operations(backprop) == 2 * 8 * (forward + above + forward)
    assert required_operations(SMALL) == 2 * 8 * (forward + 0 + above + forward)
    deep = dataclasses.replace(SMALL, sizes=(20, 16, 12, 10))
    feedback = 10 * 16 * 12
    forward, above = 20 * 16 + 16 * 12 + 12 * 10, 16 * 12 + 12 * 10
    assert required_operations(deep) == 2 * 8 * (forward + feedback + above + forward)


def test_the_report_is_written_and_drawn(rows, tmp_path):
    print_rows(Console(width=100, file=open(tmp_path / "t.txt", "w")), rows)  # noqa: SIM115
    curve = {
        "batch": [rows[0], dataclasses.replace(rows[0], case=dataclasses.replace(SMALL, batch=16))]
    }
    write_rows(tmp_path / "r.json", rows, curve)
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["machine"]["processor"]
    assert len(document["rows"]) == len(document["scaling"]["batch"]) == 2
    draw_rows(tmp_path / "r.png", rows)
    draw_scaling(tmp_path / "s.png", curve)
    for name in ("r.png", "s.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_curves_vary_one_size_and_reach_the_ends():
    cases = scaling_cases("numba")
    assert [c.batch for c in cases["batch"]][:: len(cases["batch"]) - 1] == [1, 1000]
    assert [c.sizes[1] for c in cases["width"]][:: len(cases["width"]) - 1] == [64, 2048]
    assert [len(c.sizes) - 2 for c in cases["depth"]][:: len(cases["depth"]) - 1] == [1, 8]
    assert [c.sizes[-1] for c in cases["outputs"]][:: len(cases["outputs"]) - 1] == [10, 100]


def test_a_profile_names_every_stage():
    profile = stage_profile(SMALL)
    assert list(profile)[-1] == "whole learning step"
    assert {"open loop", "feedback weights", "closed loop", "gradients"} < set(profile)
    assert all(seconds >= 0 for seconds in profile.values())


def test_a_case_that_cannot_run_is_one_line():
    with pytest.raises(ConfigurationError, match="unknown: choose one of") as problem:
        measure(dataclasses.replace(SMALL, backend="tpu"))
    assert "\n" not in str(problem.value)
