"""Figure 3 and its supplements: what they show, that their data are what is drawn, and that their
checks can fail."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from disinhib.experiments.paper.figures import (
    catalogue,
    figure_3,
    figure_maker,
    supplement_1,
    supplement_2,
    write_figure,
)
from disinhib.experiments.paper.figures.style import stack
from disinhib.experiments.paper.plasticity_curves import (
    CLAMPED,
    TARGETS,
    LinearThreshold,
    circuit,
    greedy,
    isolated,
    payeur,
)

NAMES = ("figure-3", "supplement-1", "supplement-2")
FIT = LinearThreshold(1.5, 1.5)


@pytest.fixture(scope="module")
def made():
    return {name: figure_maker(name)() for name in NAMES}


def flipped(curve):
    return dataclasses.replace(curve, dw=-curve.dw)


def lifted(curve, by):
    return dataclasses.replace(curve, dw=curve.dw + by)


def drawn(axes):
    """Curves of a panel as arrays (2, n); marks and lines of two points are left out."""
    lines = [np.array(line.get_data(orig=False), dtype=float) for line in axes.lines]
    return [line for line in lines if line.shape[1] > 2]


def in_data(line, data):
    """Whether a drawn line is a piece of two columns of a table."""
    x, y = line
    for table in data.values():
        numeric = [column for column in table.values() if column.dtype.kind == "f"]
        for column in numeric:
            for start in np.flatnonzero(column == x[0]):
                piece = slice(start, start + len(x))
                if np.array_equal(column[piece], x) and any(
                    np.array_equal(other[piece], y) for other in numeric
                ):
                    return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_all_checks_pass(made, name):
    assert isinstance(made[name].picture, Figure)
    assert made[name].checks
    assert [check.claim for check in made[name].checks if not check.passed] == []


@pytest.mark.parametrize(("name", "n_curves"), [("figure-3", 2 + 3 + 4 + 3), ("supplement-2", 45)])
def test_the_data_are_what_is_drawn(made, name, n_curves):
    panels = made[name].picture.axes
    panels = panels + [inset for axes in panels for inset in axes.child_axes]
    lines = [line for axes in dict.fromkeys(panels) for line in drawn(axes)]
    assert len(lines) == n_curves
    assert all(in_data(line, made[name].data) for line in lines)


def test_the_data_of_supplement_1_are_what_is_drawn(made):
    figure = made["supplement-1"]
    lines = [line for axes in figure.picture.axes for line in drawn(axes)]
    assert len(lines) == 5 * (2 + 1) + 4 * 4
    assert all(in_data(line, figure.data) for line in lines)


@pytest.mark.parametrize("name", NAMES[:2])
def test_they_are_written(made, name, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "DOTS_PER_INCH", 30)
    written = write_figure(tmp_path, name, made[name])
    assert all(path.stat().st_size > 0 for path in written)
    assert len(written) == len(made[name].data) + 2


def test_numbers_of_figure_3(made):
    """Thresholds of SciPy's root finding: see test_related_models for the equations."""
    numbers = made["figure-3"].numbers
    assert numbers["sign_change_under_control"]["4"] == [pytest.approx(4, abs=0.01)]
    assert numbers["sign_change_under_control"]["3"] == [pytest.approx(3, abs=0.01)]
    first, second = numbers["threshold_without_control"].values()
    assert first == [pytest.approx(1.95, abs=0.01)]
    assert second == [pytest.approx(1.17, abs=0.01)]
    isolated_thresholds = [rate for (rate,) in numbers["threshold_isolated"].values()]
    np.testing.assert_allclose(
        isolated_thresholds, 1.5 + 1.5 * np.linspace(0.01, 2, 4), rtol=0, atol=0.01
    )


def test_figure_3_fails_without_a_sign_change_at_the_target():
    curves = {target: circuit(figure_3.INPUTS, target) for target in TARGETS}
    assert figure_3.check_sign_at_target(curves).passed
    assert not figure_3.check_sign_at_target({3.0: curves[4.0]}).passed
    assert not figure_3.check_sign_at_target({4.0: flipped(curves[4.0])}).passed
    linear = circuit(figure_3.INPUTS, 4.0, FIT)
    assert not figure_3.check_sign_at_target({4.0: linear}).passed


def test_figure_3_fails_if_the_exact_inverse_learns_without_control():
    x = figure_3.INPUTS_WITHOUT_TARGET
    fitted = [circuit(x, None, FIT)]
    exact = circuit(x, None)
    assert figure_3.check_silent_without_control(exact, fitted).passed
    assert not figure_3.check_silent_without_control(lifted(exact, 0.1), fitted).passed


def test_figure_3_fails_without_one_threshold():
    curve = circuit(figure_3.INPUTS_WITHOUT_TARGET, None, FIT)
    assert figure_3.check_one_threshold(FIT, curve).passed
    assert not figure_3.check_one_threshold(FIT, flipped(curve)).passed
    assert not figure_3.check_one_threshold(FIT, lifted(curve, 10.0)).passed


def test_figure_3_fails_if_the_threshold_stays_or_is_elsewhere():
    curves = {r_I: isolated(figure_3.INPUTS, r_I, FIT) for r_I in CLAMPED}
    check = figure_3.check_threshold_follows_inhibition
    assert check(curves, FIT).passed
    assert not check(dict.fromkeys(CLAMPED, curves[CLAMPED[0]]), FIT).passed
    assert not check(curves, LinearThreshold(1.6, 1.5)).passed
    assert not check({r_I: flipped(curve) for r_I, curve in curves.items()}, FIT).passed


def test_the_table_in_words(made):
    """Section 9's equations leave no choice: see test_related_models for each."""
    verdicts = {
        model.name: supplement_1.judge(supplement_1.curves_of(model))
        for model in supplement_1.MODELS
    }
    table = {
        name: (one.at_target, one.without_control, one.follows_inhibition)
        for name, one in verdicts.items()
    }
    assert table == {
        "Sacramento 2018": (True, False, False),
        "Meulemans 2021/22": (True, False, False),
        "Payeur 2021": (True, False, False),
        "Greedy 2022": (True, False, True),
        "Rossbroich 2023": (True, True, True),
    }
    assert [one.all_three for one in verdicts.values()] == [False] * 4 + [True]
    notes = "\n".join(made["supplement-1"].notes)
    assert notes.count("no, LTD whatever the activity") == 3
    assert notes.count("no, no change at all") == 3
    assert notes.count("no, the model has no inhibition") == 1


def test_supplement_1_judges_what_it_is_given():
    """Another model's curves in place of ours fail, and ours in place of another's."""
    model = next(one for one in supplement_1.MODELS if one.name == supplement_1.OURS)
    ours = supplement_1.curves_of(model)
    verdict = supplement_1.judge(ours)
    stuck = dict.fromkeys(ours.clamped, ours.clamped[CLAMPED[0]])
    assert not supplement_1.judge(dataclasses.replace(ours, clamped=stuck)).follows_inhibition
    assert not supplement_1.judge(dataclasses.replace(ours, clamped={})).follows_inhibition
    swapped = {3.0: ours.controlled[4.0], 4.0: ours.controlled[3.0]}
    assert not supplement_1.judge(dataclasses.replace(ours, controlled=swapped)).at_target
    falling = dataclasses.replace(ours, uncontrolled=flipped(lifted(ours.uncontrolled, 10.0)))
    assert supplement_1.judge(falling).words[1] == "no, LTD whatever the activity"

    others = {
        one.name: supplement_1.judge(supplement_1.curves_of(one)) for one in supplement_1.MODELS
    }
    passed = [check.passed for check in supplement_1.check_verdicts(others)]
    assert passed == [True] * 4
    impostor = {**others, "Payeur 2021": verdict}
    assert [check.passed for check in supplement_1.check_verdicts(impostor)] == [
        True,
        True,
        False,
        False,
    ]
    worse = {**others, supplement_1.OURS: others["Payeur 2021"]}
    assert [check.passed for check in supplement_1.check_verdicts(worse)] == [
        True,
        False,
        True,
        True,
    ]
    lost = {**others, "Payeur 2021": dataclasses.replace(verdict, at_target=False)}
    assert not supplement_1.check_verdicts(lost)[0].passed


def test_bursts_by_chance_alone():
    """At the rate found, 1.6 (1 − exp(−e/10)) ½ is the resting ½."""
    e = supplement_1.by_chance_alone()
    assert 0.8 * (1 - np.exp(-e / 10)) == pytest.approx(0.5, abs=1e-12)


def test_supplement_1_sees_no_sign_in_rounding():
    x = np.linspace(0, 5, 101)
    curves = supplement_1.Curves({t: payeur(x, t) for t in TARGETS}, greedy(x, None), {})
    noisy = lifted(curves.uncontrolled, 1e-9 * np.cos(np.arange(101)))
    verdict = supplement_1.judge(dataclasses.replace(curves, uncontrolled=noisy))
    assert verdict.words[1] == "no, no change at all"


def test_supplement_2_errors_of_the_fits():
    """θ + δ log(1 + e^(r − 3)) − r at r = 3 is θ + δ log 2 − 3."""
    assert supplement_2.error_at(LinearThreshold(1.5, 2), 3.0) == pytest.approx(
        1.5 + 2 * np.log(2) - 3, abs=1e-12
    )


def test_supplement_2_fails_on_other_curves():
    curves = {fit: supplement_2.curves_of(fit) for fit in supplement_2.FITS}
    keep = supplement_2.check_close_fits_keep_the_target
    controlled = {fit: one.controlled for fit, one in curves.items()}
    assert keep(controlled).passed
    swapped = {fit: {3.0: one[4.0], 4.0: one[3.0]} for fit, one in controlled.items()}
    assert not keep(swapped).passed
    assert not keep({}).passed

    threshold = supplement_2.check_threshold_without_control
    uncontrolled = {fit: one.uncontrolled for fit, one in curves.items()}
    assert threshold(uncontrolled).passed
    order = list(uncontrolled.values())
    assert not threshold(dict(zip(curves, order[1:] + order[:1], strict=True))).passed

    clamp = supplement_2.check_clamped_thresholds
    clamped = {fit: one.clamped for fit, one in curves.items()}
    assert clamp(clamped).passed
    reversed_rates = {
        fit: dict(zip(one, reversed(one.values()), strict=True)) for fit, one in clamped.items()
    }
    assert not clamp(reversed_rates).passed


def test_supplement_2_fits_that_miss(made):
    """(4, 1) lies above φ⁻¹ wherever r_E comes: LTD only. (−0.5, 1.5) lies below: LTP only."""
    numbers = made["supplement-2"].numbers
    assert numbers["4 + 1 r_I"]["threshold_without_control"] == []
    assert numbers["−0.5 + 1.5 r_I"]["threshold_without_control"] == []
    data = made["supplement-2"].data["uncontrolled"]
    above = (data["theta"] == 4) & (data["x"] > 0)
    below = (data["theta"] == -0.5) & (data["x"] > 0)
    assert np.all(data["dw"][above] < 0)
    assert np.all(data["dw"][below] > 0)


def test_stacked_tables():
    table = stack(
        [
            {"target": 3.0, "x": np.arange(2.0), "u": np.ones(2)},
            {"target": 4.0, "x": np.arange(3.0)},
        ]
    )
    np.testing.assert_array_equal(table["target"], [3, 3, 4, 4, 4])
    np.testing.assert_array_equal(table["x"], [0, 1, 0, 1, 2])
    np.testing.assert_array_equal(table["u"], [1, 1, np.nan, np.nan, np.nan])
