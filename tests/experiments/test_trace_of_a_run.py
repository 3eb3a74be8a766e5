"""How a trained network settles: the paths end where the equations are at rest."""

import numpy as np
import pytest

import disinhib as package
from disinhib import ConfigurationError, load_dataset, read_checkpoint, read_trace

from .test_command_line import disinhib, one_line
from .test_trained import outputs_by_hand

MADE = ("--hidden", "7,6", "--epochs", "1", "--backend", "numpy", "--dtype", "float64")
E_10 = np.exp(-10)
"""What is left of a change after ten time constants."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    result = disinhib("train", *MADE, "--out", directory)
    assert result.returncode == 0, result.stderr
    return directory


def phi(u):
    return np.logaddexp(0, u)


def test_the_command_records_samples_of_the_split(run, tmp_path):
    before = {file: file.read_bytes() for file in run.iterdir()}
    file = tmp_path / "settling.h5"
    result = disinhib("evaluate", run, "--trace", file, "--samples", "17,3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert {file: file.read_bytes() for file in run.iterdir()} == before
    trace = read_trace(file)
    assert (trace.dataset, trace.dataset_indices.tolist()) == ("digits test", [[17, 3]])
    images = load_dataset("digits").test.images[[17, 3]] / 16
    np.testing.assert_array_equal(trace.inputs[0], images)
    learnt = read_checkpoint(run / "checkpoint.h5").learner.parameters
    np.testing.assert_array_equal(trace.initial_parameters.weights[1], learnt.weights[1])
    judged = disinhib("conform", file, "--backend", "numpy")
    assert judged.returncode == 0, judged.stdout


def test_paths_end_where_the_equations_rest(run):
    network = package.load(run)
    trace = network.trace("test", samples=[5, 9, 200])
    path, control = trace.trajectory.open_loop, trace.trajectory.closed_loop
    recording = trace.trajectory.recording
    assert recording.dt * recording.n_steps == pytest.approx(1.0)  # 10 τ_c
    assert len(path.u_out) == 101
    assert not path.u_E[0][0].any()
    x = load_dataset("digits").test.images[[5, 9, 200]] / 16
    np.testing.assert_allclose(path.u_out[-1], outputs_by_hand(run, x), rtol=0, atol=E_10)
    np.testing.assert_array_equal(control.u_E[0][0], path.u_E[0][-1])
    # Sections 2 and 3 with all derivatives 0, layer by layer.
    u_E, u_I = ([layer[-1] for layer in layers] for layers in (control.u_E, control.u_I))
    u_out, z = control.u_out[-1], control.z[-1]
    y = np.full((3, 10), 0.01 / 9)
    y[range(3), load_dataset("digits").test.labels[[5, 9, 200]]] = 0.99
    e = y - np.exp(u_out) / np.exp(u_out).sum(axis=1, keepdims=True)
    c, parameters, below = 0.2 * e + 0.4 * z, network.parameters, x
    np.testing.assert_allclose(z, e, rtol=0, atol=10 * E_10)
    for l, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        q = np.einsum("bk,bkn->bn", c, trace.trajectory.feedback[l])
        np.testing.assert_allclose(u_E[l], below @ W + b - phi(u_I[l]), rtol=0, atol=10 * E_10)
        np.testing.assert_allclose(u_I[l], phi(u_E[l]) - q, rtol=0, atol=10 * E_10)
        below = phi(u_E[l])
    np.testing.assert_allclose(u_out, below @ parameters.readout + c, rtol=0, atol=10 * E_10)
    end = trace.steps[0].circuit.closed_loop
    np.testing.assert_allclose(u_out, end.u_out, rtol=0, atol=10 * E_10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--samples", "3"), "--samples without --trace"),
        (("--trace", "t.h5", "--samples", "297"), "whole numbers from 0 to 296 are needed"),
        (("--trace", "t.h5", "--samples", "-1"), "whole numbers from 0 to 296 are needed"),
        (("--trace", "t.h5", "--samples", "a"), "--samples is 'a': whole numbers"),
        (("--trace", "{run}/best.h5"), "is the run's own file"),
        (("--trace", "t.h5", "--json", "t.h5"), "is to be written twice"),
        (("--trace", "no/t.h5"), "no is not a directory"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(run, tmp_path, arguments, said):
    arguments = [part.format(run=run) for part in arguments]
    assert said in one_line(disinhib("evaluate", run, *arguments, cwd=tmp_path))
    assert not (tmp_path / "t.h5").exists()


def test_a_plain_network_has_no_path():
    network = package.train(hidden=[4], epochs=1, rule="backprop", progress=False, backend="numpy")
    with pytest.raises(ConfigurationError, match="'backprop' settles nowhere"):
        network.trace()
    with pytest.raises(ConfigurationError, match="split is 'tset'"):
        network.trace("tset")


def test_a_path_that_lasts_too_long_is_refused():
    network = package.train(
        hidden=[4], epochs=1, controller={"tau": 1e5}, progress=False, backend="numpy"
    )
    with pytest.raises(ConfigurationError, match=r"the slowest time constant is 100000 s: at most"):
        network.trace()


def test_a_proportional_controller_alone_controls():
    """Without its integral c is k_p e, and the fixed point is that of κ = k_p (section 3)."""
    network = package.train(
        hidden=[5], epochs=1, controller={"k_i": 0, "k_p": 0.7}, progress=False, backend="numpy",
        dtype="float64",
    )  # fmt: skip
    trace = network.trace("test", samples=[0, 1])
    end, y = trace.steps[0].circuit.closed_loop, trace.targets[0]
    e = y - np.exp(end.u_out) / np.exp(end.u_out).sum(axis=1, keepdims=True)
    c = end.u_out - phi(end.u_E[0]) @ network.parameters.readout
    np.testing.assert_allclose(c, 0.7 * e, rtol=0, atol=1e-9)
    np.testing.assert_allclose(trace.trajectory.closed_loop.u_out[-1], end.u_out, rtol=0, atol=E_10)
