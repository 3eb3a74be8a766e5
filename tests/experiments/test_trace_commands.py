"""`disinhib trace …` and the reports, as their user meets them."""

import json
import re
import shutil
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.datasets.dataset import batch_order
from disinhib.experiments.conformance import ReportFiles, conform_backend, conform_commands
from disinhib.experiments.training.configuration import load_run_configuration
from disinhib.experiments.training.run import begin
from disinhib.refimpl import map_arrays
from disinhib.validation import read_trace, shipped_directory

from .test_command_line import disinhib, one_line

GOLDEN = shipped_directory() / "average-feedback.h5"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run's first steps on the digits, recorded by the reference, and by it in float32."""
    directory = tmp_path_factory.mktemp("recorded")
    config = directory / "run.toml"
    config.write_text(
        'rule = "linear-threshold"\nhidden = [9, 8]\nbatch_size = 6\nseed = 3\n'
        "[optimizer]\nlearning_rate = 0.01\n"
    )
    golden, single = directory / "golden.h5", directory / "single.h5"
    result = disinhib("trace", "record", config, "--out", golden, "--steps", 2, "--trajectories")
    assert result.returncode == 0, result.stderr
    assert "2 steps of 6 samples written" in result.stdout
    disinhib(
        *("trace", "record", config, "--out", single, "--steps", 2, "--trajectories"),
        *("--dtype", "float32"),
    )
    return directory


def test_what_is_recorded_is_the_run_that_would_begin(recorded, tmp_path):
    """Same batches, same start, same parameters after two steps as `disinhib train`."""
    trace = read_trace(recorded / "golden.h5")
    assert trace.dataset == "digits"
    assert trace.trajectory is not None
    configuration = load_run_configuration(recorded / "run.toml", {"dtype": "float64"})
    run = begin(configuration, tmp_path / "run")
    np.testing.assert_array_equal(
        run.backend.learner().parameters.weights[0], trace.initial_parameters.weights[0]
    )
    run.backend.train(run.train, batch_order(3, 0, len(run.dataset.train.labels), 6)[:2])
    learnt = run.backend.learner().parameters
    np.testing.assert_array_equal(learnt.weights[1], trace.final_parameters.weights[1])
    np.testing.assert_array_equal(learnt.readout, trace.final_parameters.readout)
    run.lock.release()


@pytest.mark.slow
def test_a_port_in_float32_is_judged_and_reported(recorded, tmp_path):
    files = {kind: tmp_path / f"r.{kind}" for kind in ("json", "html", "xml")}
    result = disinhib(
        *("trace", "compare", recorded / "golden.h5", recorded / "single.h5"),
        *("--precision", "float32", "--power", "--complete"),
        *("--json", files["json"], "--html", files["html"], "--junit", files["xml"]),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "All 11 stages of 1 traces agree." in result.stdout
    assert "Smallest fault caught" in result.stdout
    assert "Of the trace, all closed-loop end states are stable" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:13])) <= 80

    document = json.loads(files["json"].read_text())
    assert document["passed"] is True
    (stages,) = document["traces"].values()
    assert [s["stage"] for s in stages][:2] == ["open-loop trajectory", "closed-loop trajectory"]
    assert all(s["margin"] is None or s["margin"] >= 1 for s in stages)
    assert {s["origin"] for s in stages} == {"rounding"}
    assert all(s["last_places"]["median"] < 1e3 for s in stages)
    (power,) = document["power"].values()
    assert len(power) == 10

    root = ElementTree.parse(files["xml"]).getroot()
    (suite,) = root.findall("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("11", "0", "0")

    page = files["html"].read_text()
    assert page.count("data:image/svg+xml;base64,") == 2
    assert "agrees" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_of_end_states_that_were_not_given_nothing_is_said(tmp_path):
    answers = tmp_path / "answers.h5"
    shutil.copy(GOLDEN, answers)
    with h5py.File(answers, "a") as file:
        for step in file["steps"].values():
            del step["closed_loop"]
    result = disinhib("trace", "compare", GOLDEN, answers)
    assert "All 7 stages of 1 traces agree." in result.stdout
    assert "stable" not in result.stdout.lower()


def test_a_wrong_port_is_told_where_and_why(tmp_path):
    answers = tmp_path / "answers.h5"
    shutil.copy(GOLDEN, answers)
    with h5py.File(answers, "a") as file:
        for step in file["steps"].values():
            for array in ("gradients/hidden_0/weight", "gradients/hidden_1/weight"):
                step[array][...] *= -1
            for array in ("gradients/hidden_0/bias", "gradients/hidden_1/bias"):
                step[array][...] *= -1
        del file["steps/0001/closed_loop_targets"]
    files = {kind: tmp_path / f"r.{kind}" for kind in ("html", "xml")}
    result = disinhib(
        *("trace", "compare", GOLDEN, answers, "--html", files["html"], "--junit", files["xml"])
    )
    assert result.returncode == 1
    assert "The first deviation arises in: gradients, step 0." in result.stdout
    assert "the sign of the hidden layers' δ" in result.stdout
    assert "1 arrays were not given." in result.stdout
    (suite,) = ElementTree.parse(files["xml"]).getroot().findall("testsuite")
    failed = [c.get("name") for c in suite if c.find("failure") is not None]
    skipped = [c.get("name") for c in suite if c.find("skipped") is not None]
    # The parameters are still the trace's own, which is right whatever the gradients were.
    assert failed == ["gradients"]
    assert skipped == ["closed-loop target, not given"]
    assert "the sign of the hidden layers" in files["html"].read_text()


def test_complete_refuses_what_is_missing(tmp_path):
    answers = tmp_path / "answers.h5"
    with h5py.File(answers, "w") as file, h5py.File(GOLDEN) as golden:
        golden.copy("steps/0000/open_loop", file.create_group("steps/0000"))
    assert disinhib("trace", "compare", GOLDEN, answers).returncode == 0
    assert disinhib("trace", "compare", GOLDEN, answers, "--complete").returncode == 1


def test_a_directory_of_questions_and_answers(tmp_path):
    traces = tmp_path / "traces"
    traces.mkdir()
    for name in ("average-feedback", "weak-feedback"):
        shutil.copy(shipped_directory() / f"{name}.h5", traces)
    result = disinhib("trace", "inputs", traces, "--out", tmp_path / "questions", "--flat")
    assert result.returncode == 0, result.stderr
    assert "Questions of 2 traces" in result.stdout
    assert (tmp_path / "questions/weak-feedback/settings.txt").is_file()
    result = disinhib("trace", "compare", traces, traces)
    assert result.returncode == 0
    assert "16 stages of 2 traces agree" in result.stdout
    (traces / "weak-feedback.h5").rename(tmp_path / "weak-feedback.h5")
    result = disinhib("trace", "compare", tmp_path, traces)
    assert "has no answers to any trace" in one_line(result)
    # One trace without answers does not end the comparison of the others.
    shutil.copy(shipped_directory() / "average-feedback.h5", tmp_path)
    result = disinhib("trace", "compare", tmp_path, traces)
    assert result.returncode == 1, result.stderr
    assert "weak-feedback.h5: no answers: neither weak-feedback.h5 nor" in result.stdout
    assert "All 8 stages of 1 traces agree" in result.stdout
    assert "1 of 2 traces have no answers" in result.stdout
    # Nor do answers that cannot be read.
    (traces / "weak-feedback.h5").write_bytes(b"no HDF5")
    result = disinhib("trace", "compare", tmp_path, traces)
    assert result.returncode == 2
    assert "All 8 stages of 1 traces agree" in result.stdout
    assert "The answers to 1 of 2 traces cannot be used" in result.stdout


@pytest.mark.slow
def test_tolerances_are_shown_for_arithmetic_that_nobody_has_yet():
    result = disinhib(
        "trace", "tolerances", GOLDEN, "--precision", "float16", "--precision", "fixed20"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("closed-loop target") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "record", "no.toml"], "no.toml: no such configuration file"),
        (["trace", "record", "--steps", 0], "--steps is 0: at least 1"),
        (["trace", "record", "--out", "no/where.h5"], "no/where.h5 cannot be written"),
        (["trace", "record", "--steps", 10**6], "steps is 1000000: digits has"),
        (["trace", "record", "--cases", "all"], "'all' is not one of 'standard'"),
        (["trace", "record", "x.toml", "--cases", "standard"], "x.toml with --cases"),
        (["trace", "inputs", "no.h5", "--out", "q.h5"], "no.h5: no such file"),
        (["trace", "compare", GOLDEN, "no.h5"], "no.h5: no such file"),
        (["trace", "compare", GOLDEN, GOLDEN, "--precision", "half"], "precision is 'half'"),
        (["trace", "compare", GOLDEN, GOLDEN, "--rtol", 2], "--rtol is 2.0"),
        (["trace", "compare", GOLDEN, GOLDEN, "--json", "no/r.json"], "no/r.json cannot be"),
        (["trace", "tolerances", GOLDEN, "--precision", "fixed99"], "precision is 'fixed99'"),
        (["conform", "--cross", "--seeds", 0], "--seeds is 0"),
        (["conform", "--cross", GOLDEN], "its networks are random ones"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, tmp_path):
    assert message in one_line(disinhib(*arguments, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_backends_are_set_against_each_other():
    result = disinhib("conform", "--cross", "--seeds", 1)
    assert result.returncode == 0, result.stdout
    assert "random network 0   numba, float32, fixed-point, by numpy" in result.stdout
    assert "random network 0   numpy, float64, fixed-point, by numba" in result.stdout


def test_another_packages_backend_is_conformed_by_name(tmp_path):
    """A right one and a wrong one, found through their entry points alone."""
    (tmp_path / "their_chip.py").write_text(
        "from disinhib.backends import NumpyBackend\n"
        "class Right(NumpyBackend):\n"
        "    name = 'chip'\n"
        "class Wrong(NumpyBackend):\n"
        "    name = 'faulty-chip'\n"
        "    def feedback_weights(self, open_loop):\n"
        "        return tuple(-Q for Q in super().feedback_weights(open_loop))\n"
    )
    info = tmp_path / "their_chip-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-chip\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[disinhib.backends]\nchip = their_chip:Right\nfaulty-chip = their_chip:Wrong\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    right = disinhib("conform", GOLDEN, "--backend", "chip", **environment)
    assert right.returncode == 0, right.stderr
    wrong = disinhib("conform", GOLDEN, "--backend", "faulty-chip", **environment)
    assert wrong.returncode == 1
    assert "The first deviation arises in: feedback weights, step 0." in wrong.stdout
    assert "the sign of Q" in wrong.stdout


def test_what_deviates_beside_the_traces_fails_a_backend_without_a_path(monkeypatch, capsys):
    """Traces agree, but a singular sample takes the others with it; steps are its own affair."""

    class Hurts(NumpyBackend):
        __module__ = "their_chip"

        def closed_loop(self, x, Q, target, open_loop):
            state, counts = super().closed_loop(x, Q, target, open_loop)
            hurt = counts.integrated and len(x) > 1
            return (map_arrays(np.zeros_like, state) if hurt else state), counts

    few = shipped_directory() / GOLDEN.name
    monkeypatch.setattr(conform_commands, "backend_class", lambda name: Hurts)
    monkeypatch.setattr(conform_commands, "shipped_directory", lambda: few)
    files = ReportFiles(None, None, None)
    assert conform_backend([], "chip", "float32", "fixed-point", False, files) == 1
    printed = capsys.readouterr().out
    assert "Beside the traces deviate: samples by themselves" in printed
    assert "steps: " not in printed
    assert conform_backend([few], "chip", "float32", "fixed-point", False, files) == 0


@pytest.mark.slow
def test_the_standard_cases_are_recorded(tmp_path):
    result = disinhib("trace", "record", "--cases", "standard", "--out", tmp_path / "standard")
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "standard").glob("*.h5"))) == 84
    again = disinhib("trace", "record", "--cases", "standard", "--out", tmp_path / "standard")
    assert "no empty directory" in one_line(again)


def test_numbers_are_whole_however_narrow_the_columns(tmp_path):
    """A log is no terminal; at 80 columns they were cut."""
    result = disinhib("trace", "compare", GOLDEN, GOLDEN, COLUMNS="40")
    assert result.returncode == 0
    rows = [line for line in result.stdout.splitlines() if " pass" in line]
    assert len(rows) == 8
    for row in rows:
        assert "…" not in row
        assert re.search(r"\d\.\de[+-]\d\d +\d\.\de[+-]\d\d [TSR] ", row), row
