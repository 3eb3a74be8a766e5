"""What every backend promises, for every backend that can run here."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends import Backend
from disinhib.backends.backend import evaluation_of_replica, joined, metrics_of_replica
from disinhib.refimpl.circuit import (
    Controller,
    Parameters,
    initial_parameters,
    resting_state,
)
from disinhib.refimpl.configuration import (
    ArgumentError,
    ConfigurationError,
    NetworkConfiguration,
    Solver,
)
from disinhib.refimpl.end_state import Recording
from disinhib.validation.judge.stages import state_arrays
from disinhib.validation.storage.arrays import named_arrays

from .implementations import IMPLEMENTATIONS, implementation

SIZES = (7, 6, 5, 3)
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
RULES = ["exact-inverse", "linear-threshold", "linear-threshold-fixed", "backprop"]

pytestmark = [
    pytest.mark.parametrize("name", IMPLEMENTATIONS),
    pytest.mark.parametrize("dtype", DTYPES),
]


def data(n=40, dtype=np.float64):
    generator = np.random.default_rng(2)
    x = generator.random((n, SIZES[0]))
    y = np.full((n, SIZES[-1]), 0.005)
    y[np.arange(n), generator.integers(0, SIZES[-1], n)] = 0.99
    return x.astype(dtype), y.astype(dtype)


def build(name, dtype, rule="exact-inverse", method="fixed-point", parameters=None) -> Backend:
    configuration = NetworkConfiguration(sizes=SIZES, rule=rule)
    if parameters is None:
        parameters = initial_parameters(SIZES, np.random.default_rng(1))
    return implementation(name)(configuration, parameters, dtype, Solver(method=method))


def test_is_a_backend(name, dtype):
    assert isinstance(build(name, dtype), Backend)


def test_everything_comes_out_in_the_dtype_asked_for(name, dtype):
    other = np.float32 if dtype == np.float64 else np.float64
    x, y = data(4, other)
    backend = build(name, dtype, "linear-threshold")
    open_loop, _ = backend.open_loop(x)
    r_bar = backend.mean_inhibition(open_loop)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    closed_loop, _ = backend.closed_loop(x, Q, target, open_loop)
    gradients = backend.gradients(x, y, open_loop, closed_loop, r_bar)
    backend.update(gradients, r_bar)
    recording = Recording(n_steps=4, every=2)
    path = backend.closed_loop_trajectory(recording, x, Q, target, open_loop)
    learner = backend.learner()
    arrays = [
        *state_arrays(open_loop).values(),
        *state_arrays(closed_loop).values(),
        *state_arrays(backend.open_loop_trajectory(recording, x)).values(),
        *state_arrays(path).values(),
        *r_bar,
        *Q,
        target,
        *named_arrays(gradients).values(),
        *named_arrays(learner.parameters).values(),
        *named_arrays(learner.optimizer.first_moment).values(),
        *named_arrays(learner.optimizer.second_moment).values(),
        *learner.mean_inhibition,
    ]
    assert {type(a) for a in arrays} == {np.ndarray}
    assert {a.dtype for a in arrays} == {dtype}
    metrics = backend.train(backend.place(x, y), np.array([[0, 1], [2, 3]]))
    evaluation = backend.evaluate(backend.place(x, y))
    assert metrics.loss.dtype == metrics.closed_loop_loss.dtype == np.float64
    assert metrics.n_correct.dtype == np.int64
    assert evaluation.loss.dtype == evaluation.accuracy.dtype == np.float64


@pytest.mark.parametrize("rule", RULES)
def test_samples_right_under_control_are_those_of_the_closed_loop_s_outputs(name, dtype, rule):
    """Counted by hand of the stages, before the one step that each network takes."""
    x, y = data()
    right, right_in_open_loop = 0, 0
    for batch in np.arange(40).reshape(2, 20):
        backend = build(name, dtype, rule)
        open_loop, _ = backend.open_loop(x[batch]) if rule != "backprop" else (None, None)
        wanted = None
        if open_loop is not None:
            Q = backend.feedback_weights(open_loop)
            target = backend.closed_loop_target(open_loop, y[batch])
            u_out = backend.closed_loop(x[batch], Q, target, open_loop)[0].u_out
            wanted = [
                sum(
                    list(u).index(max(u)) == list(label).index(0.99)
                    for u, label in zip(u_out.tolist(), y[batch].tolist(), strict=True)
                )
            ]
        metrics = backend.train(backend.place(x, y), batch[None])
        found = metrics.closed_loop_n_correct
        assert (None if found is None else found.tolist()) == wanted
        if found is not None:
            assert found.dtype == np.int64
            right, right_in_open_loop = right + found[0], right_in_open_loop + metrics.n_correct[0]
    # Control knows the labels.
    assert rule == "backprop" or right > right_in_open_loop


@pytest.mark.parametrize("rule", RULES)
def test_an_epoch_in_parts_is_the_epoch_as_a_whole(name, dtype, rule):
    x, y = data()
    order = np.random.default_rng(3).permutation(40).reshape(8, 5)
    whole, parts = build(name, dtype, rule), build(name, dtype, rule)
    expected = whole.train(whole.place(x, y), order)
    placed = parts.place(x, y)
    found = joined([parts.train(placed, order[:3]), parts.train(placed, order[3:])])
    np.testing.assert_array_equal(found.loss, expected.loss)
    np.testing.assert_array_equal(found.n_correct, expected.n_correct)
    np.testing.assert_array_equal(found.closed_loop_n_correct, expected.closed_loop_n_correct)
    assert found.open_loop_counts == expected.open_loop_counts
    for a, b in zip(
        named_arrays(parts.learner().parameters).values(),
        named_arrays(whole.learner().parameters).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rule", RULES)
def test_a_learner_taken_out_and_put_in_goes_on_alike(name, dtype, rule):
    x, y = data()
    order = np.arange(40).reshape(8, 5)
    first = build(name, dtype, rule)
    first.train(first.place(x, y), order[:4])
    second = build(name, dtype, rule)
    second.load(first.learner())
    taken_out = first.learner()
    first.train(first.place(x, y), order[4:])
    second.train(second.place(x, y), order[4:])
    for a, b in zip(
        named_arrays(first.learner().parameters).values(),
        named_arrays(second.learner().parameters).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    # What was taken out is a copy: training on does not reach it.
    assert taken_out.optimizer.n_steps == 4
    changed = named_arrays(first.learner().parameters)["readout/weight"]
    assert np.any(changed != taken_out.parameters.readout)


@pytest.mark.parametrize("rule", RULES)
def test_stages_in_order_are_a_learning_step(name, dtype, rule):
    x, y = data(6)
    staged, at_once = build(name, dtype, rule), build(name, dtype, rule)
    if rule == "backprop":
        # Of its network no states are used.
        open_loop = closed_loop = resting_state(staged.learner().parameters, x.astype(dtype))
        r_bar = staged.learner().mean_inhibition
    else:
        open_loop, _ = staged.open_loop(x)
        r_bar = staged.mean_inhibition(open_loop)
        Q = staged.feedback_weights(open_loop)
        target = staged.closed_loop_target(open_loop, y)
        closed_loop, _ = staged.closed_loop(x, Q, target, open_loop)
    staged.update(staged.gradients(x, y, open_loop, closed_loop, r_bar), r_bar)
    at_once.learning_step(x, y)
    a, b = staged.learner(), at_once.learner()
    atol = 1e-12 if dtype == np.float64 else 1e-5
    for p, q in zip(
        (*named_arrays(a.parameters).values(), *a.mean_inhibition),
        (*named_arrays(b.parameters).values(), *b.mean_inhibition),
        strict=True,
    ):
        np.testing.assert_allclose(p, q, rtol=0, atol=atol)


def test_a_plain_network_is_not_asked_for_the_states_of_a_circuit(name, dtype):
    """numba answered with zeros, and an evaluation that took them for outputs was none."""
    x, y = data(6)
    backend, circuit = build(name, dtype, "backprop"), build(name, dtype, "exact-inverse")
    open_loop, _ = circuit.open_loop(x)
    Q, target = circuit.feedback_weights(open_loop), circuit.closed_loop_target(open_loop, y)
    recording = Recording(n_steps=2)
    for stage, arguments in {
        "open_loop": (x,),
        "mean_inhibition": (open_loop,),
        "feedback_weights": (open_loop,),
        "closed_loop_target": (open_loop, y),
        "closed_loop": (x, Q, target, open_loop),
        "open_loop_trajectory": (recording, x),
        "closed_loop_trajectory": (recording, x, Q, target, open_loop),
    }.items():
        with pytest.raises(ArgumentError, match=f"^{stage}: the network of the rule 'backprop'"):
            getattr(backend, stage)(*arguments)


def test_whole_number_inputs_are_divided_by_their_full_scale(name, dtype):
    _, y = data(10)
    counts = np.random.default_rng(0).integers(0, 17, (10, SIZES[0])).astype(np.uint8)
    backend = build(name, dtype)
    small = backend.evaluate(backend.place(counts, y, full_scale=16))
    scaled = backend.evaluate(backend.place(counts / 16, y))
    np.testing.assert_array_equal(small.loss, scaled.loss)
    with pytest.raises(ValueError, match="need full_scale"):
        backend.place(counts, y)


def test_evaluation_is_the_mean_over_all_samples_whatever_the_batches(name, dtype):
    x, y = data(37)
    backend = build(name, dtype)
    placed = backend.place(x, y)
    whole, parts = backend.evaluate(placed), backend.evaluate(placed, batch_size=5)
    rtol = 1e-12 if dtype == np.float64 else 1e-6
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=rtol)
    u_out = backend.open_loop(x)[0].u_out
    right = np.mean(np.argmax(u_out, axis=-1) == np.argmax(y, axis=-1))
    assert whole.accuracy == parts.accuracy == pytest.approx(right)


@pytest.mark.parametrize("method", ["fixed-point", "tsit5"])
def test_replicas_train_as_if_alone(name, dtype, method):
    """Shared data, an order of batches of its own for each."""
    x, y = data()
    networks = [initial_parameters(SIZES, np.random.default_rng(s)) for s in range(3)]
    stack = Parameters(
        tuple(np.stack(w) for w in zip(*(n.weights for n in networks), strict=True)),
        tuple(np.stack(b) for b in zip(*(n.biases for n in networks), strict=True)),
        np.stack([n.readout for n in networks]),
    )
    orders = np.stack([np.random.default_rng(s).permutation(40).reshape(8, 5) for s in range(3)])
    together = build(name, dtype, method=method, parameters=stack)
    metrics = together.train(together.place(x, y), np.swapaxes(orders, 0, 1))
    evaluation = together.evaluate(together.place(x, y), batch_size=15)
    # The reference works on all at once, and counts them together.
    assert (metrics.replica_counts is None) == (evaluation.replica_counts is None)
    assert (metrics.replica_counts is None) == (name == "numpy")
    for s in range(3):
        alone = build(name, dtype, method=method, parameters=networks[s])
        expected = alone.train(alone.place(x, y), orders[s])
        if metrics.replica_counts is not None:
            own = metrics_of_replica(joined([metrics, metrics]), s)
            assert own.loss.shape == (16,)
            for counts, counts_alone in (
                (own.open_loop_counts, expected.open_loop_counts),
                (own.closed_loop_counts, expected.closed_loop_counts),
            ):
                assert counts == counts_alone + counts_alone
                if method == "tsit5":
                    assert counts.mean_steps == pytest.approx(counts_alone.mean_steps, rel=0.01)
            evaluated = alone.evaluate(alone.place(x, y), batch_size=15)
            assert evaluation_of_replica(evaluation, s).counts == evaluated.counts
        np.testing.assert_allclose(
            metrics.loss[:, s], expected.loss, rtol=1e-10 if dtype == np.float64 else 1e-3
        )
        np.testing.assert_array_equal(metrics.n_correct[:, s], expected.n_correct)


def test_what_cannot_be_is_refused_at_once(name, dtype):
    kind = implementation(name)
    parameters = initial_parameters((7, 6, 3), np.random.default_rng(0))
    with pytest.raises(ArgumentError, match="need 2 of each"):
        kind(NetworkConfiguration(sizes=SIZES), parameters, dtype, Solver())
    leakless = NetworkConfiguration(sizes=(7, 6, 3), controller=Controller(leak=0.0))
    with pytest.raises(ConfigurationError, match="leak is 0"):
        kind(leakless, parameters, dtype, Solver())
    plain = dataclasses.replace(leakless, rule="backprop")
    assert kind(plain, parameters, dtype, Solver()).dtype == dtype
    with pytest.raises(ConfigurationError, match="choose one of float32, float64"):
        kind(plain, parameters, "float16", Solver())
