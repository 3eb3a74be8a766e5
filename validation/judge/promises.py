"""What a backend promises beside the numbers of a trace.

No sample and no replica depends on the others, be they never so odd; an output that is no number is
never right; what rounding drowns is not said to be found. A trace has one network, whose samples
are all well: here are networks of which the right end is known without computing it, or from each
part computed by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ...backends import Backend
from ...refimpl import (
    ConfigurationError,
    Controller,
    Feedback,
    FeedbackWeights,
    NetworkConfiguration,
    NetworkState,
    Optimizer,
    Parameters,
    Setting,
    SoftReLU,
    Solver,
    initial_parameters,
    rate,
    tolerances_to_rest,
)
from ..storage import named_arrays
from ..trace import StandardCase, case_data
from .conformance import wrong_counts
from .settling import integrations, judge_distance, judge_steps
from .stages import Arrays, state_arrays
from .tolerance import float_arithmetic
from .verdict import Comparison, StageResult, judged, own_scale, state_scale


def judge_promises(
    kind: type[Backend], dtype: np.dtype, has_its_own_way: bool = True
) -> Iterator[StageResult]:
    """Judge what is asked of a backend beside a trace, one promise after the other.

    Parameters
    ----------
    kind : type
        A backend.
    dtype : numpy.dtype
        Precision to run it in. How it integrates is asked in float64 alone: in fewer digits
        rounding may decide whether a step is kept.
    has_its_own_way : bool
        Whether it may integrate by other steps than the solver says, search for end states
        otherwise than the reference does, and refuse what it does not offer; what it comes to is
        judged.
    """
    for judge in _promises(dtype, has_its_own_way):
        try:
            yield judge(kind)
        except (ConfigurationError, NotImplementedError):
            if not has_its_own_way:
                raise


def _promises(
    dtype: np.dtype, has_its_own_way: bool
) -> Iterator[Callable[[type[Backend]], StageResult]]:
    yield partial(judge_samples, dtype=dtype, may_give_up=has_its_own_way)
    for judge in (judge_beside_a_great_one, judge_replicas, judge_no_number):
        yield partial(judge, dtype=dtype)
    if not has_its_own_way:
        for judge in (judge_labels, judge_drowned, judge_sharp):
            yield partial(judge, dtype=dtype)
    for one in integrations() if dtype == np.float64 else ():
        if not has_its_own_way:
            yield partial(judge_steps, one=one)
        if one.has_rest:
            yield partial(judge_distance, one=one)


# Samples.

PAIR = NetworkConfiguration(
    sizes=(2, 2, 2), loss="mse", controller=Controller(k_p=0.5, k_i=0.5, leak=1.0)
)
"""A gain of 1. With weights of 1 and a large bias, all slopes are 1 in open loop."""
BIAS, TARGET = 120.0, 80.0
SINGULAR_FEEDBACK = -4.0
"""It takes 4 c to the inhibitory units, so that an output of 60 − 2 c + c goes against the control,
by as much as the error asks for: Newton's matrix is 0 to the last bit."""


def judge_samples(kind: type[Backend], dtype: np.dtype, may_give_up: bool = True) -> StageResult:
    """Judge samples of which one makes Newton's matrix singular.

    In open loop every u_E is half of what drives it, as u_I = u_E = a − u_I. Under control the odd
    one rests where the excitatory units are silent: u_out = c = 80 − u_out, so that u_out, c and
    the integral are 40; whoever may give up may say that it is no number. The others come to where
    they come by themselves.
    """
    backend = kind(PAIR, _pair(dtype), dtype, Solver())
    x, target = np.zeros((3, 2), dtype), np.full((3, 2), TARGET, dtype)
    x[1:] = [[0.5, -0.25], [-1.0, 2.0]]
    open_loop, _ = backend.open_loop(x)
    Q = np.array([SINGULAR_FEEDBACK, 1.0, 0.5], dtype)[:, None, None] * np.eye(2, dtype=dtype)
    together, counts = backend.closed_loop(x, (Q,), target, open_loop)
    half = (x + BIAS) / 2
    pairs = [(dict.fromkeys(("u_E_0", "u_I_0", "u_out"), half), state_arrays(open_loop))]
    others = _by_themselves(backend, x, (Q,), target, open_loop)
    pairs.append((others, state_arrays(_samples(together, slice(1, None)))))
    if not (may_give_up and np.all(np.isnan(together.u_out[0]))):
        known = np.full((1, 2), TARGET / 2)
        found = state_arrays(_samples(together, slice(1)))
        pairs.append(({"u_out": known, "c_int": known}, found))
    # An integration that stands in for a search is known to its own tolerance.
    tolerance = 10 * tolerances_to_rest(dtype)[0]
    result = _compared("samples by themselves", dtype, pairs, tolerance, is_state=True)
    problem = wrong_counts(counts, len(x))
    if result.passed and problem:
        return dataclasses.replace(result, used=float(np.inf), element=None, problem=problem)
    return result


def _by_themselves(
    backend: Backend,
    x: np.ndarray,
    Q: FeedbackWeights,
    target: np.ndarray,
    open_loop: NetworkState,
) -> Arrays:
    """Closed-loop end states of all samples but the first, each computed alone."""
    alone = []
    for i in range(1, len(x)):
        rows = slice(i, i + 1)
        given = (x[rows], tuple(Q_l[rows] for Q_l in Q), target[rows], _samples(open_loop, rows))
        alone.append(state_arrays(backend.closed_loop(*given)[0]))
    return {name: np.concatenate([one[name] for one in alone]) for name in alone[0]}


def _pair(dtype: np.dtype) -> Parameters:
    one = np.eye(2, dtype=dtype)
    return Parameters((one,), (np.full(2, BIAS, dtype),), one)


def _samples(state: NetworkState, rows: slice) -> NetworkState:
    return NetworkState(
        tuple(u[rows] for u in state.u_E),
        tuple(u[rows] for u in state.u_I),
        state.u_out[rows],
        state.z[rows],
    )


GREAT = 1e6


def judge_beside_a_great_one(kind: type[Backend], dtype: np.dtype) -> StageResult:
    """Judge samples beside one whose control is a million times theirs, by each of them alone.

    What rounding does to it, or a search leaves of it, is to be no measure for them.
    """
    network = NetworkConfiguration(sizes=(6, 7, 5, 4), loss="mse")
    parameters, inputs, labels = case_data(StandardCase("beside a great one", network))
    backend = kind(network, parameters, dtype, Solver())
    x, target = inputs[0].astype(dtype), labels[0].astype(dtype)
    target[0] = GREAT * np.sign(target[0])
    open_loop, _ = backend.open_loop(x)
    Q = backend.feedback_weights(open_loop)
    together, _ = backend.closed_loop(x, Q, target, open_loop)
    others = state_arrays(_samples(together, slice(1, None)))
    expected = _by_themselves(backend, x, Q, target, open_loop)
    return _compared(
        "samples beside a great one",
        dtype,
        [(expected, others)],
        _left_by_searches(dtype),
        is_state=True,
    )


def _left_by_searches(dtype: np.dtype) -> float:
    """What two searches may leave, each ε^¾ (section 6), and what is ten times as small as they."""
    return 10 * float(np.finfo(dtype).eps) ** 0.75


def judge_labels(kind: type[Backend], dtype: np.dtype) -> StageResult:
    """Judge labels that sum to 1 but for rounding, n of them to within n ε, at a great gain.

    Their control then sums to 0, as no softmax answers to equal controls (section 6): taken at
    their word, half of n ε would be magnified by the gain.
    """
    gain = 0.1 / np.finfo(dtype).eps ** 0.65
    network = NetworkConfiguration(sizes=(6, 5, 24), controller=Controller(0.0, gain, leak=1.0))
    parameters, inputs, labels = case_data(StandardCase("labels that sum to 1", network))
    x, target = inputs[0, :3].astype(dtype), labels[0, :3].astype(dtype)
    n_out = target.shape[-1]
    largest_of = (np.arange(len(x)), np.argmax(target, axis=-1))
    target[largest_of] += np.array([0.5, -0.5, 0.5]) * n_out * np.finfo(dtype).eps
    backend = kind(network, parameters, dtype, Solver())
    open_loop, _ = backend.open_loop(x)
    Q = backend.feedback_weights(open_loop)
    state, _ = backend.closed_loop(x, Q, target, open_loop)
    share = np.sum(state.z.astype(np.float64), axis=-1) / np.max(np.abs(state.z), axis=-1)
    allowed = 2 * n_out * float(np.finfo(dtype).eps)
    comparison = Comparison(
        None, {"c_int": np.zeros_like(share)}, {"c_int": share}, {"c_int": allowed}
    )
    return judged(
        "labels that sum to 1", [comparison], 0.0, "rounding", own_scale, float_arithmetic(dtype)
    )


def judge_drowned(kind: type[Backend], dtype: np.dtype) -> StageResult:
    """Judge a control signal whose rounding drowns what it tells the neurons (section 6).

    At a gain of 10¹⁰ an output that cannot be negative is asked to be. No search is to say that it
    found where that ends; units that get no feedback are not drowned, and change nothing.
    """
    network = dataclasses.replace(
        PAIR,
        controller=Controller(k_p=0.0, k_i=1e10, leak=1.0),
        feedback=Feedback(to_readout=False),
    )
    backend = kind(network, _pair(dtype), dtype, Solver(max_steps=50))
    x, target = np.zeros((3, 2), dtype), np.full((3, 2), -1, dtype)
    open_loop, _ = backend.open_loop(x)
    Q = np.broadcast_to(np.array([[1.0, 0.0], [1.0, 0.0]], dtype), (3, 2, 2))
    _, counts = backend.closed_loop(x, (np.ascontiguousarray(Q),), target, open_loop)
    found = {"found": np.asarray(float(counts.frozen_newton + counts.fresh_newton))}
    integrated = {"integrated": np.asarray(float(counts.integrated))}
    pairs = [({"found": np.zeros(())}, found), ({"integrated": np.full((), 3.0)}, integrated)]
    return _compared("what rounding drowns", dtype, pairs, 0.0)


def judge_sharp(kind: type[Backend], dtype: np.dtype) -> StageResult:
    """Judge neurons so sharp that Newton's steps cannot be told from rounding (section 6).

    All are to be found all the same, each where its own equation says, which grows with u_E and is
    solved here by halving an interval. With a bend of φ_E below rest, where the search begins, it
    comes to places where the inhibition falls faster than rounding can follow, far from the root.
    """
    one, n_integrated = np.eye(8, dtype=dtype), 0
    parameters = Parameters((one,), (np.zeros(8, dtype),), one[:, :2])
    x = np.random.default_rng(8).uniform(-2, 2, (25, 8)).astype(dtype)
    pairs: list[tuple[Arrays, Arrays]] = []
    for times, shift in ((16, 0.3), (16, -0.3), (0.7, -0.3)):
        sharpness = times / float(np.sqrt(np.finfo(dtype).eps))
        phi_E, phi_I = SoftReLU(1.0, sharpness, shift), SoftReLU(1.0, sharpness, 0.1)
        network = NetworkConfiguration(sizes=(8, 8, 2), activation_E=phi_E, activation_I=phi_I)
        state, counts = kind(network, parameters, dtype, Solver(max_steps=1)).open_loop(x)
        n_integrated += counts.integrated
        low, high = np.full(x.shape, -3.0), np.full(x.shape, 3.0)
        for _ in range(80):
            middle = (low + high) / 2
            is_above = middle + rate(phi_I, rate(phi_E, middle)) > x
            low, high = np.where(is_above, low, middle), np.where(is_above, middle, high)
        pairs.append(({"u_E_0": high}, {"u_E_0": state.u_E[0]}))
    result = _compared("sharp neurons", dtype, pairs, 10 * float(np.finfo(dtype).eps))
    if result.passed and n_integrated:
        problem = f"{n_integrated} of {len(pairs) * len(x)} samples were not found"
        return dataclasses.replace(result, used=float(np.inf), element=None, problem=problem)
    return result


# Replicas.

RATES, NORMS = (0.1, 0.03, 0.2), (1.0, 2.0, 0.5)


def judge_replicas(kind: type[Backend], dtype: np.dtype) -> StageResult:
    """Judge a learning step of replicas with settings of their own by that of each by itself."""
    generator = np.random.default_rng(len(RATES))
    sizes = (4, 5, 5, 3)
    drawn = [initial_parameters(sizes, generator) for _ in RATES]
    together = Parameters(
        tuple(np.stack(layer) for layer in zip(*(one.weights for one in drawn), strict=True)),
        tuple(np.stack(layer) for layer in zip(*(one.biases for one in drawn), strict=True)),
        np.stack([one.readout for one in drawn]),
    )
    x = generator.uniform(size=(len(RATES), 5, sizes[0])).astype(dtype)
    y = generator.dirichlet(np.ones(sizes[-1]), size=(len(RATES), 5)).astype(dtype)

    def step(
        parameters: Parameters, rate: Setting, norm: Setting, x: np.ndarray, y: np.ndarray
    ) -> Arrays:
        network = NetworkConfiguration(
            sizes=sizes,
            feedback=Feedback(average=True, norm=norm),
            optimizer=Optimizer("sgd", learning_rate=rate),
        )
        backend = kind(network, parameters, dtype, Solver())
        backend.learning_step(x, y)
        return dict(named_arrays(backend.learner().parameters))

    rates, norms = (np.reshape(values, (-1, 1, 1)) for values in (RATES, NORMS))
    found = step(together, rates, norms, x, y)
    alone = [step(*given) for given in zip(drawn, RATES, NORMS, x, y, strict=True)]
    expected = {name: np.stack([one[name] for one in alone]) for name in found}
    return _compared("replicas by themselves", dtype, [(expected, found)], _left_by_searches(dtype))


# What is no number.


def judge_no_number(kind: type[Backend], dtype: np.dtype) -> StageResult:
    """Judge an output beyond all numbers, which is the label's: it is not to count as right."""
    network = NetworkConfiguration(sizes=(2, 2, 3), rule="backprop")
    most = np.finfo(dtype).max
    readout = np.array([[most, 1.0, 2.0], [most, 0.5, 1.0]], dtype)
    parameters = Parameters((np.eye(2, dtype=dtype),), (np.full(2, 5.0, dtype),), readout)
    x, y = np.ones((4, 2), dtype), np.tile(np.array([0.8, 0.1, 0.1], dtype), (4, 1))
    with np.errstate(all="ignore"):
        metrics = kind(network, parameters, dtype, Solver()).learning_step(x, y)
    found = {"n_correct": np.asarray(metrics.n_correct, dtype=np.float64)}
    return _compared("what is no number", dtype, [({"n_correct": np.zeros(())}, found)], 0.0)


def _compared(
    name: str,
    dtype: np.dtype,
    pairs: list[tuple[Arrays, Arrays]],
    tolerance: float,
    is_state: bool = False,
) -> StageResult:
    """Judge pairs of what is expected and what was found."""
    comparisons = [
        Comparison(None, expected, found, dict.fromkeys(expected, 0.0)) for expected, found in pairs
    ]
    unit_of = state_scale if is_state else own_scale
    return judged(name, comparisons, tolerance, "trace", unit_of, float_arithmetic(dtype))
