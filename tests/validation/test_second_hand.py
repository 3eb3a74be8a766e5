"""What the judge says to the author of a port who makes mistakes that nobody told it of."""

import pytest

from disinhib.validation import (
    compare,
    find_traces,
    first_deviation,
    named_arithmetic,
    shipped_directory,
)

from .second_hand import BY_STAGE, MISTAKES, port_candidate, trace_named

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


@pytest.mark.slow
@pytest.mark.parametrize("stage", BY_STAGE)
def test_what_the_judge_says_of_mistakes(stage):
    """Prints what is said (with `-s`); whether a hint is a good one, its reader judges."""
    of_stage = [mistake for mistake in MISTAKES if mistake.arises == stage]
    assert len(print_verdicts(of_stage)) == len(of_stage)
