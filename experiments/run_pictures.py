"""Pictures of a trained network: `disinhib plot`, and `TrainedNetwork.picture` in Python.

Each is a Matplotlib figure, made of a network and of the data that it was trained with.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..refimpl import ConfigurationError, NetworkState, forward, rate
from .output import make_directory, say, tell_user, terminal_console, working, write_output
from .paper.figures.style import BLACK, BLUE, PAGE, VERMILION, new_figure
from .training import learning_curves, soft_labels

if TYPE_CHECKING:
    from .trained import TrainedNetwork

console = terminal_console()

MOST_UNITS = 100
"""Whose receptive fields are drawn."""
MOST_SAMPLES = 500
"""Of the validation split, whose activity is drawn."""
MOST_BINS = 60


def draw_curves(network: TrainedNetwork) -> Figure:
    """Draw loss and accuracy over the epochs."""
    if not network.records_so_far():
        raise ConfigurationError(f"{network.source} has no finished epoch: there are no curves")
    return learning_curves({network.configuration.rule: network.records_so_far()})


def draw_receptive_fields(network: TrainedNetwork) -> Figure:
    """Draw the weights from the inputs to each unit of the first layer as an image of its own.

    Red is positive and blue negative, white 0, on one scale for all; of images in colour, the mean
    over colours.
    """
    shape = network.data().image_shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] > 4):
        raise ConfigurationError(
            f"inputs of shape {shape} are no images: there are no receptive fields to draw"
        )
    W = np.asarray(network.parameters.weights[0], dtype=float)
    fields = W.T.reshape(-1, *shape)[:MOST_UNITS]
    if fields.ndim == 4:
        fields = fields.mean(axis=-1)
    columns = int(np.ceil(np.sqrt(len(fields))))
    rows = -(-len(fields) // columns)
    figure = new_figure(PAGE, PAGE * rows / columns + 0.6)
    largest = float(np.abs(fields).max()) or 1.0
    image = None
    for axes, field in zip(
        figure.subplots(rows, columns, squeeze=False).flat, _padded(fields, rows * columns),
        strict=True,
    ):  # fmt: skip
        axes.set_axis_off()
        if field is not None:
            image = axes.imshow(field, cmap="RdBu_r", vmin=-largest, vmax=largest)
    left_out = W.shape[1] - len(fields)
    more = f", the first {len(fields)} of {W.shape[1]} units" if left_out else ""
    figure.suptitle(f"weights to the first layer{more}")
    assert image is not None
    figure.colorbar(image, ax=figure.axes, shrink=0.6, label="weight")
    return figure


def _padded(fields: np.ndarray, n: int) -> list[Any]:
    return [*fields, *[None] * (n - len(fields))]


def draw_weights(network: TrainedNetwork) -> Figure:
    """Draw how the weights and biases of each layer are spread."""
    p = network.parameters
    arrays = [*zip(p.weights, p.biases, strict=True), (p.readout, None)]
    figure = new_figure(PAGE, 2.2 * len(arrays))
    for l, (axes, (W, b)) in enumerate(
        zip(figure.subplots(len(arrays), 1, squeeze=False)[:, 0], arrays, strict=True)
    ):
        name = f"hidden layer {l + 1}" if b is not None else "readout"
        _histogram(axes, W, color=BLUE, label="weights")
        if b is not None:
            _histogram(axes, b, color=VERMILION, label="biases")
        axes.set_title(f"{name}: weights {W.shape[0]} × {W.shape[1]}")
        axes.set_ylabel("density")
        axes.legend()
    figure.axes[-1].set_xlabel("value")
    return figure


def draw_activity(network: TrainedNetwork) -> Figure:
    """Draw how the rates of each layer are spread over validation samples.

    Of excitatory and inhibitory units at rest, without control and under it.
    """
    data = network.data()
    part = data.validation
    x = data.inputs(part.images[:MOST_SAMPLES]).astype(network.configuration.dtype)
    phi_E, phi_I = network.configuration.activation_E, network.configuration.activation_I
    ways: list[tuple[str, str, Sequence[np.ndarray], str]] = []
    if network.configuration.rule == "backprop":
        drives, _ = forward(network.backend.configuration, network.parameters, x)
        ways.append(("units", BLACK, [rate(phi_E, a) for a in drives], "-"))
    else:
        y = soft_labels(network.configuration, part.labels[:MOST_SAMPLES], data.n_classes)
        states = _states(network, x, y.astype(x.dtype))
        for how, state, line in zip(("", ", under control"), states, ("-", "--"), strict=True):
            ways.append((f"$r_E${how}", BLUE, [rate(phi_E, u) for u in state.u_E], line))
            ways.append((f"$r_I${how}", VERMILION, [rate(phi_I, u) for u in state.u_I], line))
    n_layers = len(network.configuration.hidden)
    figure = new_figure(PAGE, 2.2 * n_layers)
    for l, axes in enumerate(figure.subplots(n_layers, 1, squeeze=False)[:, 0]):
        for label, colour, layers, line in ways:
            _histogram(axes, layers[l], color=colour, label=label, linestyle=line)
        axes.set_title(f"hidden layer {l + 1}")
        axes.set_ylabel("density")
    figure.axes[0].legend()
    figure.axes[-1].set_xlabel("rate")
    return figure


def _states(network: TrainedNetwork, x: np.ndarray, y: np.ndarray) -> tuple[NetworkState, ...]:
    """States at rest without control and under it, of all samples as one batch."""
    backend = network.backend
    open_loop, _ = backend.open_loop(x)
    Q, target = backend.feedback_weights(open_loop), backend.closed_loop_target(open_loop, y)
    return open_loop, backend.closed_loop(x, Q, target, open_loop)[0]


def _histogram(axes: Axes, values: np.ndarray, **line: Any) -> None:
    flat = np.asarray(values, dtype=float).ravel()
    bins = int(np.clip(np.sqrt(flat.size), 10, MOST_BINS))
    density, edges = np.histogram(flat, bins=bins, density=True)
    axes.stairs(density, edges, **line)


PICTURES = {
    "curves": draw_curves,
    "receptive-fields": draw_receptive_fields,
    "weights": draw_weights,
    "activity": draw_activity,
}
"""By name, what a network can be drawn as."""


def picture(network: TrainedNetwork, what: str) -> Figure:
    """Draw one of `PICTURES`."""
    if what not in PICTURES:
        raise ConfigurationError(f"picture is {what!r}: choose from {', '.join(PICTURES)}")
    return PICTURES[what](network)


def plot_run(
    run: Path, out: Path | None, names: Sequence[str], picture_format: str, data_dir: Path | None
) -> None:
    """Draw pictures of a run into a directory, `pictures` in the run's own if none is given.

    Without names all are drawn that can be, and why not is said of the others.
    """
    from .trained import load

    directory = out or (run if run.is_dir() else run.parent) / "pictures"
    with working(console, f"drawing {run}") as now:
        network = load(run, notify=tell_user)
        network = replace(network, dataset=network.data(data_dir))
        made: dict[str, Figure] = {}
        for name in names or PICTURES:
            now(f"drawing {name} of {run}")
            try:
                made[name] = picture(network, name)
            except ConfigurationError as problem:
                if names:
                    raise
                tell_user(f"{name}: {problem}")
        make_directory(directory)
        for name, figure in made.items():
            write_output(directory / f"{name}.{picture_format}", _save, figure)
    for name in made:
        say(console, directory / f"{name}.{picture_format}")


def _save(path: str | os.PathLike[str], figure: Figure) -> None:
    figure.savefig(path, dpi=200)
