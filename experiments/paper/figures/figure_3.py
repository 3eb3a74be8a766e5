"""Figure 3: how dis-inhibition, its absence and clamped inhibition set the sign of plasticity."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..plasticity_curves import (
    CLAMPED,
    INPUTS,
    INPUTS_WITHOUT_TARGET,
    TARGETS,
    LinearThreshold,
    PlasticityCurve,
    circuit,
    isolated,
)
from .catalogue import Check, FigureResult
from .style import (
    BLACK,
    CHANGE_LABEL,
    FIT,
    GREEN,
    PAGE,
    PURPLE,
    RATE_LABEL,
    by_condition,
    columns,
    draw_clamped,
    draw_controlled,
    inverse_table,
    label_panel,
    listed,
    mark_zero,
    name_of,
    new_figure,
    rates_text,
    stack,
    text_of,
)

FITS = (FIT, LinearThreshold(0.9, 1.8))
FIT_COLOURS = (GREEN, PURPLE)
INVERSE_RATES = np.geomspace(0.01, 6.5, 300)

AT_REST = 1e-3
"""Share of the largest weight change below which one is zero: 600 Euler steps leave as much."""


def make() -> FigureResult:
    """Draw figure 3 and check what it shows."""
    controlled = {target: circuit(INPUTS, target) for target in TARGETS}
    controlled_linear = {target: circuit(INPUTS, target, FIT) for target in TARGETS}
    uncontrolled = {fit: circuit(INPUTS_WITHOUT_TARGET, None, fit) for fit in FITS}
    exact = circuit(INPUTS_WITHOUT_TARGET, None)
    clamped = {r_I: isolated(INPUTS, r_I, FIT) for r_I in CLAMPED}
    inverse = inverse_table(INVERSE_RATES, FITS)

    figure = new_figure(PAGE, 2.6)
    axes = figure.subplots(1, 3)
    for one, title in zip(
        axes, ("top-down control", "without control", "isolated, inhibition clamped"), strict=True
    ):
        mark_zero(one)
        one.set_title(title)
    draw_controlled(axes[0], controlled)
    axes[0].legend(loc="lower left")
    _draw_uncontrolled(axes[1], uncontrolled, exact, inverse)
    draw_clamped(axes[2], clamped)
    for line, r_I in zip(axes[2].lines[1:], CLAMPED, strict=True):
        axes[2].plot(FIT(r_I), 0, "o", color=line.get_color(), markersize=3, zorder=3)
    axes[2].legend(loc="upper left")
    for one, letter in zip(axes, "abc", strict=True):
        one.set(xlabel=RATE_LABEL)
        label_panel(one, letter)
    axes[0].set_ylabel(CHANGE_LABEL)

    by_fit = {name_of(fit): curve for fit, curve in uncontrolled.items()}
    to_ltd_again = {name: curve.to_ltd() for name, curve in by_fit.items()}
    to_ltp, to_ltd = PlasticityCurve.to_ltp, PlasticityCurve.to_ltd
    numbers = {
        "sign_change_under_control": by_condition(controlled, to_ltd),
        "sign_change_under_control_first_fit": by_condition(controlled_linear, to_ltd),
        "threshold_without_control": {name: curve.to_ltp() for name, curve in by_fit.items()},
        "depression_again_without_control": to_ltd_again,
        "threshold_isolated": by_condition(clamped, to_ltp),
    }
    checks = [
        check_sign_at_target(controlled),
        check_silent_without_control(exact, list(uncontrolled.values())),
        *(check_one_threshold(fit, curve) for fit, curve in uncontrolled.items()),
        check_threshold_follows_inhibition(clamped, FIT),
    ]
    data = {
        "controlled": stack(
            [{"target": target, **columns(curve)} for target, curve in controlled.items()]
        ),
        "uncontrolled": {
            **columns(exact),
            **{f"dw_{name}": curve.dw for name, curve in by_fit.items()},
        },
        "inverse": inverse,
        "isolated": stack([{"r_I": r_I, **columns(curve)} for r_I, curve in clamped.items()]),
    }
    return FigureResult(figure, data, numbers, checks)


def _draw_uncontrolled(
    axes: Axes,
    fitted: dict[LinearThreshold, PlasticityCurve],
    exact: PlasticityCurve,
    inverse: dict[str, np.ndarray],
) -> None:
    inset = axes.inset_axes((0.17, 0.1, 0.36, 0.28))
    axes.plot(exact.rate, exact.dw, color=BLACK, linestyle="--", label="exact inverse")
    inset.plot(inverse["r_I"], inverse["exact"], color=BLACK, linestyle="--")
    for (fit, curve), colour in zip(fitted.items(), FIT_COLOURS, strict=True):
        label = f"θ = {fit.theta:g}, δ = {fit.delta:g}"
        axes.plot(curve.rate, curve.dw, color=colour, label=label)
        inset.plot(inverse["r_I"], inverse[name_of(fit)], color=colour)
    inset.set(xlim=(0, 3), ylim=(-1, 7), xticks=(0, 3), yticks=(0, 6))
    inset.set_xlabel("$r_I$", fontsize=7, labelpad=-6)
    inset.set_ylabel("$\\hat{u}_I$", fontsize=7, labelpad=0)
    inset.tick_params(labelsize=6, length=2)
    axes.set_ylim(-16, 16)
    axes.legend(loc="upper left")


def check_sign_at_target(curves: dict[float, PlasticityCurve]) -> Check:
    """Under control and with the exact inverse, Δw = α x (r_tar − r_E) φ'(u_E) at rest."""
    found, passed = {}, True
    for target, curve in curves.items():
        changes = curve.changes()
        found[f"{target:g}"] = [one.rate for one in changes]
        passed = passed and (
            len(changes) == 1
            and not changes[0].to_potentiation
            and abs(changes[0].rate - target) <= curve.spacing
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
    up, down = curve.to_ltp(), curve.to_ltd()
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
    found = by_condition(curves, PlasticityCurve.to_ltp)
    passed = all(
        [one.to_potentiation for one in curve.changes()] == [True] for curve in curves.values()
    )
    if passed:
        rates = [rate for (rate,) in found.values()]
        errors = [
            abs(rate - fit.theta - fit.delta * r_I) for rate, r_I in zip(rates, curves, strict=True)
        ]
        spacings = [curve.spacing for curve in curves.values()]
        passed = all(np.diff(rates) > 0) and bool(np.all(np.less_equal(errors, spacings)))
    claim = "isolated, the threshold is θ + δ r_I and rises with inhibition: " + listed(
        found, "r_I"
    )
    return Check(claim, passed, found)
