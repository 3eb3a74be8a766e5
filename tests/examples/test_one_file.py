"""The model in one file conforms, by the judge's own tolerances, and needs nothing of ours."""

import ast
import importlib.util
from pathlib import Path

import pytest

from disinhib.validation import (
    compare,
    named_arithmetic,
    read_candidate,
    read_trace,
    record_standard_case,
)

from ..validation.test_port_c import CASES, REAL_IMAGES, SHIPPED, questions

SOURCE = Path(__file__).parents[2] / "examples" / "one_file.py"
FEW_CASES = [
    "exact-inverse-softmax-cross-entropy-clipped",
    "exact-inverse-mse-readout-free",
    "linear-threshold-softmax-cross-entropy-weak-averaged",
    "linear-threshold-fixed-mse-weak",
    "backprop-softmax-cross-entropy-default",
    "depth-5",
    "plain-descent-running-mean",
    "without-biases",
]


def one_file():
    spec = importlib.util.spec_from_file_location("one_file", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_conforms(trace, directory):
    one_file().main(questions(trace, directory), directory / "answers")
    candidate = read_candidate(directory / "answers", trace)
    result = compare(trace, candidate, named_arithmetic("float64"))
    missing = {stage for stage, names in result.not_given.items() if names}
    assert missing <= {"open-loop trajectory", "closed-loop trajectory"}
    assert result.results
    for stage in result.results:
        assert stage.passed, f"{stage.stage}: {stage.used:.3g} of the allowance, {stage.worst}"


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in REAL_IMAGES])
def test_shipped_traces(tmp_path, name):
    assert_conforms(read_trace(SHIPPED[name]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL_IMAGES)
def test_real_images(tmp_path, name):
    assert_conforms(read_trace(SHIPPED[name]), tmp_path)


@pytest.mark.parametrize("name", FEW_CASES)
def test_rules_losses_and_options(tmp_path, name):
    assert_conforms(record_standard_case(CASES[name]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in FEW_CASES])
def test_other_standard_cases(tmp_path, name):
    if name == "without-leak":
        pytest.skip("without a leak there is no c = κ e to solve; the file says so")
    assert_conforms(record_standard_case(CASES[name]), tmp_path)


def test_it_needs_numpy_alone():
    modules = set()
    for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    assert modules == {"numpy", "pathlib", "sys", "types"}
