"""Settings at the edges of what a precision resolves: right, or said to be unsettled.

The oracle is arithmetic of sixty digits (`longer_arithmetic`), which is given the very numbers
that a backend was. What a backend may be off by follows from what it promises: a step in c of
ε^¾ of c and u_out left, and rounding of u_out by ε times the rates' own steepness.
"""

import dataclasses
import itertools

import mpmath as mp
import numpy as np
import pytest

from disinhib.backends import NumbaBackend, NumpyBackend
from disinhib.refimpl.circuit import Parameters, initial_parameters
from disinhib.refimpl.configuration import (
    ConfigurationError,
    Controller,
    Feedback,
    NetworkConfiguration,
    SoftReLU,
    Solver,
)

from ..refimpl import longer_arithmetic
from .cuda_on_cpu import COMPILER, cpu_backend, gpu_like_backend, why_no_gpu_rounding

SIZES, BATCH = (5, 6, 4, 3), 2
LOSSES = ("softmax-cross-entropy", "mse")
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
BACKENDS = {"numpy": NumpyBackend, "numba": NumbaBackend}
if COMPILER:
    BACKENDS["cuda on a CPU"] = cpu_backend()
if not why_no_gpu_rounding():
    BACKENDS["cuda on a CPU, rounding as a GPU"] = gpu_like_backend()


def gains():
    """κ from 1e-3 to 1e15 by either gain, and by the leak."""
    for exponent in range(-3, 16):
        yield {"controller": Controller(k_p=10.0**exponent, k_i=0.0)}
        yield {"controller": Controller(k_p=0.0, k_i=10.0**exponent)}
    for exponent in range(13):
        yield {"controller": Controller(leak=10.0**-exponent)}


def sharpnesses():
    for exponent in range(-3, 7):
        phi = SoftReLU(sharpness=10.0**exponent)
        yield from ({"activation_E": phi}, {"activation_I": phi})
        yield {"activation_E": phi, "activation_I": phi}


def mixtures(count):
    """Everything at once, drawn at random."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        k_p, k_i, leak = 10 ** generator.uniform([-3, -3, -12], [15, 15, 0])
        sharp = 10 ** generator.uniform(-3, 6, size=2)
        scale, shift = generator.uniform(0.5, 2, size=2), generator.uniform(-1, 1, size=2)
        yield {
            "controller": Controller(float(k_p), float(k_i), float(leak)),
            "activation_E": SoftReLU(float(scale[0]), float(sharp[0]), float(shift[0])),
            "activation_I": SoftReLU(float(scale[1]), float(sharp[1]), float(shift[1])),
            "feedback": Feedback(
                average=bool(generator.integers(2)),
                strong=bool(generator.integers(2)),
                norm=float(10 ** generator.uniform(-1, 1)),
            ),
        }


def corners(count):
    """Gains that users set, and neurons that bend sharply where their potentials lie."""
    generator = np.random.default_rng(7)
    for _ in range(count):
        gains = 10 ** generator.uniform([-2, -2, -3], [4, 4, 0])
        sharp, shift = 10 ** generator.uniform(0, 5, size=2), generator.uniform(-0.5, 0.5, size=2)
        yield {
            "controller": Controller(*map(float, gains)),
            "activation_E": SoftReLU(1.0, float(sharp[0]), float(shift[0])),
            "activation_I": SoftReLU(1.0, float(sharp[1]), float(shift[1])),
        }


ALL = [*gains(), *sharpnesses(), *mixtures(100), *corners(50)]
SAMPLE = [*itertools.islice(gains(), 2, None, 13), *itertools.islice(sharpnesses(), 1, None, 13)]
SAMPLE += [*mixtures(2), *corners(1)]
KINDS = [*itertools.product(LOSSES, DTYPES)]


def task(dtype, loss, seed):
    generator = np.random.default_rng(seed)
    start = initial_parameters(SIZES, generator)
    parameters = Parameters(
        tuple(1.5 * W for W in start.weights),
        tuple(generator.normal(0, 0.3, b.shape) for b in start.biases),
        1.5 * start.readout,
    ).astype(dtype)
    x = generator.random((BATCH, SIZES[0])).astype(dtype)
    if loss == "mse":
        return parameters, x, generator.normal(size=(BATCH, SIZES[-1])).astype(dtype)
    # Softened labels, and one that is not.
    y = np.full((BATCH, SIZES[-1]), 0.005)
    y[0, generator.integers(SIZES[-1])] = 0.99
    y[1] = np.eye(SIZES[-1])[generator.integers(SIZES[-1])]
    return parameters, x, y.astype(dtype)


def stages(kind, configuration, dtype, seed):
    """Closed loop of a backend, the stages before it, and which samples it says it found."""
    parameters, x, y = task(dtype, configuration.loss, seed)
    backend = kind(configuration, parameters, dtype, Solver(horizon=1.0, max_steps=2000))
    ends = []
    open_loop, _ = backend.open_loop(x)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    # Sample by sample, for the counts tell how many.
    for b in range(BATCH):
        one = slice(b, b + 1)
        start = type(open_loop)(
            tuple(u[one] for u in open_loop.u_E), tuple(u[one] for u in open_loop.u_I),
            open_loop.u_out[one], open_loop.z[one],
        )  # fmt: skip
        Q_b = tuple(q[one] if len(q) > 1 else q for q in Q)
        state, counts = backend.closed_loop(x[one], Q_b, target[one], start)
        ends.append((state, Q_b, target[b], counts.unsettled == 0))
    return parameters, x, ends


def rounding(configuration, dtype, exact):
    """What the output of a right end state may be off by, beside what is left of c."""
    eps = float(np.finfo(dtype).eps)
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    # A potential is known to ε of itself and of the drives and rates that make it; a rate to
    # that times its slope, which the inhibition of its own pair, 1 / (1 + φ_E' φ_I'), limits;
    # each layer hands it on by weights of order 1.
    largest = max(abs(v) for layer in (*exact.u_E, *exact.u_I) for v in layer)
    steep = 1 + phi_E.scale * phi_E.sharpness + phi_I.scale * phi_I.sharpness
    return 8 * eps * steep * float(1 + largest)


def check(configuration, dtype, seed):
    """Count samples: right, silently wrong, unsettled, and those of which the oracle has no end."""
    counts = dict.fromkeys(("right", "wrong", "unsettled", "untold"), 0)
    wrong = []
    for name, kind in BACKENDS.items():
        parameters, x, ends = stages(kind, configuration, dtype, seed)
        exact_parameters = (
            [
                (longer_arithmetic.numbers(W), longer_arithmetic.numbers(b)[0])
                for W, b in zip(parameters.weights, parameters.biases, strict=True)
            ],
            longer_arithmetic.numbers(parameters.readout),
        )
        controller = configuration.controller
        gain = controller.k_p * controller.leak + controller.k_i
        for b, (state, Q, target, is_settled) in enumerate(ends):
            if not is_settled:
                counts["unsettled"] += 1
                continue
            with mp.workdps(longer_arithmetic.DIGITS):
                try:
                    exact = longer_arithmetic.closed_loop(
                        configuration,
                        exact_parameters,
                        longer_arithmetic.numbers(x[b])[0],
                        [longer_arithmetic.numbers(q[0]) for q in Q],
                        longer_arithmetic.numbers(target)[0],
                        state.z[0].astype(float) * gain,
                    )
                except ArithmeticError:
                    counts["untold"] += 1
                    continue
                kappa = controller.k_p + controller.k_i / controller.leak
                c, u_out = (float(max(map(abs, v))) for v in (exact.c, exact.u_out))
                share = min(kappa, 1.0)
                stop = float(np.finfo(dtype).eps) ** 0.75 * (c + share * (1 + u_out))
                noise = rounding(configuration, dtype, exact)
                off = {
                    "c": off_by(state.z[0] * np.float64(gain), exact.c) if gain else 0.0,
                    "u_out": off_by(state.u_out[0], exact.u_out),
                }
                # What is left of c moves the output by D.
                response = float(mp.mnorm(exact.D.T, mp.inf))
                allowed = {"c": 2 * stop + share * noise, "u_out": 2 * stop * response + noise}
            bad = [key for key in off if not off[key] <= allowed[key]]
            counts["wrong" if bad else "right"] += 1
            if bad:
                wrong.append(f"{name}, {dtype}, sample {b}: {off} allowed {allowed}")
    return counts, wrong


def off_by(found, exact):
    return float(max(abs(mp.mpf(float(a)) - b) for a, b in zip(found, exact, strict=True)))


def sweep(cases, record_property, first_seed=0):
    totals, all_wrong = dict.fromkeys(("right", "wrong", "unsettled", "untold", "refused"), 0), []
    for seed, (changes, (loss, dtype)) in enumerate(cases, first_seed):
        configuration = NetworkConfiguration(sizes=SIZES, loss=loss, **changes)
        try:
            counts, wrong = check(configuration, dtype, seed)
        except ConfigurationError:
            totals["refused"] += BATCH * len(BACKENDS)
            continue
        for key, count in counts.items():
            totals[key] += count
        all_wrong += [f"{changes} {loss} {line}" for line in wrong]
    record_property("measured", f"end states at extreme settings, {len(cases)} cases: {totals}")
    print(totals)
    assert all_wrong == []
    assert totals["untold"] <= 0.01 * sum(totals.values())
    assert totals["unsettled"] + totals["refused"] <= 0.05 * sum(totals.values())


def test_a_sample_of_extreme_settings_is_right_or_said(record_property):
    """Every setting with one loss and precision, in turns."""
    sweep([*zip(SAMPLE, itertools.cycle(KINDS))], record_property)


def test_a_step_within_rounding_far_from_the_neuron_s_root(record_property):
    """By two such steps in a row, one neuron was 10^5 roundings off, and c by 0.65."""
    sharpest = [*mixtures(127)][126]
    assert sharpest["activation_I"].sharpness > 1e5
    sweep([(sharpest, ("mse", np.dtype(np.float32)))], record_property, first_seed=126)


@pytest.mark.slow
def test_every_extreme_setting_is_right_or_said(record_property):
    sweep([*itertools.product(ALL, KINDS)], record_property)


@pytest.mark.parametrize("kind", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize(
    "controller",
    [{"k_p": 1e6}, {"k_i": 1e6}, {"leak": 1e-6}, {"leak": 1e-12}, {"k_p": 1e13}],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_at_great_gain_the_output_is_the_target(kind, controller, dtype):
    """c = κ e is bounded by what moves the output, so that e goes with 1/κ."""
    configuration = NetworkConfiguration(
        sizes=SIZES, loss="mse", controller=Controller(**controller)
    )
    parameters, x, y = task(dtype, "mse", 0)
    backend = kind(configuration, parameters, dtype, Solver())
    metrics = backend.learning_step(x, y)
    assert metrics.closed_loop_counts.unsettled == 0
    kappa = configuration.controller.steady_gain
    assert metrics.closed_loop_loss <= (10 / kappa) ** 2 + (100 * np.finfo(dtype).eps ** 0.75) ** 2


@pytest.mark.parametrize("kind", BACKENDS.values(), ids=BACKENDS)
def test_weights_whose_squares_underflow_are_normalised_all_the_same(kind):
    for dtype, clip in ((np.float32, 1e-30), (np.float64, 1e-200)):
        parameters, x, _ = task(dtype, "mse", 0)
        feedback = Feedback(clip=clip)
        configuration = NetworkConfiguration(sizes=SIZES, feedback=feedback)
        backend = kind(configuration, parameters, dtype, Solver())
        open_loop, _ = backend.open_loop(x)
        for average in (False, True):
            changed = dataclasses.replace(feedback, average=average)
            backend = kind(
                dataclasses.replace(configuration, feedback=changed), parameters, dtype, Solver()
            )
            for Q in backend.feedback_weights(open_loop):
                norm = np.linalg.norm(Q.astype(np.float64), axis=(-2, -1))
                np.testing.assert_allclose(norm, 1, rtol=1e-6)


@pytest.mark.parametrize("kind", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize(
    "slow",
    [{"controller": Controller(tau=1000.0)}, {"tau_E": 1e6}, {"tau_I": 1e6}],
    ids=["tau", "tau_E", "tau_I"],
)
def test_a_state_that_crawls_has_not_settled(kind, slow):
    parameters, x, y = task(np.float64, "softmax-cross-entropy", 0)
    configuration = NetworkConfiguration(sizes=SIZES, **slow)
    for settled, unsettled in (("distance", BATCH), ("published", 0)):
        solver = Solver(method="tsit5", settled=settled)
        backend = kind(configuration, parameters, np.float64, solver)
        metrics = backend.learning_step(x, y)
        assert metrics.closed_loop_counts.unsettled == unsettled
