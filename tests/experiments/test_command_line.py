"""The command as its user meets it."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from disinhib.experiments.command_line import main
from disinhib.experiments.demo import run_demo
from disinhib.experiments.training import read_records, run_configuration
from disinhib.experiments.training.train_command import run_name
from disinhib.validation import shipped_directory

COMMAND = str(Path(sys.executable).parent / "disinhib")
SMALL = ["--hidden", "8", "--batch-size", "50"]


def in_a_process(*arguments, cwd=None, **environment):
    """Run the command as a shell does."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


def disinhib(*arguments, cwd=None, **environment):
    """Run the command in this process, which spares the seconds that Python takes to start.

    An environment is a process's own, and gets it one. What Python would print of a warning
    is on stderr here too.
    """
    if environment:
        return in_a_process(*arguments, cwd=cwd, **environment)
    command = [COMMAND, *map(str, arguments)]
    with (
        TemporaryFile("w+", encoding="utf-8") as output,
        TemporaryFile("w+", encoding="utf-8") as problems,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", command)
        with (
            chdir(cwd or "."),
            redirect_stdout(output),
            redirect_stderr(problems),
            warnings.catch_warnings(record=True) as warned,
        ):
            warnings.resetwarnings()
            for unshown in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", unshown)
            with pytest.raises(SystemExit) as ended:
                main()
        texts = []
        for stream in (output, problems):
            stream.seek(0)
            texts.append(stream.read())
    shown = (warnings.formatwarning(w.message, w.category, w.filename, w.lineno) for w in warned)
    return subprocess.CompletedProcess(
        command, ended.value.code or 0, texts[0], "".join((texts[1], *shown))
    )


def said(stderr):
    """Lines on standard error, but those that say of slow work what it is: on any machine."""
    return [line for line in stderr.splitlines() if not re.search(r"\(\d+ s so far\)$", line)]


def one_line(result, code=2):
    assert result.returncode == code, result.stderr
    lines = said(result.stderr)
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("disinhib: ")
    assert "Traceback" not in result.stderr + result.stdout
    return lines[0]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_loads_no_library_that_is_slow_to_load(arguments):
    code = (
        "import sys\n"
        "from disinhib.experiments.command_line import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print({'numba', 'scipy', 'matplotlib'} & set(sys.modules), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == "set()"


def test_help_on_a_study_is_not_taken_for_markup():
    """Brackets are."""
    help_text = disinhib("batch", "run", "--help").stdout
    assert "Which runs there are." in help_text
    assert "[]" not in help_text


def test_help_names_every_command():
    result = in_a_process("--help")
    assert result.returncode == 0
    for command in ("train", "conform", "backends", "inspect", "demo"):
        assert command in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epoch", "3"], "No such option: --epoch"),
        (["train", "--rule", "hebb"], "'hebb' is not one of 'exact-inverse', 'linear-threshold'"),
        (["train", "--hidden", "3,x"], "--hidden is '3,x': whole numbers separated by commas"),
        (["train", "--epochs", "0"], "epochs is 0: must be at least 1"),
        (["train", "--seed", "x"], "Invalid value for '--seed'"),
        (["train", "--backend", "tpu"], "backend 'tpu' is unknown: choose one of numpy"),
        (["train", "no.toml"], "no.toml: no such configuration file"),
        (["train", "--start", "no.h5"], "no.h5: no such file"),
        (["train", "--resume", "nowhere"], "nowhere holds no run to resume"),
        (["train", "--resume", "nowhere", "--seed", "0"], "--seed with --resume"),
        (["train", "--dataset", "mnist", "--data-dir", "nowhere"], "nowhere: no such directory"),
        (["train", "--dataset", "digits", "--data-dir", "."], "digits is embedded"),
        (["train", "--batch-size", "2000"], "digits has 1350 training samples"),
        (["conform", "no.h5"], "no.h5: no such file or directory"),
        (["conform", "--backend", "tpu"], "backend 'tpu' is unknown"),
        (["inspect", "no.h5"], "no.h5: no such file"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    line = one_line(disinhib(*arguments, cwd=tmp_path))
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["train", "--epochs", "0"], ["inspect", __file__]])
def test_a_process_of_its_own_says_the_same(tmp_path, arguments):
    ways = [run(*arguments, cwd=tmp_path) for run in (in_a_process, disinhib)]
    one, other = ((way.returncode, way.stdout, said(way.stderr)) for way in ways)
    assert one == other


def test_a_truncated_image_file_is_named(tmp_path):
    content = struct.pack(">HBBIII", 0, 8, 3, 60000, 28, 28) + bytes(1000)
    for split in ("train", "t10k"):
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(content)
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 0))
    line = one_line(disinhib("train", "--dataset", "mnist", "--data-dir", tmp_path))
    assert f"{tmp_path}/train-images-idx3-ubyte: truncated: expected 47040016 bytes" in line


def test_leak_0_is_refused_by_fixed_point_in_one_line_and_integrates(tmp_path):
    (tmp_path / "c.toml").write_text(
        "epochs = 1\nhidden = [4]\nbatch_size = 450\n"
        "[controller]\nleak = 0\n[solver]\nhorizon = 0.05\n"
    )
    assert "leak is 0" in one_line(disinhib("train", "c.toml", cwd=tmp_path))
    result = disinhib("train", "c.toml", "--method", "tsit5", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "without settling" in result.stdout


def test_train_resume_and_inspect(tmp_path):
    result = in_a_process("train", *SMALL, "--epochs", "1", "--seed", "0", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(
        r"epoch 1/1  loss \d.* train .*%  valid .*%  test .*%  [\d,]+/s\n", result.stdout
    )
    name = "digits-exact-inverse-8-batch_size-50-seed-0"
    out = tmp_path / "runs" / name
    assert (out / "curves.png").exists()
    second = disinhib("train", *SMALL, "--epochs", "1", cwd=tmp_path)
    assert second.returncode == 0
    assert (tmp_path / "runs" / f"{name}-2" / "checkpoint.h5").exists()
    result = disinhib("train", "--resume", out, "--epochs", "2")
    assert result.returncode == 0
    assert "epoch 2/2" in result.stdout
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert "All 2 epochs are done" in disinhib("train", "--resume", out).stdout
    assert "already holds a run" in one_line(disinhib("train", *SMALL, "--out", out))
    result = disinhib("inspect", out / "checkpoint.h5")
    assert result.returncode == 0
    assert "disinhib-checkpoint" in result.stdout
    assert "parameters/readout/weight" in result.stdout


def test_conform_says_yes_and_no(tmp_path):
    small = shipped_directory() / "one-hidden-mse.h5"
    result = disinhib("conform", small, "--json", tmp_path / "r.json")
    assert result.returncode == 0, result.stdout
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["passed"] is True
    assert document["backend"] == "numpy"
    (stages,) = document["traces"].values()
    assert [stage["stage"] for stage in stages][:4] == [
        "start",
        "open-loop trajectory",
        "closed-loop trajectory",
        "open loop",
    ]
    assert all(stage["passed"] and stage["absolute"] >= 0 for stage in stages)

    # The golden numbers of another network, under this one's configuration.
    import h5py

    wrong = tmp_path / "wrong.h5"
    shutil.copy(small, wrong)
    with h5py.File(wrong, "a") as file:
        file["steps/0001/gradients/hidden_0/weight"][2, 3] += 1e-7
    result = disinhib("conform", wrong)
    assert result.returncode == 1
    assert "FAIL" in result.stdout
    assert "1 of 1 traces deviate" in result.stdout

    wrong.write_bytes(wrong.read_bytes()[:5000])
    assert "wrong.h5" in one_line(disinhib("conform", wrong))


@pytest.mark.slow
def test_conform_without_a_path_runs_the_shipped_traces():
    result = disinhib("conform", COLUMNS="200")
    assert result.returncode == 0, result.stdout
    for trace in shipped_directory().glob("*.h5"):
        assert trace.name in result.stdout
    assert re.search(r"All \d+ stages of 8 traces agree", result.stdout)
    # What no trace shows; by which steps an integration goes is asked of this package's own.
    assert "samples by themselves" in result.stdout
    assert "steps: as published" in result.stdout


def test_backends_are_listed():
    result = disinhib("backends", COLUMNS="200")
    assert result.returncode == 0
    assert "numpy" in result.stdout


@pytest.mark.parametrize(
    "epochs", [1, pytest.param(None, marks=pytest.mark.slow, id="as the command runs it")]
)
def test_the_demo_leaves_its_pictures_in_place_of_an_earlier_one(tmp_path, capsys, epochs):
    runs = tmp_path / "runs" / "demo"
    result = disinhib("train", *SMALL, "--epochs", "1", "--out", runs / "backprop", cwd=tmp_path)
    assert result.returncode == 0
    if epochs is None:
        result = disinhib("demo", cwd=tmp_path, COLUMNS="200")
        assert result.returncode == 0, result.stdout + result.stderr
        printed = result.stdout
    else:
        # The shipped traces, all of them, are conformed to in tests/validation/test_conformance.py.
        assert run_demo(runs, epochs, [shipped_directory() / "one-hidden-mse.h5"])
        printed = capsys.readouterr().out
    for picture in ("learning_curves.png", "plasticity_sign.png"):
        assert (runs / picture).read_bytes().startswith(b"\x89PNG")
    for rule in ("exact-inverse", "linear-threshold", "backprop"):
        accuracies = re.search(rf"{rule}  (\d+\.\d)% of the test digits", printed)
        # Ten per cent is chance.
        assert float(accuracies[1]) > (80 if epochs is None else 30)
    n_traces = 8 if epochs is None else 1
    assert re.search(rf"(\d+) of \1 stages of {n_traces} traces", " ".join(printed.split()))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "digits-exact-inverse-seed-0"),
        (
            {"hidden": [128], "seed": 3, "epochs": 7, "threads": 1},
            "digits-exact-inverse-128-seed-3",
        ),
        (
            {"rule": "backprop", "controller": {"k_p": 0.3}, "dtype": "float64"},
            "digits-backprop-dtype-float64-k_p-0.3-seed-0",
        ),
        ({"dataset": "data/my own.npz", "hidden": [8, 4]}, "my_own-exact-inverse-8-4-seed-0"),
    ],
)
def test_a_run_is_named_by_what_sets_it_apart(settings, name):
    assert run_name(run_configuration(settings, "test")) == name


def test_no_name_of_a_run_is_too_long_for_a_directory():
    settings = {
        "seed": -(10**900),
        "hidden": [256] * 200,
        "solver": {"rtol": 1e-5, "atol": 1e-9, "horizon": 3.25, "max_steps": 12345, "p": 0.2},
        "controller": {"k_p": 0.123456, "k_i": 0.654321, "leak": 0.5},
    }
    name = run_name(run_configuration(settings, "test"))
    assert len(name) < 255
    other = {**settings, "controller": {"k_p": 0.5}}
    assert run_name(run_configuration(other, "test")) != name


def test_what_a_run_is_and_how_far_it_has_come_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ("--hidden", "8", "--epochs", "2", "--set", "controller.k_p=0.3")
    assert disinhib("train", *flags).returncode == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name == "digits-exact-inverse-8-k_p-0.3-seed-0"
    result = disinhib("inspect", made)
    assert result.returncode == 0, result.stderr
    assert "digits, exact-inverse, seed 0" in result.stdout
    assert "controller.k_p = 0.3" in result.stdout
    assert "2 of 2 epochs are saved" in result.stdout
    (record,) = [r for r in read_records(made / "metrics.jsonl") if r.epoch == 2]
    assert f"{record.valid_accuracy:.2%}" in result.stdout
    assert "checkpoint.h5" in result.stdout
    empty = disinhib("inspect", tmp_path)
    assert empty.returncode == 2
    assert "holds no run" in one_line(empty)


def test_a_shell_completes_commands():
    asked = {"_DISINHIB_COMPLETE": "complete_bash", "COMP_WORDS": "disinhib tra", "COMP_CWORD": "1"}
    result = in_a_process(**asked)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["train", "trace"]
