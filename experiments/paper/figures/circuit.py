"""The microcircuit over time: the open loop comes to rest, then control comes on.

An untrained network 64-16-16-10 sees the first test digit that it takes for another in open loop
and for what it is under control. 300 ms from rest without control; then the feedback weights are
taken and the controller steers towards the label, with the published settings. The picture shows
400 ms of it; the checks follow it for 2 s, the published horizon.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from ....datasets import Dataset, load_dataset, random_generator, softened_labels
from ....refimpl import (
    FeedbackWeights,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Recording,
    Solver,
    closed_loop_end_state,
    closed_loop_trajectory,
    control_signal,
    disinhibition,
    error,
    feedback_weights,
    initial_parameters,
    open_loop_end_state,
    open_loop_trajectory,
    pack,
    rate,
    sample_loss,
    softmax,
    unpack,
)
from .catalogue import Check, FigureResult
from .style import BLACK, BLUE, GREEN, ORANGE, PAGE, PURPLE, VERMILION, label_panel, new_figure

CONFIGURATION = NetworkConfiguration(sizes=(64, 16, 16, 10))
SEED = 0

OPEN_LOOP_MS, SHOWN_CONTROL_MS, CONTROL_MS = 300, 400, 2000
RECORDING = Recording(method="tsit5", dt=1e-3, n_steps=OPEN_LOOP_MS, every=1)

N_UNITS = 4
UNIT_COLOURS = (BLUE, VERMILION, GREEN, PURPLE)

OPEN_LOOP_TOLERANCE = 1e-4
"""300 ms are 15 τ_E; a cascade of three stages has then come to 15² / 2 · e⁻¹⁵ ≈ 3e-5."""

SHOWN_SHARE_LEFT = 0.02
"""Of the change under control after 400 ms: e⁻⁴ of the integral's own approach, τ_c = 100 ms."""

CLOSED_LOOP_TOLERANCE = 1e-7
"""2 s are 20 τ_c: e⁻²⁰ = 2e-9 of a change of order 0.1, and room for Newton's ε^¾ = 2e-12."""

MS = 1000.0


@dataclass(frozen=True)
class Traces:
    """One sample's path, open loop then control."""

    x: np.ndarray  # (1, n_in), the image
    y: np.ndarray  # (1, n_out), its softened label, the controller's target
    parameters: Parameters
    Q: FeedbackWeights  # each (1, n_out, n_l), from the end of the open loop
    # arrays (time, 1, n), one a millisecond, as in the next, which begins where this ends
    open_loop: NetworkState
    closed_loop: NetworkState
    open_end: NetworkState  # the fixed points, found without integrating; arrays (1, n)
    closed_end: NetworkState


def make() -> FigureResult:
    """Integrate, draw and check."""
    dataset = load_dataset("digits")
    parameters = initial_parameters(
        CONFIGURATION.sizes, random_generator(SEED, "initial-parameters")
    )
    sample = first_corrected_sample(dataset, parameters)
    x = dataset.test.images[[sample]] / dataset.full_scale
    y = softened_labels(dataset.test.labels[[sample]], dataset.n_classes)
    traces = traces_of(parameters, x, y)
    units = most_driven_units(traces)
    return FigureResult(
        picture=_picture(traces, units, dataset.image_shape),
        data={"traces": _table(traces, units)},
        numbers=_numbers(traces, units, sample),
        checks=checks_of(traces),
    )


def first_corrected_sample(dataset: Dataset, parameters: Parameters) -> int:
    """First test image that is taken for another in open loop, and not under control."""
    x = dataset.test.images / dataset.full_scale
    y = softened_labels(dataset.test.labels, dataset.n_classes)
    open_loop, _ = open_loop_end_state(CONFIGURATION, Solver(), parameters, x)
    Q = feedback_weights(CONFIGURATION, parameters, open_loop)
    closed_loop, _ = closed_loop_end_state(CONFIGURATION, Solver(), parameters, x, Q, y, open_loop)
    said, steered_to = (np.argmax(s.u_out, axis=-1) for s in (open_loop, closed_loop))
    corrected = (said != dataset.test.labels) & (steered_to == dataset.test.labels)
    return int(np.flatnonzero(corrected)[0])


def traces_of(parameters: Parameters, x: np.ndarray, y: np.ndarray) -> Traces:
    """Integrate one sample, x (1, n_in) and y (1, n_out), and find its two fixed points besides."""
    open_loop = open_loop_trajectory(CONFIGURATION, RECORDING, parameters, x)
    start = at(open_loop, -1)
    Q = feedback_weights(CONFIGURATION, parameters, start)
    under_control = dataclasses.replace(RECORDING, n_steps=CONTROL_MS)
    closed_loop = closed_loop_trajectory(CONFIGURATION, under_control, parameters, x, Q, y, start)
    open_end, _ = open_loop_end_state(CONFIGURATION, Solver(), parameters, x)
    closed_end, _ = closed_loop_end_state(CONFIGURATION, Solver(), parameters, x, Q, y, start)
    return Traces(x, y, parameters, Q, open_loop, closed_loop, open_end, closed_end)


def at(path: NetworkState, time: int | slice) -> NetworkState:
    """State at a time, or a stretch of the path; times are positions."""
    return unpack(pack(path)[time], CONFIGURATION.sizes)


def control(state: NetworkState, y: np.ndarray) -> np.ndarray:
    """Control signal c in a state or along a path, (..., 1, n_out)."""
    e = error(CONFIGURATION.loss, state.u_out, y)
    return control_signal(CONFIGURATION.controller, e, state.z)


def most_driven_units(traces: Traces) -> list[np.ndarray]:
    """By hidden layer, the units whose top-down current |c Q^l| is greatest at rest, in order."""
    c = control(traces.closed_end, traces.y)
    return [np.sort(np.argsort(-np.abs(disinhibition(c, Q)[0]))[:N_UNITS]) for Q in traces.Q]


def _shown(
    traces: Traces, quantity: Callable[[NetworkState], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds, and a quantity of the states along what the picture shows, (time, n)."""
    closed_loop = at(traces.closed_loop, slice(0, SHOWN_CONTROL_MS + 1))
    # At the switch both paths have a point: the controller's proportional part jumps there.
    values = [quantity(path)[:, 0] for path in (traces.open_loop, closed_loop)]
    time = [np.arange(len(values[0])), OPEN_LOOP_MS + np.arange(len(values[1]))]
    return np.concatenate(time), np.concatenate(values)


def _potential(kind: str, l: int) -> Callable[[NetworkState], np.ndarray]:
    """Potential of the 'E' or 'I' units of a layer, of any state."""
    return lambda state: (state.u_E if kind == "E" else state.u_I)[l]


def _outputs(state: NetworkState) -> np.ndarray:
    return softmax(state.u_out)


def _control_shown(traces: Traces) -> tuple[np.ndarray, np.ndarray]:
    time, c = _shown(traces, lambda path: control(path, traces.y))
    # The open loop has an error but no control.
    return time, np.where(np.arange(len(time))[:, None] <= OPEN_LOOP_MS, 0, c)


def _picture(traces: Traces, units: list[np.ndarray], image_shape: tuple[int, ...]) -> Figure:
    figure = new_figure(PAGE, 5.0)
    panels = figure.subplot_mosaic(
        [["circuit", "E1", "E2"], ["circuit", "I1", "I2"], ["image", "out", "c"]],
        width_ratios=(0.85, 1, 1),
    )
    _draw_circuit(panels["circuit"])
    _draw_image(panels["image"], traces, image_shape)
    for l, chosen in enumerate(units):
        for kind in "EI":
            axes = panels[f"{kind}{l + 1}"]
            time, u = _shown(traces, _potential(kind, l))
            for unit, colour in zip(chosen, UNIT_COLOURS, strict=True):
                axes.plot(time, u[:, unit], color=colour)
            axes.set_ylabel(rf"$u_\mathrm{{{kind}}}$ of layer {l + 1} (a.u.)")
    time, p = _shown(traces, _outputs)
    _draw_classes(panels["out"], traces, time, p)
    label = int(np.argmax(traces.y))
    target = f"class {label}: target {traces.y[0, label]:.2f}"
    corner: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "va": "top"}
    panels["out"].annotate(target, (1, 0.97), **corner, fontsize=7, color=ORANGE)
    panels["out"].set(ylim=(0, 1.3 * p.max()), ylabel="softmax($u_\\mathrm{out}$)")
    _draw_classes(panels["c"], traces, *_control_shown(traces))
    panels["c"].set_ylabel("control $c$ (a.u.)")
    for name in ("E1", "E2", "I1", "I2", "out", "c"):
        panels[name].axvline(OPEN_LOOP_MS, color="0.5", linestyle="--", linewidth=0.8)
        panels[name].set_xlim(0, OPEN_LOOP_MS + SHOWN_CONTROL_MS)
        if name in ("out", "c"):
            panels[name].set_xlabel("time (ms)")
        else:
            panels[name].tick_params(labelbottom=False)
    for name in ("E1", "E2"):
        for where, text in ((OPEN_LOOP_MS / 2, "open loop"), (500, "control on")):
            above: dict[str, Any] = {"transform": panels[name].get_xaxis_transform(), "fontsize": 7}
            panels[name].text(where, 1.02, text, ha="center", va="bottom", **above)
    for name, letter in zip(
        ("circuit", "E1", "E2", "I1", "I2", "image", "out", "c"), "abcdefgh", strict=True
    ):
        label_panel(panels[name], letter)
    return figure


def _draw_classes(axes: Axes, traces: Traces, time: np.ndarray, values: np.ndarray) -> None:
    """Draw (time, n_out): the label's in colour, the others grey behind it."""
    label = int(np.argmax(traces.y))
    for k in range(values.shape[1]):
        if k != label:
            axes.plot(time, values[:, k], color="0.75", linewidth=0.8)
    axes.plot(time, values[:, label], color=ORANGE)


def _draw_image(axes: Axes, traces: Traces, image_shape: tuple[int, ...]) -> None:
    axes.imshow(traces.x.reshape(image_shape), cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    said, steered_to = (
        int(np.argmax(state.u_out)) for state in (traces.open_end, traces.closed_end)
    )
    axes.set_xlabel(f"a {np.argmax(traces.y)}: open loop says {said},\nunder control {steered_to}")


E_COLOUR, I_COLOUR, C_COLOUR = BLUE, VERMILION, ORANGE


def _draw_circuit(axes: Axes) -> None:
    """Two layers of one E–I pair, the readout and the controller, from below upwards."""
    axes.set(xlim=(0, 10), ylim=(0, 17), aspect="equal")
    axes.axis("off")
    excitatory, inhibitory = [(2.2, 3.6), (2.2, 8.6)], [(6.2, 3.6), (6.2, 8.6)]
    readout, controller = (2.2, 13.6), (7.2, 13.6)
    axes.text(2.2, 0.2, "input $x$", ha="center", va="center")
    _arrow(axes, (2.2, 0.8), (2.2, 2.5), BLACK)
    for l, (E, I) in enumerate(zip(excitatory, inhibitory, strict=True), 1):
        _unit(axes, E, "E", E_COLOUR)
        _unit(axes, I, "I", I_COLOUR)
        _arrow(axes, (E[0] + 1.1, E[1] + 0.4), (I[0] - 1.1, I[1] + 0.4), E_COLOUR)
        _arrow(axes, (I[0] - 1.1, I[1] - 0.4), (E[0] + 1.2, E[1] - 0.4), I_COLOUR, inhibits=True)
        above = excitatory[l] if l < len(excitatory) else readout
        _arrow(axes, (E[0], E[1] + 1.1), (above[0], above[1] - 1.1), E_COLOUR)
        axes.text(0, E[1] + 1.3, f"layer {l}", fontsize=6.5, ha="left", va="bottom", color="0.4")
    _unit(axes, readout, "out", BLACK)
    corner = (controller[0] - 1.5, controller[1] - 1)
    box: dict[str, Any] = {"boxstyle": "round,pad=0.1,rounding_size=0.4", "facecolor": "white"}
    axes.add_patch(FancyBboxPatch(corner, 3, 2, **box, edgecolor=C_COLOUR, linewidth=1.2))
    axes.text(*controller, "PI control", ha="center", va="center", fontsize=6)
    _arrow(axes, (readout[0] + 1.1, readout[1] + 0.4), (5.5, readout[1] + 0.4), BLACK)
    _arrow(axes, (5.5, readout[1] - 0.4), (readout[0] + 1.2, readout[1] - 0.4), C_COLOUR)
    axes.text(3.95, readout[1] - 0.7, "$c$", ha="center", va="top", fontsize=7, color=C_COLOUR)
    axes.text(7.2, 16.5, "label $y$", ha="center", va="center")
    _arrow(axes, (7.2, 16), (7.2, 14.8), BLACK)
    # Top-down: one line from the controller, with a branch to the I unit of each layer.
    trunk = 9.2
    lowest = inhibitory[0][1]
    axes.plot([trunk, trunk], [controller[1] - 1.1, lowest], color=C_COLOUR, linewidth=1.2)
    for l, I in enumerate(inhibitory, 1):
        _arrow(axes, (trunk, I[1]), (I[0] + 1.2, I[1]), C_COLOUR, inhibits=True)
        axes.text(8.3, I[1] + 0.3, f"$-c\\,Q^{l}$", ha="center", va="bottom", fontsize=6.5)


def _unit(axes: Axes, centre: tuple[float, float], name: str, colour: str) -> None:
    axes.add_patch(Circle(centre, 1, facecolor="white", edgecolor=colour, linewidth=1.4))
    axes.text(*centre, name, ha="center", va="center", fontsize=8, color=colour)


def _arrow(
    axes: Axes,
    tail: tuple[float, float],
    head: tuple[float, float],
    colour: str,
    inhibits: bool = False,
) -> None:
    """Connect two units: with a bar at the end where one inhibits, an arrow head elsewhere."""
    style = "|-|,widthA=0,widthB=2.5" if inhibits else "-|>"
    ends: dict[str, Any] = {"arrowstyle": style, "mutation_scale": 1.2 if inhibits else 7}
    line: dict[str, Any] = {"shrinkA": 0, "shrinkB": 0, "color": colour, "linewidth": 1.2}
    axes.add_patch(FancyArrowPatch(tail, head, **ends, **line))


def _table(traces: Traces, units: list[np.ndarray]) -> dict[str, np.ndarray]:
    time, p = _shown(traces, _outputs)
    table = {"time_ms": time}
    for l, chosen in enumerate(units):
        for kind in "EI":
            _, u = _shown(traces, _potential(kind, l))
            table |= {f"u_{kind}_layer_{l + 1}_unit_{unit}": u[:, unit] for unit in chosen}
    _, c = _control_shown(traces)
    table |= {f"softmax_{k}": p[:, k] for k in range(p.shape[1])}
    return table | {f"c_{k}": c[:, k] for k in range(c.shape[1])}


def _loss(traces: Traces, state: NetworkState) -> float:
    return float(sample_loss(CONFIGURATION.loss, state.u_out, traces.y)[0])


def _numbers(traces: Traces, units: list[np.ndarray], sample: int) -> dict[str, object]:
    return {
        "test image": sample,
        "label": int(np.argmax(traces.y)),
        "said in open loop": int(np.argmax(traces.open_end.u_out)),
        "said under control": int(np.argmax(traces.closed_end.u_out)),
        "loss in open loop": _loss(traces, traces.open_end),
        "loss under control": _loss(traces, traces.closed_end),
        "units shown, by layer": units,
        "norm of c Q by layer": [
            float(np.linalg.norm(disinhibition(control(traces.closed_end, traces.y), Q)))
            for Q in traces.Q
        ],
    }


def checks_of(traces: Traces) -> list[Check]:
    """Judge what the traces should show."""
    apart = _distance(at(traces.open_loop, -1), traces.open_end)
    left = _distance(at(traces.closed_loop, SHOWN_CONTROL_MS), traces.closed_end)
    change = _distance(traces.open_end, traces.closed_end)
    apart_under_control = _distance(at(traces.closed_loop, -1), traces.closed_end)
    before, after = (_loss(traces, at(path, -1)) for path in (traces.open_loop, traces.closed_loop))
    return [
        Check(
            f"after {OPEN_LOOP_MS} ms the open loop is within {OPEN_LOOP_TOLERANCE:g} of its fixed "
            "point",
            apart <= OPEN_LOOP_TOLERANCE,
            {"greatest distance": apart},
        ),
        Check(
            f"after {SHOWN_CONTROL_MS} ms of control at most {SHOWN_SHARE_LEFT:.0%} of the change "
            "is still to come",
            left <= SHOWN_SHARE_LEFT * change,
            {"share left": left / change},
        ),
        Check(
            f"after {CONTROL_MS / MS:g} s of control the closed loop is within "
            f"{CLOSED_LOOP_TOLERANCE:g} of its fixed point",
            apart_under_control <= CLOSED_LOOP_TOLERANCE,
            {"greatest distance": apart_under_control},
        ),
        Check(
            "the loss against the label is lower under control than in open loop",
            after < before,
            {"open loop": before, "under control": after},
        ),
        _inhibition_departs_by_the_current(traces),
    ]


def _distance(first: NetworkState, second: NetworkState) -> float:
    return float(np.max(np.abs(pack(first) - pack(second))))


def _inhibition_departs_by_the_current(traces: Traces) -> Check:
    """At rest u_I = φ_E(u_E) − c Q, on the integrated path, where nothing sets it so."""
    state = at(traces.closed_loop, -1)
    c = control(state, traces.y)
    residual, size = 0.0, 0.0
    for u_E, u_I, Q in zip(state.u_E, state.u_I, traces.Q, strict=True):
        departure = u_I - rate(CONFIGURATION.activation_E, u_E)
        residual = max(residual, float(np.max(np.abs(departure + disinhibition(c, Q)))))
        size = max(size, float(np.max(np.abs(departure))))
    return Check(
        "at rest under control every u_I departs from φ_E(u_E) by −c Q",
        residual <= CLOSED_LOOP_TOLERANCE,
        {"greatest departure": size, "greatest residual": residual},
    )
