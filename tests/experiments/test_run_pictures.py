"""Pictures of a trained network: that they show what the network has."""

import numpy as np
import pytest

import disinhib as package
from disinhib.backends import NumpyBackend
from disinhib.experiments.run_pictures import MOST_SAMPLES, PICTURES

from .test_command_line import disinhib, one_line

RUN = {"hidden": [120, 9], "epochs": 2, "batch_size": 50, "progress": False, "dtype": "float64"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    package.train(**RUN, rule="linear-threshold", out=out)
    return out


def stairs(axes):
    """Values and edges of a panel's histograms, in order."""
    return [patch.get_data() for patch in axes.patches]


def test_receptive_fields_are_the_columns_of_the_first_weights(run):
    network = package.load(run)
    figure = network.picture("receptive-fields")
    W = network.parameters.weights[0]
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_images()]
    fields = [np.asarray(image.get_array()) for image in images if image.get_array().ndim == 2]
    fields = [field for field in fields if field.shape == (8, 8)]
    assert len(fields) == 100
    for unit in (0, 57, 99):
        np.testing.assert_allclose(fields[unit], W[:, unit].reshape(8, 8))
    limits = {image.get_clim() for image in images[:100]}
    (limit,) = limits
    assert limit[1] == -limit[0] == pytest.approx(np.abs(W[:, :100]).max())
    assert "first 100 of 120" in figure.get_suptitle()


def test_spreads_of_weights_hold_all_of_them(run):
    network = package.load(run)
    figure = network.picture("weights")
    p = network.parameters
    for axes, layer in zip(
        figure.axes, [*zip(p.weights, p.biases, strict=True), (p.readout,)], strict=True
    ):
        for (density, edges, _), array in zip(stairs(axes), layer, strict=True):
            assert np.sum(density * np.diff(edges)) == pytest.approx(1)
            assert (edges[0], edges[-1]) == pytest.approx((array.min(), array.max()))


def test_activity_is_that_of_the_references_states(run):
    network = package.load(run)
    figure = network.picture("activity")
    data = package.load_dataset("digits").validation
    reference = NumpyBackend(
        network.backend.configuration, network.parameters, np.float64, package.Solver()
    )
    assert len(data.labels) <= MOST_SAMPLES
    open_loop, _ = reference.open_loop(data.images / 16)
    y = np.eye(10)[data.labels] * (0.99 - 0.01 / 9) + 0.01 / 9
    Q = reference.feedback_weights(open_loop)
    closed, _ = reference.closed_loop(data.images / 16, Q, y, open_loop)
    for l, axes in enumerate(figure.axes):
        found = [(edges[0], edges[-1]) for _, edges, _ in stairs(axes)]
        states = (open_loop.u_E[l], open_loop.u_I[l], closed.u_E[l], closed.u_I[l])
        rates = [np.logaddexp(0, u) for u in states]
        np.testing.assert_allclose(found, [(r.min(), r.max()) for r in rates], atol=1e-6)


def test_a_plain_network_has_units_of_one_kind(tmp_path):
    network = package.train(**{**RUN, "rule": "backprop", "epochs": 1})
    assert [len(stairs(axes)) for axes in network.picture("activity").axes] == [1, 1]


def test_curves_are_those_of_the_log(run):
    network = package.load(run)
    lines = network.picture("curves").axes[1].get_lines()
    shown = {line.get_label(): line.get_ydata() for line in lines}
    np.testing.assert_array_equal(shown["linear-threshold, test"], network.metrics["test_accuracy"])


def test_the_command_draws_all_or_what_is_asked_for(run, tmp_path):
    result = disinhib("plot", run, "--out", tmp_path / "all")
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        f"{name}.png" for name in PICTURES
    }
    result = disinhib("plot", run, "weights", "--format", "svg", "--out", tmp_path / "one")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["weights.svg"]
    refused = disinhib("plot", run, "loss", "--out", tmp_path / "none")
    assert refused.returncode == 2
    assert "loss" in one_line(refused)
    assert not (tmp_path / "none").exists()


def test_what_is_no_image_has_no_receptive_fields(tmp_path):
    generator = np.random.default_rng(0)
    x, y = generator.random((60, 7)), np.arange(60) % 2
    package.train(dataset=(x, y), hidden=[4], epochs=1, batch_size=10, progress=False,
                  out=tmp_path / "run")  # fmt: skip
    result = disinhib("plot", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "inputs of shape (7,) are no images" in result.stderr
    drawn = {path.stem for path in (tmp_path / "run" / "pictures").iterdir()}
    assert drawn == set(PICTURES) - {"receptive-fields"}
    refused = disinhib("plot", tmp_path / "run", "receptive-fields")
    assert refused.returncode == 2
    assert "no images" in one_line(refused)


def test_a_picture_that_there_is_none_of_is_refused(run):
    with pytest.raises(package.ConfigurationError, match="picture is 'loss': choose from curves"):
        package.load(run).picture("loss")
