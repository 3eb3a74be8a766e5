"""Supplement 2: how the linear fit of the inverse shapes the curves of figure 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ....refimpl import inverse, rate
from ..plasticity_curves import (
    PHI,
    LinearThreshold,
    PlasticityCurve,
    circuit,
    depression_thresholds,
    isolated,
    potentiation_thresholds,
    sign_changes,
)
from .catalogue import Check, FigureResult
from .style import (
    BLACK,
    CHANGE_LABEL,
    CLAMPED,
    GREEN,
    PAGE,
    TARGET_COLOURS,
    TARGETS,
    columns,
    label_panel,
    mark_target,
    mark_zero,
    name_of,
    new_figure,
    rates_text,
    shades,
    spacing,
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
INPUTS = np.linspace(0, 10, 401)
INPUTS_WITHOUT_TARGET = np.linspace(0, 13, 521)
INVERSE_RATES = np.geomspace(0.01, 4, 300)

CLOSE = 1.0
"""Error of a fit at a target, in potential, up to which its sign change is looked for there."""


@dataclass(frozen=True)
class FitCurves:
    """Curves of one linear fit."""

    controlled: dict[float, PlasticityCurve]  # by target rate
    uncontrolled: PlasticityCurve
    clamped: dict[float, PlasticityCurve]  # by clamped inhibitory rate, rising


def make() -> FigureResult:
    """Draw supplement 2 and check what it shows."""
    curves = {fit: curves_of(fit) for fit in FITS}
    numbers = {}
    for fit, one in curves.items():
        numbers[text_of(fit)] = {
            "error_at_target": {f"{target:g}": error_at(fit, target) for target in TARGETS},
            "sign_change_under_control": {
                f"{target:g}": depression_thresholds(curve.r_E, curve.dw)
                for target, curve in one.controlled.items()
            },
            "threshold_without_control": potentiation_thresholds(
                one.uncontrolled.r_E, one.uncontrolled.dw
            ),
            "threshold_isolated": {
                f"{r_I:g}": potentiation_thresholds(curve.r_E, curve.dw)
                for r_I, curve in one.clamped.items()
            },
        }
    checks = [
        check_close_fits_keep_the_target({fit: one.controlled for fit, one in curves.items()}),
        check_threshold_without_control({fit: one.uncontrolled for fit, one in curves.items()}),
        check_clamped_thresholds({fit: one.clamped for fit, one in curves.items()}),
    ]
    return FigureResult(_draw(curves), _tables(curves), numbers, checks, notes_of(curves))


def curves_of(fit: LinearThreshold) -> FitCurves:
    """Compute the curves of one fit."""
    return FitCurves(
        {target: circuit(INPUTS, target, fit) for target in TARGETS},
        circuit(INPUTS_WITHOUT_TARGET, None, fit),
        {r_I: isolated(INPUTS, r_I, fit) for r_I in CLAMPED},
    )


def error_at(fit: LinearThreshold, target: float) -> float:
    """Error û_I − u_I of a fit at the target, where control has nothing to do and u_I = r_tar."""
    return float(fit.theta + fit.delta * rate(PHI, np.asarray(target)) - target)


def notes_of(curves: dict[LinearThreshold, FitCurves]) -> list[str]:
    """Put where the curves change sign into words."""
    notes = []
    for fit, one in curves.items():
        controlled = ", ".join(
            f"{rates_text(depression_thresholds(curve.r_E, curve.dw))} for target {target:g}"
            for target, curve in one.controlled.items()
        )
        uncontrolled = potentiation_thresholds(one.uncontrolled.r_E, one.uncontrolled.dw)
        notes.append(
            f"û_I = {text_of(fit)}: under control, LTP to LTD: {controlled}; "
            f"without, LTD to LTP: {rates_text(uncontrolled)}"
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
            down = depression_thresholds(curve.r_E, curve.dw)
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
        expected = potentiation_thresholds(rates, error)
        found = potentiation_thresholds(curve.r_E, curve.dw)
        numbers[text_of(fit)] = found
        passed = passed and len(found) == len(expected)
        passed = passed and all(
            abs(a - b) <= spacing(curve.r_E) for a, b in zip(found, expected, strict=False)
        )
        words.append(f"{rates_text(found)} for {text_of(fit)}")
    claim = "without control LTD turns into LTP where the fit crosses φ⁻¹: " + "; ".join(words)
    return Check(claim, bool(passed), numbers)


def check_clamped_thresholds(
    curves: dict[LinearThreshold, dict[float, PlasticityCurve]],
) -> Check:
    """Isolated, the threshold is θ + δ r_I, where that is a rate that the neuron reaches."""
    numbers, passed = {}, True
    for fit, by_rate in curves.items():
        for r_I, curve in by_rate.items():
            threshold = fit.theta + fit.delta * r_I
            reached = bool(curve.r_E[1] < threshold < curve.r_E[-1])
            changes = sign_changes(curve.r_E, curve.dw)
            numbers[f"{text_of(fit)}, r_I {r_I:.4g}"] = [one.rate for one in changes]
            passed = passed and [one.to_potentiation for one in changes] == [True] * reached
            passed = passed and all(
                abs(one.rate - threshold) <= spacing(curve.r_E) for one in changes
            )
    claim = "isolated, the threshold of every fit is θ + δ r_I where the neuron reaches that rate"
    return Check(claim, bool(passed), numbers)


def _tables(curves: dict[LinearThreshold, FitCurves]) -> dict[str, dict[str, np.ndarray]]:
    fits = [({"theta": fit.theta, "delta": fit.delta}, one) for fit, one in curves.items()]
    return {
        "inverse": {
            "r_I": INVERSE_RATES,
            "exact": inverse(PHI, INVERSE_RATES),
            **{name_of(fit): fit.theta + fit.delta * INVERSE_RATES for fit in curves},
        },
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


def _draw(curves: dict[LinearThreshold, FitCurves]) -> Figure:
    figure = new_figure(PAGE, 7.8)
    grid = figure.subplots(len(curves), 4)
    for (fit, one), row, letter in zip(curves.items(), grid, "abcde", strict=True):
        row[0].plot(INVERSE_RATES, inverse(PHI, INVERSE_RATES), "--", color=BLACK, label="φ⁻¹")
        row[0].plot(
            INVERSE_RATES, fit.theta + fit.delta * INVERSE_RATES, color=GREEN, label="linear fit"
        )
        row[0].set(xlim=(0, 4), ylim=(-2, 10), yticks=(0, 5, 10))
        for target, curve in one.controlled.items():
            row[1].plot(
                curve.r_E, curve.dw, color=TARGET_COLOURS[target], label=f"target {target:g}"
            )
            mark_target(row[1], target)
        row[2].plot(one.uncontrolled.r_E, one.uncontrolled.dw, color=GREEN)
        for (r_I, curve), colour in zip(one.clamped.items(), shades(len(one.clamped)), strict=True):
            row[3].plot(curve.r_E, curve.dw, color=colour, label=f"$r_I$ = {r_I:.2f}")
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
    grid[0, 0].legend(loc="upper left")
    grid[0, 1].legend(loc="upper left")
    grid[0, 3].legend(loc="upper left")
    figure.align_ylabels(grid[:, 0])
    figure.align_ylabels(grid[:, 1])
    return figure
