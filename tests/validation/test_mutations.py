"""The kit against deliberate faults: each must be caught, and blamed on the right stage."""

import dataclasses
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest

from disinhib.validation import (
    compare,
    conform,
    conform_each,
    float_arithmetic,
    read_candidate,
    record_standard_case,
    record_trace,
    write_trace,
)

from .fault import CASES
from .faults import FAULTS, StagedBackend

DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]
SLOW = pytest.mark.slow
FIRST = [
    # One a stage stands for all in the fast tests.
    fault
    for number, fault in enumerate(FAULTS)
    if fault.stage not in {earlier.stage for earlier in FAULTS[:number]}
]


@cache
def golden(case, with_trajectory=False):
    trace = record_standard_case(CASES[case])
    return trace if with_trajectory else dataclasses.replace(trace, trajectory=None)


def trace_for(fault):
    return golden(fault.case, fault.stage.endswith("trajectory"))


def first_deviation(results):
    return next((r for r in results if not r.passed), None)


def judged_file(fault, dtype, directory):
    """Let the faulty backend go through all steps on its own, as a port does."""
    trace = trace_for(fault)
    answers = record_trace(
        trace.configuration,
        trace.initial_parameters,
        trace.inputs,
        trace.targets,
        with_trajectory=trace.trajectory is not None,
        backend_class=fault.backend,
        dtype=dtype,
    )
    path = directory / "answers.h5"
    write_trace(path, answers, "a port with a fault")
    candidate = read_candidate(path, trace)
    return first_deviation(compare(trace, candidate, float_arithmetic(dtype)).results)


def test_there_are_at_least_25_and_their_names_are_unique():
    assert len(FAULTS) >= 25
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize(
    ("dtype", "faults"),
    [
        pytest.param(DTYPES[1], FIRST, id="float32, one a stage"),
        pytest.param(DTYPES[1], FAULTS, id="float32", marks=pytest.mark.slow),
        pytest.param(DTYPES[0], FAULTS, id="float64", marks=pytest.mark.slow),
    ],
)
def test_faulty_backends_are_caught_in_the_right_stage(dtype, faults, record_property):
    wrong, hints = [], Counter()
    of_trace = defaultdict(list)
    for fault in faults:
        of_trace[id(trace_for(fault))].append(fault)
    for group in of_trace.values():
        # What rounding may do on a trace is measured once for all its faults.
        kinds = [fault.backend for fault in group]
        judged = conform_each(trace_for(group[0]), kinds, dtype)
        for fault, results in zip(group, judged, strict=True):
            found = first_deviation(results)
            hints[said_of(fault, found)] += 1
            if not blamed_rightly(fault, found):
                wrong.append((fault.name, found))
    record_property(
        "measured",
        f"{dtype}: {len(faults) - len(wrong)} of {len(faults)} deliberate faults caught and "
        f"blamed on the right stage; of the hints {hints['right']} are right, "
        f"{hints['absent']} absent, {hints['wrong']} wrong, and "
        f"{hints['rightly absent']} absent as the mistake is no usual one",
    )
    assert wrong == []


def said_of(fault, found):
    hint = found.hint if found else ""
    if not hint:
        return "absent" if fault.hint else "rightly absent"
    return "right" if fault.hint and fault.hint in hint else "wrong"


def blamed_rightly(fault, found):
    if found is None or found.stage != fault.stage:
        return False
    # A hint that is wrong is worse than none.
    return fault.hint in found.hint if fault.hint else found.hint == ""


@pytest.mark.parametrize(
    ("fault", "dtype"),
    [
        pytest.param(
            fault,
            dtype,
            id=f"{fault.name}-{dtype}",
            # Precisions in turns; a port's paths are judged in test_comparison too.
            marks=()
            if fault in FIRST
            and DTYPES[FIRST.index(fault) % 2] == dtype
            and not fault.stage.endswith("trajectory")
            else pytest.mark.slow,
        )
        for fault in FAULTS
        for dtype in DTYPES
    ],
)
def test_a_faulty_port_is_caught_in_the_right_stage(fault, dtype, tmp_path):
    found = judged_file(fault, dtype, tmp_path)
    assert blamed_rightly(fault, found), found


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        # Precisions in turns; test_standard_cases has some of these cases in both.
        pytest.param(case, dtype, id=f"{case}-{dtype}", marks=() if i % 2 == j else SLOW)
        for i, case in enumerate(sorted({fault.case for fault in FAULTS}))
        for j, dtype in enumerate(DTYPES)
    ],
)
def test_without_a_fault_nothing_is_caught(case, dtype):
    """The faults are in what each class changes, not in the class that they share."""
    assert first_deviation(conform(golden(case), StagedBackend, dtype)) is None
