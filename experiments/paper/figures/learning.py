"""Learning seen from inside: a figure that the paper does not have.

Digits, 1 to 3 hidden layers, three seeds; columns are depths. Rows a to c: the angle between
each layer's g and the gradient of the open-loop loss, by rule. d: on the exact inverse's own
networks, the angle between the linear threshold's g and the exact inverse's. e: there, the
controller's work ‖c Q^l‖ and the linear threshold's misreading ‖û_I − u_I‖. f: the work in all
layers, and g: test accuracy, by rule. What is measured and why: `..probes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ....datasets import load_dataset
from ....refimpl import RULES
from ..probes import INHIBITORY_RULES, Course, learning_courses
from .catalogue import Check, FigureResult
from .style import BLACK, ORANGE, PAGE, PURPLE, RULE_COLOURS, SKY, label_panel, new_figure

Courses = dict[tuple[int, str, int], Course]

HIDDEN_UNITS = 64
DEPTHS = (1, 2, 3)
SEEDS = (0, 1, 2)
N_EPOCHS = 60
BATCH_SIZE = 100
EPOCHS_BETWEEN = 2

EXACT, LINEAR = "exact-inverse", "linear-threshold"
LAYER_COLOURS = (SKY, ORANGE, PURPLE)
NAMES = {
    "backprop": "backprop",
    "exact-inverse": "exact inverse",
    "linear-threshold": "linear threshold",
    "linear-threshold-fixed": "linear threshold, fixed",
}


def make() -> FigureResult:
    """Train, look inside, draw; about a minute on two cores."""
    dataset = load_dataset("digits")
    steps_an_epoch = len(dataset.train.labels) // BATCH_SIZE
    courses = learning_courses(
        dataset, HIDDEN_UNITS, DEPTHS, SEEDS, N_EPOCHS, EPOCHS_BETWEEN * steps_an_epoch
    )
    return figure_of(courses, steps_an_epoch)


def figure_of(courses: Courses, steps_an_epoch: int) -> FigureResult:
    """Draw courses of training and judge them."""
    return FigureResult(
        picture=_picture(courses, steps_an_epoch),
        data={
            "layers": _layer_table(courses, steps_an_epoch),
            "runs": _run_table(courses, steps_an_epoch),
        },
        numbers=key_numbers(courses),
        checks=checks_of(courses),
        notes=_notes(courses),
    )


def over_seeds(
    courses: Courses, depth: int, rule: str, quantity: str, of: str | None = None
) -> np.ndarray:
    """One quantity of all probes of a depth and rule, (seeds, looks, ...).

    Of what is kept by linear-threshold rule, that of one.
    """
    values = [
        [getattr(look, quantity) for look in run.probes] for run in _runs(courses, depth, rule)
    ]
    return np.array(values if of is None else [[value[of] for value in run] for run in values])


def _runs(courses: Courses, depth: int, rule: str) -> list[Course]:
    return [run for (d, r, _), run in courses.items() if (d, r) == (depth, rule)]


def _depths(courses: Courses) -> list[int]:
    return sorted({depth for depth, _, _ in courses})


def _picture(courses: Courses, steps_an_epoch: int) -> Figure:
    depths = _depths(courses)
    figure = new_figure(PAGE, 9.2)
    grid = figure.subplots(7, len(depths), sharex=True, sharey="row", squeeze=False)
    for column, depth in zip(grid.T, depths, strict=True):
        epochs = _runs(courses, depth, "backprop")[0].steps / steps_an_epoch
        for axes, rule in zip(column[:3], INHIBITORY_RULES, strict=True):
            angles = over_seeds(courses, depth, rule, "angle_to_gradient")
            _draw_layers(axes, epochs, angles, depth)
        parting = over_seeds(courses, depth, EXACT, "angle_to_exact", LINEAR)
        _draw_layers(column[3], epochs, parting, depth)
        work = over_seeds(courses, depth, EXACT, "work")
        _draw_layers(column[4], epochs, work, depth)
        misreading = over_seeds(courses, depth, EXACT, "misreading", LINEAR)
        _draw_layers(column[4], epochs, misreading, depth, linestyle="--")
        for rule in INHIBITORY_RULES:
            total = over_seeds(courses, depth, rule, "total_work")
            _draw_band(column[5], epochs, total, color=RULE_COLOURS[rule])
        for rule in RULES:
            accuracy = np.array([run.test_accuracy for run in _runs(courses, depth, rule)])
            _draw_band(column[6], epochs, 100 * accuracy, color=RULE_COLOURS[rule])
        column[0].set_title(f"{depth} hidden layer{'s' if depth > 1 else ''}")
        column[6].set_xlabel("epochs")
    _label(grid)
    _add_legends(grid)
    figure.align_ylabels(list(grid[:, 0]))
    return figure


def _draw_layers(
    axes: Axes, epochs: np.ndarray, values: np.ndarray, depth: int, linestyle: str = "-"
) -> None:
    """Draw (seeds, looks, layers): hidden layers in colour, a readout dotted."""
    for l in range(values.shape[-1]):
        is_readout = l == depth
        _draw_band(
            axes,
            epochs,
            values[..., l],
            color=BLACK if is_readout else LAYER_COLOURS[l % len(LAYER_COLOURS)],
            linestyle=":" if is_readout else linestyle,
        )


def _draw_band(axes: Axes, epochs: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """Draw the mean over seeds, and the range from least to greatest."""
    axes.plot(epochs, values.mean(axis=0), **style)
    axes.fill_between(
        epochs, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.2, linewidth=0
    )


def _label(grid: np.ndarray) -> None:
    labels = (
        "angle to gradient (°)\nexact inverse",
        "angle to gradient (°)\nlinear threshold",
        "angle to gradient (°)\nlin. thr., fixed",
        "linear threshold\nto exact inv. (°)",
        "per layer (a.u.)\nexact inverse",
        "control work,\nall layers (a.u.)",
        "test accuracy\n(%)",
    )
    for row, label, letter in zip(grid, labels, "abcdefg", strict=True):
        row[0].set_ylabel(label)
        label_panel(row[0], letter)
    for axes in grid[:4].flat:
        axes.axhline(90, color="0.6", linewidth=0.7, zorder=0)
        axes.set_ylim(0, 150)
        axes.set_yticks((0, 45, 90, 135))
    for axes in grid[4].flat:
        axes.set_yscale("log")
    for axes in grid[5].flat:
        # Room above for the legend.
        axes.set_ylim(0, 0.42)
    for axes in grid[6].flat:
        axes.set_ylim(0, 100)
    for axes in grid.flat:
        axes.margins(x=0)


def _add_legends(grid: np.ndarray) -> None:
    layers = [
        _line(f"layer {l}", color=colour)
        for l, colour in enumerate(LAYER_COLOURS[: grid.shape[1]], 1)
    ]
    readout = _line("readout", color=BLACK, linestyle=":")
    grid[0, -1].legend(handles=[*layers, readout], ncols=2, loc="upper right", borderaxespad=0)
    work = _line("work ‖$c\\,Q^l$‖", color="0.4")
    misreading = _line(
        r"misreading ‖$\hat{u}_\mathrm{I}-u_\mathrm{I}$‖", color="0.4", linestyle="--"
    )
    grid[4, -1].legend(handles=[work, misreading], loc="lower right")
    rules = [
        _line(NAMES[rule] + " (in g)" * (rule == "backprop"), color=RULE_COLOURS[rule])
        for rule in RULES
    ]
    grid[5, 0].legend(handles=rules, loc="upper right", borderaxespad=0)


def _line(label: str, **style: Any) -> Line2D:
    return Line2D([], [], label=label, **style)


def _layer_table(courses: Courses, steps_an_epoch: int) -> dict[str, np.ndarray]:
    rows: list[dict[str, Any]] = []
    for (depth, rule, seed), course in courses.items():
        # Backprop's runs have no probes.
        for steps, look in zip(course.steps[: len(course.probes)], course.probes, strict=True):
            for l in range(depth + 1):
                is_hidden = l < depth
                row: dict[str, Any] = {
                    "depth": depth,
                    "rule": rule,
                    "seed": seed,
                    "epoch": steps / steps_an_epoch,
                    "layer": str(l + 1) if is_hidden else "readout",
                    "angle_to_gradient_degrees": look.angle_to_gradient[l],
                    "angle_to_plain_backprop_degrees": look.angle_to_plain[l],
                    "work": look.work[l] if is_hidden else np.nan,
                }
                for other in INHIBITORY_RULES[1:]:
                    name = other.replace("-", "_")
                    angles, misreading = look.angle_to_exact[other], look.misreading[other]
                    row[f"angle_of_{name}_to_exact_degrees"] = angles[l] if is_hidden else np.nan
                    row[f"misreading_of_{name}"] = misreading[l] if is_hidden else np.nan
                rows.append(row)
    return _columns(rows)


def _run_table(courses: Courses, steps_an_epoch: int) -> dict[str, np.ndarray]:
    rows: list[dict[str, Any]] = []
    for (depth, rule, seed), course in courses.items():
        for number, steps in enumerate(course.steps):
            look = course.probes[number] if course.probes else None
            rows.append(
                {
                    "depth": depth,
                    "rule": rule,
                    "seed": seed,
                    "epoch": steps / steps_an_epoch,
                    "test_loss": course.test_loss[number],
                    "test_accuracy": course.test_accuracy[number],
                    "angle_of_all_degrees": look.angle_of_all if look else np.nan,
                    "total_work": look.total_work if look else np.nan,
                }
            )
    return _columns(rows)


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def key_numbers(courses: Courses) -> dict[str, Any]:
    """By depth and rule: angles and work at start and end, final accuracy and loss.

    Means over seeds, angles in degrees by layer; of the accuracy the sample standard deviation
    over seeds too; 'greatest' is over seeds and looks.
    """
    numbers: dict[str, Any] = {}
    for depth in _depths(courses):
        for rule in RULES:
            runs = _runs(courses, depth, rule)
            accuracy = np.array([run.test_accuracy[-1] for run in runs])
            entry: dict[str, Any] = {
                "test_accuracy": accuracy.mean(),
                "test_accuracy_deviation": accuracy.std(ddof=1) if len(runs) > 1 else np.nan,
                "test_loss": np.mean([run.test_loss[-1] for run in runs]),
            }
            if rule in INHIBITORY_RULES:
                entry |= _inside(courses, depth, rule)
            numbers[f"depth {depth}, {rule}"] = entry
        parting = f"depth {depth}, parting on the exact inverse's networks"
        numbers[parting] = _parting(courses, depth)
    return numbers


def _inside(courses: Courses, depth: int, rule: str) -> dict[str, Any]:
    to_gradient = over_seeds(courses, depth, rule, "angle_to_gradient")
    of_all = over_seeds(courses, depth, rule, "angle_of_all")
    to_plain = over_seeds(courses, depth, rule, "angle_to_plain")
    work = over_seeds(courses, depth, rule, "total_work")
    return {
        **_ends("angle", to_gradient),
        "angle_median": np.median(to_gradient, axis=(0, 1)),
        "angle_greatest": to_gradient.max(axis=(0, 1)),
        **_ends("angle_of_all", of_all),
        "angle_of_all_greatest": of_all.max(),
        **_ends("angle_to_plain", to_plain),
        **_ends("work", work),
        "work_falls_by_factor": work[:, 0].mean() / work[:, -1].mean(),
    }


def _parting(courses: Courses, depth: int) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for rule in INHIBITORY_RULES[1:]:
        for name, quantity in (("angle", "angle_to_exact"), ("misreading", "misreading")):
            values = over_seeds(courses, depth, EXACT, quantity, rule)
            numbers |= _ends(name, values, f", {rule}")
    return numbers | _ends("work", over_seeds(courses, depth, EXACT, "work"))


def _ends(name: str, values: np.ndarray, of: str = "") -> dict[str, np.ndarray]:
    """Means over seeds of (seeds, looks, ...) at the first look and the last."""
    return {
        f"{name}_start{of}": values[:, 0].mean(axis=0),
        f"{name}_end{of}": values[:, -1].mean(axis=0),
    }


def checks_of(courses: Courses) -> list[Check]:
    """Judge the claims that the figure makes, at every depth there is."""
    return [
        _exact_inverse_descends(courses),
        _exact_inverse_approaches_the_gradient(courses),
        _linear_threshold_descends_as_a_whole(courses),
        _work_falls(courses),
        _rules_part(courses),
        _misreading_overtakes_the_work(courses),
        _losses_are_ordered(courses),
    ]


def _exact_inverse_descends(courses: Courses) -> Check:
    greatest = {
        depth: float(over_seeds(courses, depth, EXACT, "angle_to_gradient").max())
        for depth in _depths(courses)
    }
    return Check(
        "exact inverse: g of every layer stays within 90° of the open-loop gradient, "
        "so that each layer descends",
        all(value < 90 for value in greatest.values()),
        {"greatest angle by depth": greatest},
    )


def _exact_inverse_approaches_the_gradient(courses: Courses) -> Check:
    numbers, passed = {}, True
    for depth in _depths(courses):
        angles = over_seeds(courses, depth, EXACT, "angle_to_gradient")
        hidden = angles[..., :-1].mean(axis=0)
        numbers[depth] = {"start": hidden[0], "end": hidden[-1]}
        passed &= bool(np.all(hidden[-1] < hidden[0]))
    return Check(
        "exact inverse: every hidden layer's mean angle is smaller at the end than at the start",
        passed,
        {"by depth": numbers},
    )


def _linear_threshold_descends_as_a_whole(courses: Courses) -> Check:
    by_depth = {
        depth: {
            "all parameters": over_seeds(courses, depth, LINEAR, "angle_of_all").max(),
            "single layer": over_seeds(courses, depth, LINEAR, "angle_to_gradient").max(),
        }
        for depth in _depths(courses)
    }
    return Check(
        "linear threshold: g of all parameters together stays within 90° of the gradient "
        "(a single layer need not)",
        all(angles["all parameters"] < 90 for angles in by_depth.values()),
        {"greatest angle by depth": by_depth},
    )


def _work_falls(courses: Courses) -> Check:
    factors = {}
    for depth in _depths(courses):
        work = over_seeds(courses, depth, EXACT, "total_work")
        factors[depth] = work[:, 0] / work[:, -1]
    return Check(
        "exact inverse: the controller's work more than halves, in every run",
        all(bool(np.all(factor > 2)) for factor in factors.values()),
        {"factor by depth and seed": factors},
    )


def _rules_part(courses: Courses) -> Check:
    numbers, passed = {}, True
    for depth in _depths(courses):
        angles = over_seeds(courses, depth, EXACT, "angle_to_exact", LINEAR)
        numbers[depth] = {"start": angles[:, 0].mean(axis=0), "end": angles[:, -1].mean(axis=0)}
        passed &= bool(np.all(angles[:, -1] > angles[:, 0]))
    return Check(
        "on the exact inverse's networks, the linear threshold's g turns away from the exact "
        "inverse's in every hidden layer",
        passed,
        {"mean angle by depth and layer": numbers},
    )


def _misreading_overtakes_the_work(courses: Courses) -> Check:
    numbers, passed = {}, True
    for depth in _depths(courses):
        misreading = over_seeds(courses, depth, EXACT, "misreading", LINEAR)
        share = misreading[..., 0] / over_seeds(courses, depth, EXACT, "work")[..., 0]
        numbers[depth] = {"start": share[:, 0], "end": share[:, -1]}
        passed &= bool(np.all(share[:, 0] < 1) and np.all(share[:, -1] > 1))
    return Check(
        "there, in the first hidden layer, the tangent's misreading of u_I is below the "
        "controller's work at the start and above it at the end",
        passed,
        {"misreading / work by depth and seed": numbers},
    )


def _losses_are_ordered(courses: Courses) -> Check:
    losses = {
        depth: {
            rule: float(np.mean([run.test_loss[-1] for run in _runs(courses, depth, rule)]))
            for rule in ("backprop", *INHIBITORY_RULES)
        }
        for depth in _depths(courses)
    }
    return Check(
        "final test loss: backprop < exact inverse < linear threshold < fixed linear threshold",
        all(list(by_rule.values()) == sorted(by_rule.values()) for by_rule in losses.values()),
        {"mean test loss by depth": losses},
    )


def _notes(courses: Courses) -> list[str]:
    numbers = key_numbers(courses)
    notes = ["angle of hidden layers 1.. to the open-loop gradient: start → end (greatest)"]
    for depth in _depths(courses):
        for rule in RULES:
            entry = numbers[f"depth {depth}, {rule}"]
            line = f"{depth} hidden, {NAMES[rule]}: {100 * entry['test_accuracy']:.1f} %"
            if rule in INHIBITORY_RULES:
                start, end, greatest = (
                    " ".join(f"{value:.0f}" for value in entry[f"angle_{when}"][:-1])
                    for when in ("start", "end", "greatest")
                )
                factor = entry["work_falls_by_factor"]
                line += f", {start} → {end}° ({greatest}°), work / {factor:.1f}"
            notes.append(line)
    return notes
