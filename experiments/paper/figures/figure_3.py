"""Figure 3: how dis-inhibition, its absence and clamped inhibition set the sign of plasticity."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ....refimpl import inverse
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
    PURPLE,
    RATE_LABEL,
    TARGET_COLOURS,
    TARGETS,
    columns,
    label_panel,
    listed,
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

FITS = (LinearThreshold(1.5, 1.5), LinearThreshold(0.9, 1.8))

INPUTS = np.linspace(0, 10, 401)
INPUTS_WITHOUT_TARGET = np.linspace(0, 13, 521)
INVERSE_RATES = np.geomspace(0.01, 6.5, 300)

FIT_COLOURS = (GREEN, PURPLE)

AT_REST = 1e-3
"""Share of the largest weight change below which one is zero: 600 Euler steps leave as much."""


def make() -> FigureResult:
    """Draw figure 3 and check what it shows."""
    controlled = {target: circuit(INPUTS, target) for target in TARGETS}
    uncontrolled = [circuit(INPUTS_WITHOUT_TARGET, None, fit) for fit in FITS]
    uncontrolled_exact = circuit(INPUTS_WITHOUT_TARGET, None)
    clamped = {r_I: isolated(INPUTS, r_I, FITS[0]) for r_I in CLAMPED}

    figure = new_figure(PAGE, 2.6)
    axes = figure.subplots(1, 3)
    _draw_controlled(axes[0], controlled)
    _draw_uncontrolled(axes[1], uncontrolled, uncontrolled_exact)
    _draw_clamped(axes[2], clamped, FITS[0])
    for one, letter in zip(axes, "abc", strict=True):
        one.set(xlabel=RATE_LABEL)
        label_panel(one, letter)
    axes[0].set_ylabel(CHANGE_LABEL)

    controlled_linear = {target: circuit(INPUTS, target, FITS[0]) for target in TARGETS}
    numbers = {
        "sign_change_under_control": {
            f"{target:g}": depression_thresholds(curve.r_E, curve.dw)
            for target, curve in controlled.items()
        },
        "sign_change_under_control_first_fit": {
            f"{target:g}": depression_thresholds(curve.r_E, curve.dw)
            for target, curve in controlled_linear.items()
        },
        "threshold_without_control": {
            name_of(fit): potentiation_thresholds(curve.r_E, curve.dw)
            for fit, curve in zip(FITS, uncontrolled, strict=True)
        },
        "depression_again_without_control": {
            name_of(fit): depression_thresholds(curve.r_E, curve.dw)
            for fit, curve in zip(FITS, uncontrolled, strict=True)
        },
        "threshold_isolated": {
            f"{r_I:g}": potentiation_thresholds(curve.r_E, curve.dw)
            for r_I, curve in clamped.items()
        },
    }
    checks = [
        check_sign_at_target(controlled),
        check_silent_without_control(uncontrolled_exact, uncontrolled),
        *(check_one_threshold(*pair) for pair in zip(FITS, uncontrolled, strict=True)),
        check_threshold_follows_inhibition(clamped, FITS[0]),
    ]
    data = {
        "controlled": stack(
            [{"target": target, **columns(curve)} for target, curve in controlled.items()]
        ),
        "uncontrolled": {
            **columns(uncontrolled_exact),
            "dw": uncontrolled_exact.dw,
            **{
                f"dw_{name_of(fit)}": curve.dw
                for fit, curve in zip(FITS, uncontrolled, strict=True)
            },
        },
        "inverse": {
            "r_I": INVERSE_RATES,
            "exact": inverse(PHI, INVERSE_RATES),
            **{name_of(fit): fit.theta + fit.delta * INVERSE_RATES for fit in FITS},
        },
        "isolated": stack([{"r_I": r_I, **columns(curve)} for r_I, curve in clamped.items()]),
    }
    return FigureResult(figure, data, numbers, checks)


def check_sign_at_target(curves: dict[float, PlasticityCurve]) -> Check:
    """Under control and with the exact inverse, Δw = α x (r_tar − r_E) φ'(u_E) at rest."""
    found, passed = {}, True
    for target, curve in curves.items():
        changes = sign_changes(curve.r_E, curve.dw)
        found[f"{target:g}"] = [one.rate for one in changes]
        passed = passed and (
            len(changes) == 1
            and not changes[0].to_potentiation
            and abs(changes[0].rate - target) <= spacing(curve.r_E)
        )
    claim = "under control, LTP below the target rate and LTD above it: " + listed(found, "target")
    return Check(claim, passed, found)


def check_silent_without_control(exact: PlasticityCurve, fitted: list[PlasticityCurve]) -> Check:
    """Without control u_I = r_E at rest, and the exact inverse leaves Δw = 0."""
    left = float(np.max(np.abs(exact.dw)))
    size = min(float(np.max(np.abs(curve.dw))) for curve in fitted)
    claim = (
        f"without control the exact inverse changes nothing: |Δw| ≤ {left:.2g}, "
        f"linear fits up to {size:.2g}"
    )
    return Check(claim, left <= AT_REST * size, {"exact": left, "linear": size})


def check_one_threshold(fit: LinearThreshold, curve: PlasticityCurve) -> Check:
    """Without control Δw has the sign of r_E − θ − δ φ(r_E): one threshold, then the fit's end.

    φ is convex, so that this has at most two zeros: from LTD to LTP, and back to LTD where the line
    overtakes φ⁻¹ again.
    """
    up = potentiation_thresholds(curve.r_E, curve.dw)
    down = depression_thresholds(curve.r_E, curve.dw)
    passed = len(up) == 1 and all(rate > up[0] for rate in down)
    end = f", to LTD again past {down[-1]:.2f}" if down else ""
    claim = (
        f"without control, û_I = {text_of(fit)}: from LTD to LTP at one threshold, "
        f"{rates_text(up)}{end}"
    )
    return Check(claim, passed, {"from_ltd_to_ltp": up, "from_ltp_to_ltd": down})


def check_threshold_follows_inhibition(
    curves: dict[float, PlasticityCurve], fit: LinearThreshold
) -> Check:
    """Isolated, Δw = x (r_E − θ − δ r_I) φ'(u_E): the threshold is θ + δ r_I."""
    found = {
        f"{r_I:g}": potentiation_thresholds(curve.r_E, curve.dw) for r_I, curve in curves.items()
    }
    passed = all(
        [one.to_potentiation for one in sign_changes(curve.r_E, curve.dw)] == [True]
        for curve in curves.values()
    )
    if passed:
        rates = [rate for (rate,) in found.values()]
        errors = [
            abs(rate - fit.theta - fit.delta * r_I) for rate, r_I in zip(rates, curves, strict=True)
        ]
        spacings = [spacing(curve.r_E) for curve in curves.values()]
        passed = all(np.diff(rates) > 0) and bool(np.all(np.less_equal(errors, spacings)))
    claim = "isolated, the threshold is θ + δ r_I and rises with inhibition: " + listed(
        found, "r_I"
    )
    return Check(claim, passed, found)


def _draw_controlled(axes: Axes, curves: dict[float, PlasticityCurve]) -> None:
    mark_zero(axes)
    for target, curve in curves.items():
        axes.plot(curve.r_E, curve.dw, color=TARGET_COLOURS[target], label=f"target {target:g}")
        mark_target(axes, target)
    axes.set_title("top-down control")
    axes.legend(loc="lower left")


def _draw_uncontrolled(axes: Axes, fitted: list[PlasticityCurve], exact: PlasticityCurve) -> None:
    mark_zero(axes)
    inset = axes.inset_axes((0.17, 0.1, 0.36, 0.28))
    axes.plot(exact.r_E, exact.dw, color=BLACK, linestyle="--", label="exact inverse")
    inset.plot(INVERSE_RATES, inverse(PHI, INVERSE_RATES), color=BLACK, linestyle="--")
    for curve, fit, colour in zip(fitted, FITS, FIT_COLOURS, strict=True):
        label = f"θ = {fit.theta:g}, δ = {fit.delta:g}"
        axes.plot(curve.r_E, curve.dw, color=colour, label=label)
        inset.plot(INVERSE_RATES, fit.theta + fit.delta * INVERSE_RATES, color=colour)
    inset.set(xlim=(0, 3), ylim=(-1, 7), xticks=(0, 3), yticks=(0, 6))
    inset.set_xlabel("$r_I$", fontsize=7, labelpad=-6)
    inset.set_ylabel("$\\hat{u}_I$", fontsize=7, labelpad=0)
    inset.tick_params(labelsize=6, length=2)
    axes.set_title("without control")
    axes.set_ylim(-16, 16)
    axes.legend(loc="upper left")


def _draw_clamped(axes: Axes, curves: dict[float, PlasticityCurve], fit: LinearThreshold) -> None:
    mark_zero(axes)
    for (r_I, curve), colour in zip(curves.items(), shades(len(curves)), strict=True):
        axes.plot(curve.r_E, curve.dw, color=colour, label=f"$r_I$ = {r_I:.2f}")
        axes.plot(fit.theta + fit.delta * r_I, 0, "o", color=colour, markersize=3, zorder=3)
    axes.set_title("isolated, inhibition clamped")
    axes.legend(loc="upper left")
