"""Supplement 1: the panels of figure 3 for related models, and what tells them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plasticity_curves import (
    CLAMPED,
    INPUTS_WITHOUT_TARGET,
    POISSON_BURSTS,
    POISSON_RATE,
    TARGETS,
    Curves,
    PlasticityCurve,
    circuit,
    greedy,
    greedy_isolated,
    isolated,
    meulemans,
    meulemans_isolated,
    payeur,
    sacramento,
    sacramento_isolated,
)
from .catalogue import Check, FigureResult
from .style import (
    FIT,
    PAGE,
    columns,
    draw_conditions,
    label_panel,
    mark_zero,
    new_figure,
    rates_text,
    stack,
)

TARGET_DISTANCE = 0.1
"""How near a target a sign change counts as at it: a tenth of the distance between targets."""
NEGLIGIBLE = 1e-3
"""Share of the largest weight change under control below which one is zero."""
OURS = "Rossbroich 2023"
CONDITIONS = ("under control", "without control", "inhibition clamped")
RATE = "rate (a.u.)"
EVENT_RATE = "event rate (a.u.)"


@dataclass(frozen=True)
class Model:
    """A model of one row."""

    name: str
    # from inputs and a target, None without control
    circuit: Callable[[np.ndarray, float | None], PlasticityCurve]
    # from inputs and a clamped inhibitory rate; None where nothing inhibits
    isolated: Callable[[np.ndarray, float], PlasticityCurve] | None
    controlled_until: float  # largest input under control
    isolated_until: float  # and with clamped inhibition
    activity: str  # what the postsynaptic activity is


@dataclass(frozen=True)
class Verdict:
    """What a model's curves show: three properties, in words too, and the rates that decided."""

    at_target: bool  # under control LTP turns into LTD at each target, and nowhere else
    without_control: bool  # without control LTD turns into LTP as activity rises
    # clamped, LTD turns into LTP at an activity that rises with inhibition
    follows_inhibition: bool
    words: tuple[str, str, str]
    rates: dict[str, list[float]]

    @property
    def all_three(self) -> bool:
        """Whether the model shows all three."""
        return self.at_target and self.without_control and self.follows_inhibition


def make() -> FigureResult:
    """Draw supplement 1, put it into words, and check them."""
    curves = {model.name: curves_of(model) for model in MODELS}
    verdicts = {name: judge(one) for name, one in curves.items()}
    notes = []
    for name, verdict in verdicts.items():
        notes.append(name)
        for condition, words in zip(CONDITIONS, verdict.words, strict=True):
            notes.append(f"  {condition}: {words}")
    chance = by_chance_alone()
    notes.append(
        "Greedy 2022 owes its threshold to bursts by chance, which only its isolated neuron has: "
        f"without inhibition they put it at {chance:.2f}"
    )
    data = {}
    for name, one in curves.items():
        parts = {f"target {target:g}": curve for target, curve in one.controlled.items()}
        parts["no target"] = one.uncontrolled
        parts |= {f"r_I {r_I:.4g}": curve for r_I, curve in one.clamped.items()}
        data[name.lower().replace(" ", "-").replace("/", "-")] = stack(
            [{"condition": key, **columns(part, "activity")} for key, part in parts.items()]
        )
    numbers = {name: verdict.rates for name, verdict in verdicts.items()}
    numbers["Greedy 2022"]["by chance alone"] = [chance]
    return FigureResult(_draw(curves), data, numbers, check_verdicts(verdicts), notes)


def curves_of(model: Model) -> Curves:
    """Compute a model's curves."""
    x = np.linspace(0, model.controlled_until, 401)
    x_isolated = np.linspace(0, model.isolated_until, 501)
    return Curves(
        {target: model.circuit(x, target) for target in TARGETS},
        model.circuit(INPUTS_WITHOUT_TARGET, None),
        {} if model.isolated is None else {r: model.isolated(x_isolated, r) for r in CLAMPED},
    )


def judge(curves: Curves) -> Verdict:
    """Read the three properties off a model's curves."""
    size = max(float(np.max(np.abs(curve.dw))) for curve in curves.controlled.values())
    rates: dict[str, list[float]] = {}

    at_target = True
    found = []
    for target, curve in curves.controlled.items():
        down = curve.to_ltd(NEGLIGIBLE * size)
        rates[f"target {target:g}"] = down
        found.append(f"{rates_text(down)} for target {target:g}")
        at_target &= len(down) == 1 and abs(down[0] - target) <= TARGET_DISTANCE
    controlled = f"{_yes(at_target)}, LTP turns into LTD at {', '.join(found)}"

    up = curves.uncontrolled.to_ltp(NEGLIGIBLE * size)
    rates["no target"] = up
    follows_activity = len(up) == 1
    uncontrolled = (
        f"yes, LTD turns into LTP at {rates_text(up)}"
        if follows_activity
        else f"no, {_without_threshold([curves.uncontrolled], size)}"
    )

    thresholds = [curve.to_ltp(NEGLIGIBLE * size) for curve in curves.clamped.values()]
    for r_I, one in zip(curves.clamped, thresholds, strict=True):
        rates[f"r_I {r_I:.4g}"] = one
    single = [one[0] for one in thresholds if len(one) == 1]
    follows = 0 < len(single) == len(thresholds) and bool(np.all(np.diff(single) > 0))
    if follows:
        inhibition = rates_text(list(curves.clamped))
        clamped = f"yes, LTD turns into LTP at {rates_text(single)} for r_I {inhibition}"
    elif not curves.clamped:
        clamped = "no, the model has no inhibition"
    else:
        clamped = f"no, {_without_threshold([*curves.clamped.values()], size)}"
    return Verdict(at_target, follows_activity, follows, (controlled, uncontrolled, clamped), rates)


def check_verdicts(verdicts: dict[str, Verdict]) -> list[Check]:
    """What supplement 1 is to show."""
    others = {name: one for name, one in verdicts.items() if name != OURS}
    moving = [name for name, one in others.items() if one.follows_inhibition]
    return [
        Check(
            "in every model the sign of Δw changes at the target under control",
            all(one.at_target for one in verdicts.values()),
        ),
        Check(
            f"{OURS}: also with activity without control, and at a threshold that follows clamped "
            "inhibition",
            verdicts[OURS].all_three,
        ),
        Check(
            "no related model has a threshold of activity without control",
            not any(one.without_control for one in others.values()),
        ),
        Check(
            "of them only Greedy 2022 has a threshold that follows clamped inhibition",
            moving == ["Greedy 2022"],
            {"with": moving},
        ),
    ]


def by_chance_alone() -> float:
    """Event rate at which bursts by chance alone reach the resting ½: 1.6 (1 − exp(−e/10)) = 1."""
    return float(-POISSON_RATE * np.log(1 - 1 / POISSON_BURSTS))


def _our_circuit(x: np.ndarray, target: float | None) -> PlasticityCurve:
    """As in figure 3: exact inverse under control, linear threshold without."""
    return circuit(x, target, FIT if target is None else None)


def _our_isolated(x: np.ndarray, r_I: float) -> PlasticityCurve:
    return isolated(x, r_I, FIT)


MODELS = (
    Model("Sacramento 2018", sacramento, sacramento_isolated, 10, 10, RATE),
    Model("Meulemans 2021/22", meulemans, meulemans_isolated, 5, 10, RATE),
    Model("Payeur 2021", payeur, None, 5, 10, EVENT_RATE),
    # Bursts by chance reach ½ only above an event rate of 10.
    Model("Greedy 2022", greedy, greedy_isolated, 5, 25, EVENT_RATE),
    Model(OURS, _our_circuit, _our_isolated, 10, 10, RATE),
)


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _without_threshold(curves: list[PlasticityCurve], size: float) -> str:
    dw = np.concatenate([curve.dw for curve in curves])
    potentiates, depresses = np.max(dw) > NEGLIGIBLE * size, np.min(dw) < -NEGLIGIBLE * size
    if potentiates and depresses:
        return "LTP and LTD, but not at one threshold that follows"
    if potentiates or depresses:
        return f"{'LTP' if potentiates else 'LTD'} whatever the activity"
    return "no change at all"


def _draw(curves: dict[str, Curves]) -> Figure:
    figure = new_figure(PAGE, 8.4)
    grid = figure.subplots(len(MODELS), 3)
    for model, row, letter in zip(MODELS, grid, "abcde", strict=True):
        draw_conditions(row, curves[model.name])
        for axes in row:
            if axes.lines:
                mark_zero(axes)
                axes.set_xlabel(model.activity)
                _show_a_zero(axes)
            else:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "no inhibition\nin the model", ha="center", va="center")
        row[0].set_ylabel(f"{model.name}\nΔw (a.u.)")
        label_panel(row[0], letter)
    titles = ("top-down control", "without control", "isolated, inhibition clamped")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    grid[0, 0].legend(loc="lower left")
    grid[-1, 2].legend(loc="upper left")
    figure.align_ylabels(grid[:, 0])
    return figure


def _show_a_zero(axes: Axes) -> None:
    """Give a curve that is zero throughout an axis on which it looks it."""
    low, high = axes.get_ylim()
    if high - low < 0.2:
        axes.set(ylim=(-1.1, 1.1), yticks=(-1, 0, 1))
