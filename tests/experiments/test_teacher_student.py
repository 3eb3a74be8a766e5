"""Figure 4's network in continuous time against the published implementation.

Tolerance 1e-4, as the golden file's README has it for a solver at rtol 1e-6: relative to the
largest number of each quantity where that exceeds 1, absolute below. The largest difference
seen is 2e-5 (u_I, of up to 7).
"""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from disinhib.backends.numba.continuous import run_compiled
from disinhib.experiments.paper.teacher_student import SineWaves, sample_times, sine_inputs
from disinhib.refimpl.continuous import (
    BURN_IN,
    CLOSED_LOOP,
    OPEN_LOOP,
    ContinuousLearning,
    ContinuousState,
    Sampling,
    initial_state,
    pack_continuous,
    run_continuously,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "teacher-student.h5"
TOLERANCE = 1e-4
N_SAMPLES, EVERY = 5000, 50
NO_TARGETS = np.zeros((N_SAMPLES, 2))
NETWORK, SAMPLING = ContinuousLearning(), Sampling()


@pytest.fixture(scope="module")
def golden():
    with h5py.File(GOLDEN) as file:
        found = {}
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
        )
        found |= dict(file.attrs)
    return found


def state(golden, name):
    def both(quantity):
        return tuple(golden[f"{name}/{quantity}_{l}"] for l in (0, 1))

    return ContinuousState(
        both("u_E"), both("u_I"), golden[f"{name}/c_int"], both("Q"), both("w"), both("b")
    )


def inputs(golden, epoch):
    waves = SineWaves(*(golden[f"inputs/{name}"] for name in ("amplitude", "frequency", "phase")))
    return sine_inputs(waves, sample_times(epoch, N_SAMPLES, SAMPLING.interval))


def assert_close(computed, published):
    scale = max(1.0, np.max(np.abs(published)))
    np.testing.assert_allclose(computed, published, rtol=0, atol=TOLERANCE * scale)


def assert_same_state(computed, published):
    for name in ("u_E", "u_I", "Q", "W", "b"):
        for one, other in zip(getattr(computed, name), getattr(published, name), strict=True):
            assert_close(one, other)
    assert_close(computed.z, published.z)


def test_the_configuration_is_the_published_one(golden):
    published = json.loads(golden["config"])
    assert NETWORK.sizes == tuple(published["sizes"])
    for ours, name in (("activation_E", "activation_E"), ("activation_I", "activation_I")):
        phi = getattr(NETWORK, ours)
        assert vars(phi) == published[name]
    controller = NETWORK.controller
    assert [controller.k_p, controller.k_i, controller.leak, controller.tau] == [
        published[name] for name in ("k_p", "k_i", "leak", "tau_C")
    ]
    assert [NETWORK.tau_E, NETWORK.tau_I, NETWORK.tau_Q, NETWORK.tau_W] == [
        published[name] for name in ("tau_E", "tau_I", "tau_Q", "tau_W")
    ]
    assert NETWORK.feedback_norm == published["Q_norm"]
    assert SAMPLING.interval == published["dt_input"]
    assert N_SAMPLES * SAMPLING.interval == published["epoch_seconds"]


def test_inputs(golden):
    np.testing.assert_allclose(
        inputs(golden, 0)[: EVERY * 20 : EVERY], golden["inputs/first_second"], atol=1e-13
    )


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_feedback_weights_start_at_their_target_of_the_zero_state(golden, who):
    published = state(golden, f"{who}/initial")
    ours = initial_state(NETWORK, published.W, published.b)
    np.testing.assert_allclose(pack_continuous(ours), pack_continuous(published), atol=1e-13)


@pytest.mark.parametrize(
    "run", [run_compiled, pytest.param(run_continuously, marks=pytest.mark.slow)]
)
def test_a_burn_in_and_an_epoch(golden, run):
    """From the initial states on, nothing taken over in between."""
    first, second = inputs(golden, 0), inputs(golden, 1)
    student = run(
        NETWORK, BURN_IN, SAMPLING, state(golden, "student/initial"), first, NO_TARGETS
    ).state
    assert_same_state(student, state(golden, "student/after_burn_in"))
    # The teacher's feedback weights rest: it runs in open loop throughout.
    teacher = run(
        NETWORK, OPEN_LOOP, SAMPLING, state(golden, "teacher/initial"), first, NO_TARGETS
    ).state
    assert_same_state(teacher, state(golden, "teacher/after_burn_in"))

    target = run(NETWORK, OPEN_LOOP, SAMPLING, teacher, second, NO_TARGETS).output
    open_loop = run(NETWORK, OPEN_LOOP, SAMPLING, student, second, NO_TARGETS).output
    controlled = run(NETWORK, CLOSED_LOOP, SAMPLING, student, second, target)
    assert_close(target[::EVERY], golden["epoch_2/teacher_output"])
    assert_close(open_loop[::EVERY], golden["epoch_2/student_output_open_loop"])
    assert_close(controlled.output[::EVERY], golden["epoch_2/student_output_closed_loop"])
    assert_same_state(controlled.state, state(golden, "student/after_control"))
    for output, loop in ((open_loop, "open"), (controlled.output, "closed")):
        mse = np.mean(np.sum((output - target) ** 2, axis=1))
        assert mse == pytest.approx(golden[f"epoch_2_{loop}_loop_mse"], rel=TOLERANCE)


def test_the_reference_through_a_quarter_of_a_second(golden):
    """The slow test in short: teacher, open and closed loop of the second epoch's start."""
    stretch = inputs(golden, 1)[:251]
    rows = len(stretch[::EVERY])
    none = NO_TARGETS[: len(stretch)]
    teacher, student = (state(golden, f"{who}/after_burn_in") for who in ("teacher", "student"))
    target = run_continuously(NETWORK, OPEN_LOOP, SAMPLING, teacher, stretch, none).output
    open_loop = run_continuously(NETWORK, OPEN_LOOP, SAMPLING, student, stretch, none).output
    controlled = run_continuously(NETWORK, CLOSED_LOOP, SAMPLING, student, stretch, target).output
    assert_close(target[::EVERY], golden["epoch_2/teacher_output"][:rows])
    assert_close(open_loop[::EVERY], golden["epoch_2/student_output_open_loop"][:rows])
    assert_close(controlled[::EVERY], golden["epoch_2/student_output_closed_loop"][:rows])
