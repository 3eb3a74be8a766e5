"""Trained networks for programs that do not have disinhib."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import disinhib as package
from disinhib.backends import NumpyBackend
from disinhib.experiments.export import exported_arrays
from disinhib.validation import read_checkpoint

from .test_command_line import disinhib, one_line

RUN = {"hidden": [12, 8], "epochs": 1, "batch_size": 50, "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    package.train(**RUN, rule="linear-threshold", out=out)
    return out


def test_arrays_are_the_checkpoints_and_settings_the_runs(run, tmp_path):
    file = tmp_path / "network.npz"
    result = disinhib("export", run, "--out", file)
    assert result.returncode == 0, result.stderr
    learner = read_checkpoint(run / "checkpoint.h5").learner
    with np.load(file, allow_pickle=False) as found:
        for l in (0, 1):
            np.testing.assert_array_equal(found[f"weight_{l}"], learner.parameters.weights[l])
            np.testing.assert_array_equal(found[f"bias_{l}"], learner.parameters.biases[l])
            np.testing.assert_array_equal(found[f"mean_inhibition_{l}"], learner.mean_inhibition[l])
        np.testing.assert_array_equal(found["readout"], learner.parameters.readout)
        settings = json.loads(str(found["settings"]))
    assert settings["rule"] == "linear-threshold"
    assert settings["controller"]["k_p"] == 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "network.txt"), "network.txt: a file FILE.npz is needed"),
        (("--out", "no/network.npz"), "no is not a directory"),
        (("--out", "{run}/data.npz"), "is the run's own file"),
        (("--to", "onnx", "--out", "network.npz"), "onnx"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = disinhib("export", run, *(one.format(run=run) for one in arguments))
    assert result.returncode == 2
    assert message in one_line(result)


def test_nobody_elses_module_is_written_over(run, tmp_path):
    (tmp_path / "network.py").write_text("mine = 1\n")
    result = disinhib("export", run, "--to", "torch", "--out", tmp_path)
    assert result.returncode == 2
    assert "is another module" in one_line(result)
    assert {path.name for path in tmp_path.iterdir()} == {"network.py"}
    result = disinhib("export", run, "--to", "torch", "--out", run)
    assert "holds a run" in one_line(result)
    there = tmp_path / "there"
    for _ in range(2):
        assert disinhib("export", run, "--to", "torch", "--out", there).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no limits of a process here")
def test_an_export_that_fails_leaves_the_one_before(run, tmp_path):
    file = tmp_path / "network.npz"
    assert disinhib("export", run, "--out", file).returncode == 0
    before = file.read_bytes()
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); "
        "import sys; from disinhib.experiments.export import export_run; from pathlib import Path; "
        "export_run(Path(sys.argv[1]), 'npz', Path(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", script, run, file], capture_output=True, text=True)
    assert "cannot be written" in done.stderr
    assert file.read_bytes() == before


# In PyTorch, which is not among what `make test` installs.


@pytest.fixture
def torch_network(tmp_path):
    """A network of some settings as the module that was written for it, and ours."""
    pytest.importorskip("torch")

    def of(out, **settings):
        network = package.train(**{**RUN, "dtype": "float64", **settings})
        network = package.load(_kept(network, tmp_path / out, settings))
        arrays = exported_arrays(network)
        np.savez(tmp_path / f"{out}.npz", **arrays)
        from disinhib.experiments import pytorch_network

        return pytorch_network.load(str(tmp_path / f"{out}.npz")), network

    return of


def _kept(network, out, settings):
    package.train(**{**RUN, "dtype": "float64", **settings}, out=out)
    return out


SETTINGS = {
    "defaults": {},
    "weak": {"feedback": {"strong": False, "nudge": 0.2}},
    "averaged": {"feedback": {"average": True, "clip": 0.01}},
    "gains": {"controller": {"k_p": 20, "k_i": 40, "leak": 0.5}, "feedback": {"norm": 4}},
    "mse": {"loss": "mse", "feedback": {"to_readout": False, "normalize": False}},
    "activations": {"activation_E": {"sharpness": 2, "shift": 0.5}, "activation_I": {"scale": 3}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_module_computes_what_the_reference_does(torch_network, name):
    import torch

    module, network = torch_network(name, **SETTINGS[name])
    data = package.load_dataset("digits").test
    x, y = data.images[:40] / 16, np.eye(10)[data.labels[:40]] * 0.98 + 0.001
    reference = NumpyBackend(
        network.backend.configuration, network.parameters, np.float64, package.Solver()
    )
    open_loop, _ = reference.open_loop(x)
    Q = reference.feedback_weights(open_loop)
    target = reference.closed_loop_target(open_loop, y)
    closed, _ = reference.closed_loop(x, Q, target, open_loop)
    state = module.open_loop(torch.as_tensor(x))
    close = {"rtol": 0, "atol": 1e-9}
    np.testing.assert_allclose(module(torch.as_tensor(x)).detach(), open_loop.u_out, **close)
    for l in (0, 1):
        np.testing.assert_allclose(state.u_E[l].detach(), open_loop.u_E[l], **close)
        np.testing.assert_allclose(module.feedback_weights(state)[l].detach(), Q[l], **close)
    under_control = module.closed_loop(torch.as_tensor(x), torch.as_tensor(y))
    np.testing.assert_allclose(under_control.u_out, closed.u_out, **close)
    for l in (0, 1):
        np.testing.assert_allclose(under_control.u_E[l], closed.u_E[l], **close)
        np.testing.assert_allclose(under_control.u_I[l], closed.u_I[l], **close)


def test_gradients_flow_through_the_state_at_rest(torch_network):
    import torch

    module, _ = torch_network("gradients")
    x = torch.as_tensor(package.load_dataset("digits").test.images[:5] / 16)
    assert torch.autograd.gradcheck(lambda a: module(a), x.clone().requires_grad_(), atol=1e-6)


def test_backprops_network_is_a_plain_one(torch_network):
    import torch

    module, network = torch_network("backprop", rule="backprop")
    x = package.load_dataset("digits").test.images[:20] / 16
    outputs = module(torch.as_tensor(x)).detach()
    np.testing.assert_allclose(outputs, network.outputs(x), rtol=0, atol=1e-10)
    with pytest.raises(RuntimeError, match="has no controller"):
        module.closed_loop(torch.as_tensor(x), torch.ones(20, 10))


def test_what_is_written_runs_where_disinhib_is_not(run, tmp_path):
    pytest.importorskip("torch")
    result = disinhib("export", run, "--to", "torch", "--out", tmp_path / "there")
    assert result.returncode == 0, result.stderr
    script = (
        "import sys; sys.modules['disinhib'] = None; import network, torch; "
        "n = network.load('network.npz'); print(tuple(n(torch.zeros(3, 64)).shape))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "there", capture_output=True, text=True
    )
    assert done.stdout.strip() == "(3, 10)", done.stderr
