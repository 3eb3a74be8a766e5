"""Supplement 2: how the linear fit of the inverse shapes the curves of figure 3."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ....refimpl import rate
from ..plasticity_curves import (
    CLAMPED,
    INPUTS,
    INPUTS_WITHOUT_TARGET,
    PHI,
    TARGETS,
    Curves,
    LinearThreshold,
    PlasticityCurve,
    circuit,
    isolated,
    sign_changes,
)
from .catalogue import Check, FigureResult
from .style import (
    BLACK,
    CHANGE_LABEL,
    GREEN,
    PAGE,
    by_condition,
    columns,
    draw_conditions,
    inverse_table,
    label_panel,
    mark_zero,
    name_of,
    new_figure,
    rates_text,
    stack,
    text_of,
)

FITS = (
    LinearThreshold(1.5, 0.5),
    LinearThreshold(-0.5, 1.5),
    LinearThreshold(1.5, 2),
    LinearThreshold(4, 1),
    LinearThreshold(1.75, 1.25),
)
INVERSE_RATES = np.geomspace(0.01, 4, 300)

CLOSE = 1.0
"""Error of a fit at a target, in potential, up to which its sign change is looked for there."""


def make() -> FigureResult:
    """Draw supplement 2 and check what it shows."""
    curves = {fit: curves_of(fit) for fit in FITS}
    inverse = inverse_table(INVERSE_RATES, FITS)
    numbers = {
        text_of(fit): {
            "error_at_target": {f"{target:g}": error_at(fit, target) for target in TARGETS},
            "sign_change_under_control": by_condition(one.controlled, PlasticityCurve.to_ltd),
            "threshold_without_control": one.uncontrolled.to_ltp(),
            "threshold_isolated": by_condition(one.clamped, PlasticityCurve.to_ltp),
        }
        for fit, one in curves.items()
    }
    checks = [
        check_close_fits_keep_the_target({fit: one.controlled for fit, one in curves.items()}),
        check_threshold_without_control({fit: one.uncontrolled for fit, one in curves.items()}),
        check_clamped_thresholds({fit: one.clamped for fit, one in curves.items()}),
    ]
    tables = {"inverse": inverse, **_tables(curves)}
    return FigureResult(_draw(curves, inverse), tables, numbers, checks, notes_of(curves))


def curves_of(fit: LinearThreshold) -> Curves:
    """Compute the curves of one fit."""
    return Curves(
        {target: circuit(INPUTS, target, fit) for target in TARGETS},
        circuit(INPUTS_WITHOUT_TARGET, None, fit),
        {r_I: isolated(INPUTS, r_I, fit) for r_I in CLAMPED},
    )


def error_at(fit: LinearThreshold, target: float) -> float:
    """Error û_I − u_I of a fit at the target, where control has nothing to do and u_I = r_tar."""
    return float(fit(rate(PHI, np.asarray(target))) - target)


def notes_of(curves: dict[LinearThreshold, Curves]) -> list[str]:
    """Put where the curves change sign into words."""
    notes = []
    for fit, one in curves.items():
        controlled = ", ".join(
            f"{rates_text(curve.to_ltd())} for target {target:g}"
            for target, curve in one.controlled.items()
        )
        notes.append(
            f"û_I = {text_of(fit)}: under control, LTP to LTD: {controlled}; "
            f"without, LTD to LTP: {rates_text(one.uncontrolled.to_ltp())}"
        )
    return notes


def check_close_fits_keep_the_target(
    curves: dict[LinearThreshold, dict[float, PlasticityCurve]],
) -> Check:
    """Where a fit is good at the target, the sign changes there, to within the fit's error.

    At rest u_I = r_E − α (r_tar − r_E), so that Δw = 0 where r_E = θ + δ φ(u_I). To first order in
    the fit's error ε at the target that is ε / (1 − (1 + α) δ φ'(r_tar)) away from it: nearer than
    ε as long as δ φ' is above a third.
    """
    numbers, passed, words = {}, True, []
    for fit, by_target in curves.items():
        for target, curve in by_target.items():
            error = error_at(fit, target)
            if abs(error) > CLOSE:
                continue
            down = curve.to_ltd()
            numbers[f"{text_of(fit)}, target {target:g}"] = {"error": error, "at": down}
            passed = passed and len(down) == 1 and abs(down[0] - target) <= abs(error)
            words.append(f"{rates_text(down)} (target {target:g}, û_I = {text_of(fit)})")
    claim = (
        f"fits within {CLOSE:g} of φ⁻¹ at the target keep the sign change there, to within their "
        "error: " + "; ".join(words)
    )
    return Check(claim, passed and bool(numbers), numbers)


def check_threshold_without_control(curves: dict[LinearThreshold, PlasticityCurve]) -> Check:
    """Without control the sign is that of r_E − û_I: a threshold only for fits that cross φ⁻¹."""
    rates = np.linspace(0.05, 6.4, 2000)
    numbers, passed, words = {}, True, []
    for fit, curve in curves.items():
        error = rates - fit.theta - fit.delta * rate(PHI, rates)
        expected = [one.rate for one in sign_changes(rates, error) if one.to_potentiation]
        found = curve.to_ltp()
        numbers[text_of(fit)] = found
        passed = passed and len(found) == len(expected)
        passed = passed and all(
            abs(a - b) <= curve.spacing for a, b in zip(found, expected, strict=False)
        )
        words.append(f"{rates_text(found)} for {text_of(fit)}")
    claim = "without control LTD turns into LTP where the fit crosses φ⁻¹: " + "; ".join(words)
    return Check(claim, bool(passed), numbers)


def check_clamped_thresholds(curves: dict[LinearThreshold, dict[float, PlasticityCurve]]) -> Check:
    """Isolated, the threshold is θ + δ r_I, where that is a rate that the neuron reaches."""
    numbers, passed = {}, True
    for fit, by_rate in curves.items():
        for r_I, curve in by_rate.items():
            threshold = fit(r_I)
            reached = bool(curve.rate[1] < threshold < curve.rate[-1])
            changes = curve.changes()
            numbers[f"{text_of(fit)}, r_I {r_I:.4g}"] = [one.rate for one in changes]
            passed = passed and [one.to_potentiation for one in changes] == [True] * reached
            passed = passed and all(abs(one.rate - threshold) <= curve.spacing for one in changes)
    claim = "isolated, the threshold of every fit is θ + δ r_I where the neuron reaches that rate"
    return Check(claim, bool(passed), numbers)


def _tables(curves: dict[LinearThreshold, Curves]) -> dict[str, dict[str, np.ndarray]]:
    fits = [({"theta": fit.theta, "delta": fit.delta}, one) for fit, one in curves.items()]
    return {
        "controlled": stack(
            [
                {**fit, "target": target, **columns(curve)}
                for fit, one in fits
                for target, curve in one.controlled.items()
            ]
        ),
        "uncontrolled": stack([{**fit, **columns(one.uncontrolled)} for fit, one in fits]),
        "isolated": stack(
            [
                {**fit, "r_I": r_I, **columns(curve)}
                for fit, one in fits
                for r_I, curve in one.clamped.items()
            ]
        ),
    }


def _draw(curves: dict[LinearThreshold, Curves], inverse: dict[str, np.ndarray]) -> Figure:
    figure = new_figure(PAGE, 7.8)
    grid = figure.subplots(len(curves), 4)
    for (fit, one), row, letter in zip(curves.items(), grid, "abcde", strict=True):
        row[0].plot(inverse["r_I"], inverse["exact"], "--", color=BLACK, label="φ⁻¹")
        row[0].plot(inverse["r_I"], inverse[name_of(fit)], color=GREEN, label="linear fit")
        row[0].set(xlim=(0, 4), ylim=(-2, 10), yticks=(0, 5, 10))
        draw_conditions(row[1:], one)
        for axes in row[1:]:
            mark_zero(axes)
        name = f"θ = {fit.theta:g}, δ = {fit.delta:g}".replace("-", "−")
        row[0].set_ylabel(f"{name}\n$\\hat{{u}}_I$ (a.u.)")
        row[1].set_ylabel(CHANGE_LABEL.replace("weight change ", ""))
        label_panel(row[0], letter)
    titles = ("inverse and its fit", "top-down control", "without control", "isolated, clamped")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    for axes, name in zip(grid[-1], ("$r_I$", "$r_E$", "$r_E$", "$r_E$"), strict=True):
        axes.set_xlabel(f"rate {name} (a.u.)")
    for axes in grid[0, [0, 1, 3]]:
        axes.legend(loc="upper left")
    for column in grid.T[:2]:
        figure.align_ylabels(column)
    return figure
