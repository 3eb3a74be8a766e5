"""Learning from inside and the circuit's traces: what is measured against what it should be."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends import backend_class
from disinhib.datasets.dataset import random_generator
from disinhib.datasets.load import load_dataset
from disinhib.experiments.paper.figures import circuit, learning as figure
from disinhib.experiments.paper.probes import (
    angle,
    layer_vectors,
    learning_course,
    learning_courses,
    open_loop_gradient,
    probe,
)
from disinhib.refimpl.circuit import (
    Parameters,
    initial_parameters,
    pack,
    sample_loss,
    slope,
    unpack,
)
from disinhib.refimpl.configuration import Feedback, NetworkConfiguration, SoftReLU, Solver
from disinhib.refimpl.end_state import open_loop_end_state
from disinhib.refimpl.fixed_point import output_sensitivity
from disinhib.refimpl.plasticity import estimated_inhibitory_potential

STEPS_AN_EPOCH = 13


def arrays(parameters):
    return [*parameters.weights, *parameters.biases, parameters.readout]


def from_arrays(parts):
    n = len(parts) // 2
    return Parameters(tuple(parts[:n]), tuple(parts[n : 2 * n]), parts[-1])


def network(seed, sizes, **settings):
    """A network with biases of its own and a batch, float64."""
    generator = np.random.default_rng(seed)
    configuration = NetworkConfiguration(sizes=sizes, **settings)
    parameters = initial_parameters(sizes, generator)
    biases = tuple(generator.normal(0, 0.5, b.shape) for b in parameters.biases)
    return configuration, dataclasses.replace(parameters, biases=biases), generator


# Angles of known vectors.


@pytest.mark.parametrize("degrees", [0, 1e-7, 0.1, 30, 90, 135, 179.99, 180])
def test_angles_of_known_vectors(degrees):
    radians = np.radians(degrees)
    first, second = 3.0 * np.array([1.0, 0]), 0.2 * np.array([np.cos(radians), np.sin(radians)])
    assert angle(first, second) == pytest.approx(degrees, rel=1e-7, abs=1e-13)


def test_a_vector_without_direction_has_no_angle():
    assert np.isnan(angle(np.zeros(3), np.ones(3)))


# The gradient of the open-loop loss.


@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "mse"])
@pytest.mark.parametrize("hidden", [(5,), (5, 4, 6)])
def test_the_open_loop_gradient_is_that_of_the_open_loop_loss(loss, hidden):
    """Every parameter by central differences; E and I have slopes of their own."""
    configuration, parameters, generator = network(
        3,
        (4, *hidden, 3),
        loss=loss,
        activation_E=SoftReLU(1.3, 0.8, 0.2),
        activation_I=SoftReLU(0.7, 1.5, -0.3),
    )
    x, y = generator.uniform(size=(6, 4)), generator.dirichlet(np.ones(3), size=6)

    def loss_of(parts):
        state, _ = open_loop_end_state(configuration, Solver(), from_arrays(parts), x)
        return np.mean(sample_loss(loss, state.u_out, y))

    state, _ = open_loop_end_state(configuration, Solver(), parameters, x)
    gradient = arrays(open_loop_gradient(configuration, parameters, x, y, state))
    # Truncation is of order h² = 1e-10, rounding of order ε / h = 2e-11.
    h, parts = 1e-5, arrays(parameters)
    for number, part in enumerate(parts):
        for place in np.ndindex(part.shape):
            step = np.zeros_like(part)
            step[place] = h
            up, down = (
                loss_of([*parts[:number], part + sign * step, *parts[number + 1 :]])
                for sign in (1, -1)
            )
            numeric = (up - down) / (2 * h)
            np.testing.assert_allclose(gradient[number][place], numeric, rtol=1e-6, atol=1e-9)


# g in the limit of weak feedback, derived by hand.


def weak(n_out):
    return {
        "loss": "mse",
        "feedback": Feedback(strong=False, nudge=1e-7, normalize=False),
        "activation_I": SoftReLU(1.0, 1.2, 0.0),
        "sizes": (7, 6, n_out),
    }


def test_one_output_in_weak_feedback_has_the_angle_that_slopes_alone_give():
    """One sample, one output, one layer: c cancels, and all else is a slope.

    δ = −c Q φ_E' ∝ w φ_E'² φ_I', the gradient's is ∝ w φ_E' / (1 + φ_I' φ_E'), and both meet
    the same input, so that the angle between the outer products, bias included, is that of δ.
    """
    settings = weak(1)
    configuration, parameters, generator = network(5, settings.pop("sizes"), **settings)
    x, y = generator.uniform(size=(1, 7)), np.array([[2.0]])
    backend = backend_class("numpy")(configuration, parameters, np.float64, Solver())
    state, _ = backend.open_loop(x)
    slope_E = slope(configuration.activation_E, state.u_E[0][0])
    slope_I = slope(configuration.activation_I, state.u_I[0][0])
    w = parameters.readout[:, 0]
    expected = angle(w * slope_E**2 * slope_I, w * slope_E / (1 + slope_I * slope_E))
    assert 1 < expected < 60
    # What is left is of the order of λ.
    seen = probe(backend, x, y)
    assert seen.angle_to_gradient[0] == pytest.approx(expected, abs=1e-4)
    # The readout's δ is −c, along −e, and meets the same rates.
    assert seen.angle_to_gradient[1] == pytest.approx(0, abs=1e-4)


def test_weak_feedback_to_several_outputs_from_the_linearised_loop():
    """A batch: c (I + κ D) = κ λ (y − o) to first order, with D = ∂u_out/∂c of the open loop."""
    settings = weak(3)
    configuration, parameters, generator = network(6, settings.pop("sizes"), **settings)
    x, y = generator.uniform(size=(5, 7)), generator.normal(size=(5, 3))
    backend = backend_class("numpy")(configuration, parameters, np.float64, Solver())
    state, _ = backend.open_loop(x)
    Q = backend.feedback_weights(state)
    kappa = configuration.controller.steady_gain
    matrix = np.eye(3) + kappa * output_sensitivity(configuration, parameters, Q, state)
    nudge = configuration.feedback.nudge * (y - state.u_out)
    c = np.stack([np.linalg.solve(M.T, kappa * e) for M, e in zip(matrix, nudge, strict=True)])
    slope_E = slope(configuration.activation_E, state.u_E[0])
    slope_I = slope(configuration.activation_I, state.u_I[0])
    delta = -(c @ parameters.readout.T) * slope_E**2 * slope_I
    derived = np.concatenate([(x.T @ delta / 5).ravel(), delta.mean(axis=0)])
    gradient = layer_vectors(open_loop_gradient(configuration, parameters, x, y, state))[0]
    expected = angle(derived, gradient)
    assert expected > 1
    seen = probe(backend, x, y)
    assert seen.angle_to_gradient[0] == pytest.approx(expected, abs=1e-4)
    currents = (c @ parameters.readout.T) * slope_E * slope_I
    assert seen.work[0] == pytest.approx(np.linalg.norm(currents, axis=-1).mean(), rel=1e-5)
    assert seen.total_work == pytest.approx(seen.work[0], rel=1e-12)


def test_far_above_threshold_the_exact_inverse_follows_the_gradient():
    """E rests near rate 45, where all slopes are equal across units: the angle vanishes with λ."""
    settings = weak(1) | {"activation_E": SoftReLU(shift=-100.0)}
    configuration, parameters, generator = network(7, settings.pop("sizes"), **settings)
    backend = backend_class("numpy")(configuration, parameters, np.float64, Solver())
    x = generator.uniform(size=(1, 7))
    seen = probe(backend, x, np.array([[2.0]]))
    assert seen.angle_to_gradient[0] == pytest.approx(0, abs=1e-4)


# A course of training.


@pytest.fixture(scope="module")
def courses():
    return learning_courses(
        load_dataset("digits"),
        hidden_units=8,
        depths=(1, 2),
        seeds=(0, 1),
        n_epochs=2,
        steps_between=STEPS_AN_EPOCH,
    )


def test_rules_of_one_seed_start_alike_and_are_seen_at_the_same_steps(courses):
    for depth, seed in ((1, 0), (2, 1)):
        runs = {rule: courses[depth, rule, seed] for rule in figure.INHIBITORY_RULES}
        for rule, run in runs.items():
            np.testing.assert_array_equal(run.steps, [0, 13, 26])
            assert len(run.probes) == 3
            first, exact = run.probes[0], runs["exact-inverse"].probes[0]
            np.testing.assert_array_equal(first.work, exact.work)
            if rule != "exact-inverse":
                np.testing.assert_array_equal(
                    first.angle_to_exact[rule], exact.angle_to_exact[rule]
                )
        assert courses[depth, "backprop", seed].probes == ()


def test_looking_inside_leaves_training_as_it_is(courses):
    """The same run without a look in between comes to the same end, bit for bit."""
    configuration = NetworkConfiguration(sizes=(64, 8, 8, 10), rule="linear-threshold")
    unseen = learning_course(configuration, load_dataset("digits"), 1, 2, 2 * STEPS_AN_EPOCH)
    seen = courses[2, "linear-threshold", 1]
    assert unseen.test_loss[-1] == seen.test_loss[-1]
    np.testing.assert_array_equal(unseen.probes[-1].work, seen.probes[-1].work)


def test_a_tangent_reads_too_much_inhibition(courses):
    """φ⁻¹ is concave, so that its tangent lies above it."""
    configuration = NetworkConfiguration(rule="linear-threshold")
    u_I = np.random.default_rng(0).normal(size=(50, 8))
    read = estimated_inhibitory_potential(configuration, u_I, np.full(8, 0.8))
    assert np.all(read >= u_I - 1e-14)
    for run in courses.values():
        for look in run.probes:
            assert np.all(look.misreading["linear-threshold"] > 0)
            assert np.all(look.angle_to_exact["linear-threshold"] > 0)


def test_the_figure_has_all_its_parts(courses):
    result = figure.figure_of(courses, STEPS_AN_EPOCH)
    layers = result.data["layers"]
    assert {len(column) for column in layers.values()} == {3 * 2 * 3 * (2 + 3)}
    row = (layers["depth"] == 2) & (layers["rule"] == "exact-inverse") & (layers["seed"] == 1)
    row &= (layers["epoch"] == 2) & (layers["layer"] == "2")
    look = courses[2, "exact-inverse", 1].probes[-1]
    assert layers["angle_to_gradient_degrees"][row] == [look.angle_to_gradient[1]]
    assert layers["work"][row] == [look.work[1]]
    runs = result.data["runs"]
    assert {len(column) for column in runs.values()} == {4 * 2 * 3 * 2}
    assert len(result.picture.axes) == 14


def with_probes(courses, rule, change):
    """The same courses, the last look of a rule's runs changed."""
    changed = dict(courses)
    for key, run in courses.items():
        if key[1] == rule:
            last = dataclasses.replace(run.probes[-1], **change(run.probes[-1]))
            changed[key] = dataclasses.replace(run, probes=(*run.probes[:-1], last))
    return changed


def verdicts(courses):
    return [check.passed for check in figure.checks_of(courses)]


def ideal(courses):
    """Courses on which every claim holds, made up from real ones."""
    losses = {
        "backprop": 0.1,
        "exact-inverse": 0.2,
        "linear-threshold": 0.3,
        "linear-threshold-fixed": 0.4,
    }
    made = {
        key: dataclasses.replace(run, test_loss=np.full_like(run.test_loss, losses[key[1]]))
        for key, run in courses.items()
    }
    made = with_probes(
        made,
        "exact-inverse",
        lambda look: {
            "angle_to_gradient": 0.01 * look.angle_to_gradient,
            "total_work": 0.01 * look.total_work,
            "work": 0.01 * look.work,
            "angle_to_exact": {rule: 0 * a + 179 for rule, a in look.angle_to_exact.items()},
            "misreading": {rule: 0 * m + 1 for rule, m in look.misreading.items()},
        },
    )
    return with_probes(made, "linear-threshold", lambda look: {"angle_of_all": 10.0})


@pytest.mark.parametrize(
    ("number", "rule", "change"),
    [
        (0, "exact-inverse", lambda p: {"angle_to_gradient": p.angle_to_gradient + 91}),
        (1, "exact-inverse", lambda p: {"angle_to_gradient": p.angle_to_gradient + 89}),
        (2, "linear-threshold", lambda p: {"angle_of_all": 90.5}),
        (3, "exact-inverse", lambda p: {"total_work": 100 * p.total_work}),
        (
            4,
            "exact-inverse",
            lambda p: {"angle_to_exact": {r: 0 * a for r, a in p.angle_to_exact.items()}},
        ),
        (
            5,
            "exact-inverse",
            lambda p: {"misreading": {r: 0 * m for r, m in p.misreading.items()}},
        ),
    ],
)
def test_every_check_of_learning_can_fail(courses, number, rule, change):
    made = ideal(courses)
    assert all(verdicts(made))
    assert not verdicts(with_probes(made, rule, change))[number]


def test_the_check_of_the_losses_can_fail(courses):
    made = ideal(courses)
    key = (2, "exact-inverse", 0)
    made[key] = dataclasses.replace(made[key], test_loss=np.array([1.0, 1.0, 1.0]))
    assert not verdicts(made)[6]


@pytest.mark.slow
def test_the_whole_figure_of_learning_bears_out_its_claims():
    result = figure.make()
    assert all(check.passed for check in result.checks), result.checks


# The circuit.


@pytest.fixture(scope="module")
def traces():
    dataset = load_dataset("digits")
    parameters = initial_parameters(
        circuit.CONFIGURATION.sizes,
        random_generator(circuit.SEED, "initial-parameters"),
    )
    x = dataset.test.images[[1]] / dataset.full_scale
    return circuit.traces_of(parameters, x, np.eye(10)[dataset.test.labels[[1]]])


def test_the_circuit_bears_out_its_claims():
    result = circuit.make()
    assert all(check.passed for check in result.checks), result.checks
    columns = result.data["traces"]
    (length,) = {len(column) for column in columns.values()}
    assert length == 300 + 400 + 2
    assert len(columns) == 1 + 2 * 2 * 4 + 10 + 10
    assert all(np.all(columns[f"c_{k}"][:301] == 0) for k in range(10))


@pytest.mark.slow
def test_the_first_corrected_sample_is_one():
    """Sought by integration instead, one sample at a time."""
    dataset = load_dataset("digits")
    sizes = circuit.CONFIGURATION.sizes
    parameters = initial_parameters(sizes, random_generator(0, "initial-parameters"))
    found = circuit.first_corrected_sample(dataset, parameters)
    verdicts = []
    for sample in range(found + 1):
        x = dataset.test.images[[sample]] / dataset.full_scale
        label = dataset.test.labels[sample]
        y = np.full((1, 10), 0.01 / 9)
        y[0, label] = 0.99
        traces = circuit.traces_of(parameters, x, y)
        said, steered_to = (
            int(np.argmax(path.u_out[-1])) for path in (traces.open_loop, traces.closed_loop)
        )
        verdicts.append(said != label and steered_to == label)
    assert verdicts == [False] * found + [True]


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, lambda t: {"open_end": moved(t.open_end, 1e-3)}),
        (1, lambda t: {"closed_end": moved(t.closed_end, 1.0)}),
        (2, lambda t: {"closed_end": moved(t.closed_end, 1e-6)}),
        (3, lambda t: {"closed_loop": uncontrolled(t.open_loop)}),
        (4, lambda t: {"Q": tuple(1.01 * Q for Q in t.Q)}),
    ],
)
def test_every_check_of_the_circuit_can_fail(traces, number, change):
    passed = [check.passed for check in circuit.checks_of(traces)]
    assert all(passed)
    changed = dataclasses.replace(traces, **change(traces))
    assert not circuit.checks_of(changed)[number].passed


def uncontrolled(open_loop):
    """Stay for 2 s where the open loop ends."""
    stays = np.repeat(pack(open_loop)[-1:], 2001, axis=0)
    return unpack(stays, circuit.CONFIGURATION.sizes)


def moved(state, by):
    return dataclasses.replace(state, u_out=state.u_out + by)
