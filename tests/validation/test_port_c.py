import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from disinhib.validation import (
    compare,
    find_traces,
    named_arithmetic,
    read_candidate,
    read_trace,
    record_standard_case,
    shipped_directory,
    write_flat_directory,
    write_trace_inputs,
)
from disinhib.validation.trace.cases import standard_cases

SOURCE = Path(__file__).parents[2] / "examples" / "port_c" / "port.c"
STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
PRECISIONS = {"float64": "double", "float32": "float"}
SHIPPED = {path.stem: path for path in find_traces([shipped_directory()])[0]}
REAL_IMAGES = [name for name in SHIPPED if name.startswith("fashion-mnist")]
CASES = {case.name: case for case in standard_cases()}
FEW_CASES = [
    "exact-inverse-softmax-cross-entropy-clipped",
    "linear-threshold-softmax-cross-entropy-weak-averaged",
    "near-silent",
    "without-biases",
    "strong-gain",
]


def questions(trace, directory):
    write_trace_inputs(directory / "questions.h5", trace)
    write_flat_directory(directory / "questions.h5", directory / "questions")
    return directory / "questions"


def answers(port, trace, directory):
    subprocess.run([port, questions(trace, directory), directory / "answers"], check=True)
    return directory / "answers"


def assert_conforms(trace, directory, precision):
    result = compare(trace, read_candidate(directory, trace), named_arithmetic(precision))
    assert result.results
    assert not any(result.not_given.values()), result.not_given
    for stage in result.results:
        assert stage.passed, f"{stage.stage}: {stage.used:.3g} of the allowance, {stage.worst}"


def run_compiler(source, executable, *flags):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: cc is not on the path")
    command = ["cc", *STRICT, *flags, "-o", executable, source, "-lm"]
    return subprocess.run(command, capture_output=True, text=True)


def compile_port(directory, *flags):
    completed = run_compiler(SOURCE, directory / "port", *flags)
    assert completed.returncode == 0, completed.stderr
    return directory / "port"


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    return {
        precision: compile_port(tmp_path_factory.mktemp(precision), f"-DREAL={c_type}")
        for precision, c_type in PRECISIONS.items()
    }


# Precisions in turns in the fast tests.
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(name, precision, marks=[] if (number + turn) % 2 else pytest.mark.slow)
        for number, name in enumerate(name for name in SHIPPED if name not in REAL_IMAGES)
        for turn, precision in enumerate(PRECISIONS)
    ],
)
def test_shipped_traces(ports, tmp_path, name, precision):
    trace = read_trace(SHIPPED[name])
    assert_conforms(trace, answers(ports[precision], trace, tmp_path), precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", REAL_IMAGES)
def test_real_images(ports, tmp_path, name, precision):
    trace = read_trace(SHIPPED[name])
    assert_conforms(trace, answers(ports[precision], trace, tmp_path), precision)


@pytest.mark.parametrize("name", FEW_CASES)
def test_some_standard_cases(ports, tmp_path, name):
    check_standard_case(ports, tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in FEW_CASES])
def test_other_standard_cases(ports, tmp_path, name):
    check_standard_case(ports, tmp_path, name)


def check_standard_case(ports, tmp_path, name):
    trace = record_standard_case(CASES[name])
    for precision, port in ports.items():
        directory = tmp_path / precision
        directory.mkdir()
        assert_conforms(trace, answers(port, trace, directory), precision)


def test_a_spoilt_gradient_is_named_first(ports, tmp_path):
    trace = read_trace(SHIPPED["linear-threshold"])
    directory = answers(ports["float64"], trace, tmp_path)
    spoilt = directory / "steps" / "0001" / "gradients" / "hidden_1" / "weight.bin"
    (-np.fromfile(spoilt)).tofile(spoilt)
    result = compare(trace, read_candidate(directory, trace), named_arithmetic("float64"))
    first = next(stage for stage in result.results if not stage.passed)
    assert first.stage == "gradients"
    assert first.element.array == "hidden_1/weight"
    assert first.element.step == 1


def test_no_undefined_behaviour(tmp_path):
    sanitizers = ["-g", "-fsanitize=address,undefined"]
    (tmp_path / "nothing.c").write_text("int main(void) { return 0; }\n")
    if run_compiler(tmp_path / "nothing.c", tmp_path / "nothing", *sanitizers).returncode:
        pytest.skip("cc has no sanitizers")
    trace = record_standard_case(CASES["linear-threshold-mse-clipped"])
    sanitized = compile_port(tmp_path, *sanitizers, "-O1")
    assert_conforms(trace, answers(sanitized, trace, tmp_path), "float64")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("settings.txt", "optimizer.name"),
        ("inputs.bin", "ends early"),
        ("arrays.txt", "lacks"),
    ],
)
def test_damaged_questions_are_refused(ports, tmp_path, spoil, message):
    directory = questions(record_standard_case(CASES["depth-1"]), tmp_path)
    damaged = directory / spoil
    if spoil == "settings.txt":
        damaged.write_text(damaged.read_text().replace("adam", "adamant"))
    elif spoil == "inputs.bin":
        damaged.write_bytes(damaged.read_bytes()[:-1])
    else:
        damaged.write_text("")
    completed = subprocess.run(
        [ports["float64"], directory, tmp_path / "answers"], capture_output=True, text=True
    )
    assert completed.returncode == 2
    assert message in completed.stderr
