"""The benchmark measures what it says: ratios, operations, and a report that can be read."""

import dataclasses
import json
import os
import sys
from itertools import pairwise, product

import numpy as np
import pytest
from rich.console import Console

from disinhib.experiments.benchmarks import measurement
from disinhib.experiments.benchmarks.cases import (
    Case,
    Choice,
    chosen_cases,
    profiled_cases,
    scaling_cases,
)
from disinhib.experiments.benchmarks.measurement import (
    Row,
    measure,
    required_operations,
    stage_profile,
)
from disinhib.experiments.benchmarks.results import (
    draw_rows,
    draw_scaling,
    print_profile,
    print_rows,
    write_rows,
)
from disinhib.experiments.command_line import main
from disinhib.refimpl.configuration import ConfigurationError

from .test_command_line import said

SMALL = Case("numba", "float32", "exact-inverse", "fixed-point", (20, 16, 10), 8, threads=1)
BACKPROP = dataclasses.replace(SMALL, rule="backprop")
HOARD_MEBIBYTES = 768


def bench(monkeypatch, capsys, *arguments):
    """Run the command in this process: exit code, lines of stdout, lines of stderr."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["disinhib", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    return ended.value.code, output.out.splitlines(), said(output.err)


@pytest.fixture(scope="module")
def rows():
    # A process hands its peak of memory down to its children, who must not count it as theirs.
    hoard = np.ones(HOARD_MEBIBYTES * 2**20 // 8)
    measured = [measure(SMALL), measure(BACKPROP)]
    assert hoard[-1] == 1
    return measured


class DriftingMachine:
    """A clock that only work moves, on a machine that slows down whenever work changes."""

    def __init__(self, drift=1.0):
        self.drift, self.slowness, self.now, self.turns = drift, 1.0, 0.0, []

    def work(self, name, seconds):
        def steps(n):
            if self.turns and self.turns[-1] != name:
                self.slowness *= self.drift
            self.turns.append(name)
            self.now += n * seconds * self.slowness

        return steps


@pytest.fixture
def measure_on(monkeypatch):
    def measure_on(machine, case, **seconds):
        work = {rule: machine.work(rule, time) for rule, time in seconds.items()}
        monkeypatch.setattr(measurement.time, "perf_counter", lambda: machine.now)
        monkeypatch.setattr(measurement, "product_rate", lambda backend, dtype: 1.0)
        monkeypatch.setattr(
            measurement, "_step", lambda case, generator: work[case.rule.replace("-", "_")]
        )
        return measurement._measure_here(case)

    return measure_on


def test_rates_and_ratios_of_known_times():
    row = Row(SMALL, (0.2, 0.5, 0.4), (0.1, 0.1, 0.4), 100.0, 200.0, 0.5)
    assert row.rates == (40, 16, 20)
    assert row.samples_per_second == 20
    assert row.ratios == (2, 5, 1)
    # Not the ratio of the medians, which is 4: each ratio is of two neighbours in time.
    assert row.backprop_ratio == 2
    assert row.gigaflops == pytest.approx(required_operations(SMALL) / 0.4 / 1e9)


def test_the_two_steps_take_turns_in_one_run(measure_on):
    """Slower by half from turn to turn, each ratio is 3 · 1.5; in separate runs it would drift."""
    machine = DriftingMachine(drift=1.5)
    row = measure_on(machine, SMALL, backprop=0.01, exact_inverse=0.03)
    assert 7 <= len(row.step_seconds) == len(row.backprop_seconds) <= 9
    repeats = machine.turns[-2 * len(row.step_seconds) :]
    assert repeats == ["backprop", "exact_inverse"] * len(row.step_seconds)
    assert row.ratios == pytest.approx([4.5] * len(row.ratios))
    assert machine.turns[:3] == ["exact_inverse", "exact_inverse", "backprop"], "warm-up"


def test_a_quick_step_is_repeated_nine_times_and_a_slow_one_seven(measure_on):
    quick = measure_on(DriftingMachine(), BACKPROP, backprop=0.01)
    assert quick.step_seconds == pytest.approx([0.01] * 9)
    slow = measure_on(DriftingMachine(), BACKPROP, backprop=4.0)
    assert slow.step_seconds == slow.backprop_seconds == (4.0,) * 7
    assert slow.start_up_seconds == 4.0


def test_the_rate_of_a_product_is_two_operations_a_triple(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr(measurement.time, "perf_counter", lambda: next(ticks))
    assert measurement.product_rate("numba", "float32", n=100) == 2 * 100**3 / 1e9


def test_a_row_holds_together(rows):
    for row in rows:
        assert 7 <= len(row.step_seconds) == len(row.backprop_seconds)
        assert 0 < min(row.rates) <= row.samples_per_second <= max(row.rates)
        assert row.matrix_product_gigaflops > 0
        assert 30 < row.peak_mebibytes < HOARD_MEBIBYTES
        assert row.start_up_seconds > 0
    _, backprop = rows
    assert backprop.backprop_ratio == 1
    assert set(backprop.ratios) == {1}


def test_operations_of_the_products_counted_by_hand():
    """20-16-10, 8 samples: forward, back and gradients; feedback needs no product here."""
    forward = 20 * 16 + 16 * 10
    above = 16 * 10
    assert required_operations(BACKPROP) == 2 * 8 * (forward + above + forward)
    assert required_operations(SMALL) == 2 * 8 * (forward + 0 + above + forward)
    deep = dataclasses.replace(SMALL, sizes=(20, 16, 12, 10))
    feedback = 10 * 16 * 12
    forward, above = 20 * 16 + 16 * 12 + 12 * 10, 16 * 12 + 12 * 10
    assert required_operations(deep) == 2 * 8 * (forward + feedback + above + forward)


def test_the_standard_table():
    """By hand: 5 steps on the published network, 2 on each of 8 others, 2 precisions each."""
    cases = chosen_cases(Choice(["numpy", "numba", "torch"]))
    assert len(cases) == len(set(cases)) == 2 * (2 * (5 + 8 * 2) + 1 + 8)
    published = [c for c in cases if (c.sizes, c.batch) == ((784, 256, 256, 256, 10), 100)]
    assert cases[: len(published)] == published
    assert {c.method for c in published} == {None, "fixed-point", "tsit5", "euler"}
    others = [c for c in cases if c not in published]
    assert {(c.rule, c.method) for c in others} == {
        ("backprop", None),
        ("exact-inverse", "fixed-point"),
    }
    assert {c.batch for c in others} == {1, 100, 1000}
    assert len({(c.sizes, c.batch) for c in cases}) == 9
    for case in cases:
        beside = dataclasses.replace(case, rule="backprop")
        assert beside in cases, "its own backprop step is a row as well"
        assert case.backend != "torch" or case.rule == "backprop"


def test_every_combination_asked_for_is_a_row_once():
    choice = Choice(
        ["numba", "numpy", "numba", "torch"],
        dtypes=["float64"],
        rules=["linear-threshold-fixed", "backprop"],
        methods=["euler", "tsit5"],
        networks=[(20, 16, 10), (20, 8, 8, 10), (20, 16, 10)],
        batches=[3, 7],
        threads=2,
    )
    cases = chosen_cases(choice)
    asked = set()
    for sizes, batch in product([(20, 16, 10), (20, 8, 8, 10)], [3, 7]):
        for backend in ("numpy", "numba"):
            for method in ("euler", "tsit5"):
                step = ("float64", "linear-threshold-fixed", method)
                asked.add(Case(backend, *step, sizes, batch, 2))
        for backend in ("numpy", "numba", "torch"):
            asked.add(Case(backend, "float64", "backprop", None, sizes, batch, 2))
    assert len(asked) == 4 * (4 + 3)
    assert len(cases) == len(asked)
    assert set(cases) == asked
    # One table for each network and batch: they are not scattered.
    tables = [case.workload for case in cases]
    assert len(set(tables)) == 1 + sum(a != b for a, b in pairwise(tables))


def test_what_is_left_open_is_that_of_the_published_network():
    (case,) = chosen_cases(Choice(["numpy"], dtypes=["float32"], rules=["backprop"]))
    assert (case.sizes, case.batch, case.method) == ((784, 256, 256, 256, 10), 100, None)
    steps = {c.step for c in chosen_cases(Choice(["numpy"], batches=[5]))}
    assert steps == {
        "backprop",
        "exact-inverse, fixed-point",
        "linear-threshold, fixed-point",
        "exact-inverse, tsit5",
        "exact-inverse, euler",
    }
    methods = {c.method for c in chosen_cases(Choice(["numpy"], rules=["exact-inverse"]))}
    assert methods == {"fixed-point", "tsit5", "euler"}
    assert {c.threads for c in chosen_cases(Choice(["numpy"], threads=1))} == {1}


def test_curves_vary_one_size_and_reach_the_ends():
    cases = scaling_cases("numba", threads=2)
    assert [c.batch for c in cases["batch"]][:: len(cases["batch"]) - 1] == [1, 1000]
    assert [c.sizes[1] for c in cases["width"]][:: len(cases["width"]) - 1] == [64, 2048]
    assert [len(c.sizes) - 2 for c in cases["depth"]][:: len(cases["depth"]) - 1] == [1, 8]
    assert [c.sizes[-1] for c in cases["outputs"]][:: len(cases["outputs"]) - 1] == [10, 100]
    assert {c.threads for curve in cases.values() for c in curve} == {2}


def test_the_report_is_written_and_drawn(rows, tmp_path):
    other = [dataclasses.replace(row, case=dataclasses.replace(row.case, batch=16)) for row in rows]
    write_rows(tmp_path / "r.json", [*rows, *other], {"batch": [rows[0], other[0]]})
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["machine"]["processor"]
    assert len(document["rows"]) == 4
    assert len(document["scaling"]["batch"]) == 2
    learning, backprop = document["rows"][:2]
    assert [learning[key] for key in ("backend", "dtype", "rule", "method", "sizes", "batch")] == [
        "numba",
        "float32",
        "exact-inverse",
        "fixed-point",
        [20, 16, 10],
        8,
    ]
    assert backprop["method"] is None
    for name in ("samples_per_second", "step_seconds", "backprop_ratio"):
        assert learning[name] == pytest.approx(np.median(learning[f"{name}_repeats"]))
    pairs = zip(learning["step_seconds_repeats"], learning["backprop_seconds_repeats"], strict=True)
    assert learning["backprop_ratio_repeats"] == pytest.approx([a / b for a, b in pairs])
    draw_rows(tmp_path / "r.png", [*rows, *other])
    draw_scaling(tmp_path / "s.png", {"batch": [rows[0], other[0]]})
    for name in ("r.png", "s.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_table_fits_80_columns():
    """The longest names and large numbers: nothing is wrapped or cut."""
    case = Case("numpy", "float64", "linear-threshold-fixed", "fixed-point")
    row = Row(case, (0.0012, 0.0013, 0.0011), (0.00012, 0.00015, 0.00011), 150.0, 1234.0, 12.3)
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_rows(console, [row, dataclasses.replace(row, case=dataclasses.replace(case, threads=2))])
    text = console.export_text()
    assert "784-256-256-256-10, batch 100" in text
    assert max(map(len, text.splitlines())) <= 80
    first, second = (line for line in text.splitlines() if "linear-threshold-fixed" in line)
    assert first.split()[1:] == second.split()[1:]
    # 100 samples in 1.2 ms; 1.2 ÷ 0.12; 2 · 100 (2 Σ + Σ above the first + 10 · 2 · 256²) products.
    total, above = 784 * 256 + 2 * 256**2 + 2560, 2 * 256**2 + 2560
    gigaflops = 200 * (2 * total + above + 10 * 2 * 256**2) / 1.2e-3 / 1e9
    assert first.split() == [
        "linear-threshold-fixed",
        "83,333",
        "10.00",
        f"{gigaflops:.1f}",
        "1234",
        "12.30",
        "s",
    ]
    assert "76,923–90,909" in text
    assert "8.67–10.00" in text


def test_a_profile_names_every_stage():
    profile = stage_profile(SMALL)
    assert list(profile)[-1] == "whole learning step"
    assert {"open loop", "feedback weights", "closed loop", "gradients"} < set(profile)
    assert all(seconds >= 0 for seconds in profile.values())
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_profile(console, SMALL, profile)
    assert "100%" in console.export_text()


def test_a_profile_is_of_what_was_chosen():
    (case,) = profiled_cases(Choice(["numba"]))
    assert case == Case("numba", "float32", "exact-inverse", "fixed-point")
    rules = ["backprop", "linear-threshold"]
    cases = profiled_cases(Choice(["numpy"], rules=rules, methods=["euler"], batches=[2, 3]))
    assert [(c.rule, c.method, c.batch) for c in cases] == [
        ("linear-threshold", "euler", 2),
        ("linear-threshold", "euler", 3),
    ]
    with pytest.raises(ConfigurationError, match="no stages to profile"):
        profiled_cases(Choice(["numpy"], rules=["backprop"]))


def test_a_case_that_cannot_run_is_one_line():
    with pytest.raises(ConfigurationError, match="unknown: choose one of") as problem:
        measure(dataclasses.replace(SMALL, backend="tpu"))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "tpu"], "backend 'tpu' is unknown: choose one of numpy"),
        (["--dtype", "float16"], "'float16' is not one of 'float32', 'float64'"),
        (["--rule", "hebb"], "'hebb' is not one of 'exact-inverse'"),
        (["--method", "rk4"], "'rk4' is not one of 'fixed-point', 'tsit5', 'euler'"),
        (["--sizes", "784,x"], "--sizes is '784,x': whole numbers separated by commas"),
        (["--sizes", "784,10"], "sizes is (784, 10): inputs, at least one hidden layer"),
        (["--sizes", "784,8,1"], "sizes is (784, 8, 1): at least 2 outputs are needed"),
        (["--batch", "10", "--batch", "0"], "batch is 0: must be at least 1"),
        (["--threads", "0"], "threads is 0: must be at least 1"),
        (["--json", "no/r.json"], "no/r.json cannot be written: no is not a directory"),
        (["--chart", "r.svg"], "--chart is 'r.svg': a name that ends in .png"),
        (["--profile", "--scaling"], "--profile with --chart or --scaling"),
        (["--profile", "--rule", "backprop"], "a backprop step has no stages to profile"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, output, problems = bench(monkeypatch, capsys, *arguments)
    assert code == 2
    (line,) = problems
    assert line.startswith("disinhib: ")
    assert message in line
    assert output == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_writes_the_row_it_was_asked_for(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, output, problems = bench(
        monkeypatch,
        capsys,
        *("--backend", "numpy", "--dtype", "float32", "--rule", "exact-inverse"),
        *("--method", "euler", "--sizes", "20,16,10", "--batch", "2", "--threads", "1"),
        *("--json", "r.json", "--chart", "r.png"),
    )
    assert (code, problems) == (0, [])
    (record,) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [record[name] for name in ("backend", "method", "batch")] == ["numpy", "euler", 2]
    assert any(line.startswith("20-16-10, batch 2") for line in output)
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
