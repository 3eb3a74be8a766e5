"""What the judge says to the author of a port who makes mistakes that nobody told it of."""

from collections import Counter

import pytest

from disinhib.validation import (
    compare,
    find_traces,
    first_deviation,
    named_arithmetic,
    shipped_directory,
)

from .second_hand import MISTAKES, port_candidate, trace_named

SHIPPED = [path.stem for path in find_traces(shipped_directory())[0]]
PRECISIONS = ("float64", "float32")


def judged(trace, change=None, precision="float64"):
    """What the judge says of the port."""
    candidate = port_candidate(trace, change, precision)
    result = compare(trace, candidate, named_arithmetic(precision))
    assert result.results
    return result


def assert_conforms(name, precision):
    result = judged(trace_named(name), precision=precision)
    assert not any(result.not_given.values()), result.not_given
    for stage in result.results:
        assert stage.passed, f"{stage.stage}: {stage.used:.3g} of the allowance, {stage.worst}"


def verdict_on(mistake):
    """Name of the stage that is blamed, none if all pass, and what is said: hint, or problem."""
    result = judged(trace_named(mistake.trace), mistake.change, mistake.precision)
    first = first_deviation(result.results)
    return (first.stage, first.hint or first.problem) if first else ("", "")


def print_verdicts(mistakes=MISTAKES):
    """One line a mistake: its name, whether the right stage is blamed, and what is said of it.

    Given are the same, (mistake, stage blamed, what is said).
    """
    rows = []
    for mistake in mistakes:
        blamed, said = verdict_on(mistake)
        rows.append((mistake, blamed, said))
        blame = "right" if blamed == mistake.arises else f"wrong: {blamed or 'none'}"
        unknown = "-" if mistake.hint_expected else "- (none expected)"
        print(f"{mistake.arises}: {mistake.name} | {blame} | {said or unknown}", flush=True)
    return rows


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_port_without_mistakes_conforms(precision):
    assert_conforms("linear-threshold", precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SHIPPED)
def test_the_port_without_mistakes_conforms_to_all_shipped_traces(name, precision):
    assert_conforms(name, precision)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({mistake.trace for mistake in MISTAKES} - {*SHIPPED}))
def test_the_port_without_mistakes_conforms_where_mistakes_are_made(name):
    assert_conforms(name, "float64")


SAMPLE = (
    # One a kind: a default, a sample, time, memory, an order, a loop, a count.
    ("mean inhibition", "the initial value is the default's"),
    ("feedback weights", "each unit's column has the norm"),
    ("closed-loop target", "λ weighs the output and 1 − λ the label"),
    ("closed loop", "the control reaches the top hidden layer alone"),
    ("gradients", "the last sample overwrites the others"),
    ("gradients", "θ is dropped from the linear threshold"),
    ("optimiser update", "Adam's step counts arrays, not steps"),
    ("optimiser update", "the largest second moment so far is used"),
    ("losses", "a step late: the first is zero"),
    ("learning steps in one run", "final parameters are one step further"),
)
ENOUGH = 0.9
"""Of the mistakes for which a hint may be expected."""


def quality_of(mistake, said):
    """Of what is said of a mistake: 'right', 'absent' or 'wrong'."""
    if not said:
        return "absent"
    return "right" if mistake.says and mistake.says in said else "wrong"


def counted(rows):
    """How many hints are right, absent or wrong where one may be expected; what is amiss."""
    expected, amiss = Counter(), []
    for mistake, blamed, said in rows:
        quality = quality_of(mistake, said)
        if mistake.hint_expected:
            expected[quality] += 1
        if blamed != mistake.arises or quality == "wrong":
            amiss.append((mistake, blamed, said))
    return expected, amiss


def test_of_a_sample_every_mistake_is_named():
    by_name = {(mistake.arises, mistake.name): mistake for mistake in MISTAKES}
    expected, amiss = counted(print_verdicts([by_name[name] for name in SAMPLE]))
    assert amiss == []
    assert expected == {"right": len(SAMPLE) - 1}


@pytest.mark.slow
def test_no_hint_is_wrong_and_nine_of_ten_are_right(record_property):
    """Prints what is said (with `-s`)."""
    rows = print_verdicts()
    expected, amiss = counted(rows)
    blamed = sum(blamed == mistake.arises for mistake, blamed, _ in rows)
    total = sum(expected.values())
    record_property(
        "measured",
        f"of {len(rows)} mistakes that another hand made, {blamed} are blamed on the right stage; "
        f"of {total} for which a hint may be expected, {expected['right']} have a right one, "
        f"{expected['absent']} none and {expected['wrong']} a wrong one",
    )
    assert amiss == []
    assert expected["right"] >= ENOUGH * total
