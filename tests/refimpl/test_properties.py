"""What must hold for every network: symmetries, scaling laws and signs, on random small ones."""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import Phase, assume, given, settings, strategies as st
from scipy.special import softmax

from disinhib.refimpl.circuit import (
    FeedbackWeights,
    NetworkState,
    Parameters,
    closed_loop_derivative,
    closed_loop_target,
    control_signal,
    drive,
    error,
    pack,
    resting_state,
)
from disinhib.refimpl.configuration import (
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    SoftReLU,
    Solver,
)
from disinhib.refimpl.end_state import (
    Recording,
    closed_loop_end_state,
    closed_loop_trajectory,
    open_loop_end_state,
    open_loop_trajectory,
    packed_derivative,
)
from disinhib.refimpl.feedback import feedback_weights
from disinhib.refimpl.integration import integrate
from disinhib.refimpl.plasticity import plasticity_gradients, updated_mean_inhibition
from disinhib.validation.judge.stability import growth_rates

from .microcircuit import softrelu, softrelu_slope

LOSSES = ["softmax-cross-entropy", "mse"]
RULES = ["exact-inverse", "linear-threshold", "linear-threshold-fixed"]
STILL = 1e-10
"""Accuracy of an end state: the residual ε^¾ = 2e-12 that a fixed point may leave, times
what κ and the sizes of potentials here make of it. Two ways to the same state may differ by
so much; other results, being sums of a few products of such numbers, likewise."""

# Making a failing integration smaller takes minutes, and tells little more.
integrating = settings(max_examples=8, phases=(Phase.explicit, Phase.generate))


# --- Random networks


def numbers(low, high):
    return st.floats(low, high, allow_subnormal=False)


activations = st.builds(SoftReLU, numbers(0.5, 2), numbers(0.5, 2), numbers(-1, 1))
controllers = st.builds(Controller, numbers(0, 0.5), numbers(0, 1), numbers(0.5, 2))
factors = numbers(0.3, 3)


@dataclass(frozen=True)
class Case:
    """A network and a batch."""

    configuration: NetworkConfiguration
    parameters: Parameters
    x: np.ndarray
    y: np.ndarray

    def with_samples(self, samples):
        return dataclasses.replace(self, x=self.x[samples], y=self.y[samples])

    def configured(self, **changes):
        return dataclasses.replace(
            self, configuration=dataclasses.replace(self.configuration, **changes)
        )


@st.composite
def cases(draw, batch=4, losses=LOSSES, rules=RULES, outputs=(1, 4), **feedback):
    sizes = (
        draw(st.integers(1, 6)),
        *draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)),
        draw(st.integers(*outputs)),
    )
    options = {
        "strong": draw(st.booleans()),
        "to_readout": draw(st.booleans()),
        "normalize": draw(st.booleans()),
        "norm": draw(numbers(0.5, 1.5)),
        "nudge": draw(numbers(0.01, 0.2)),
    }
    configuration = NetworkConfiguration(
        sizes,
        activation_E=draw(activations),
        activation_I=draw(activations),
        loss=draw(st.sampled_from(losses)),
        rule=draw(st.sampled_from(rules)),
        controller=draw(controllers),
        feedback=Feedback(**options | feedback),
        mean_inhibition=MeanInhibition(rate=draw(numbers(0.1, 1))),
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(numbers(0.3, 1.5))
    weights = [scale * generator.standard_normal((n, m)) / np.sqrt(n) for n, m in pairwise(sizes)]
    parameters = Parameters(
        tuple(weights[:-1]),
        tuple(generator.standard_normal(n) / 2 for n in sizes[1:-1]),
        weights[-1],
    )
    y = generator.standard_normal((batch, sizes[-1]))
    if configuration.loss == "softmax-cross-entropy":
        y = softmax(2 * y, axis=-1)
    return Case(configuration, parameters, generator.random((batch, sizes[0])), y)


@dataclass(frozen=True)
class Stages:
    """What one learning step goes through."""

    open_loop: NetworkState
    Q: FeedbackWeights
    target: np.ndarray
    closed_loop: NetworkState
    mean_inhibition: tuple[np.ndarray, ...]
    gradients: Parameters

    def of_every_sample(self):
        """Arrays whose first axis is the batch."""
        return pack(self.open_loop), *self.Q, self.target, pack(self.closed_loop)


def stages(case, solver=None):
    solver = solver or Solver()
    configuration, parameters = case.configuration, case.parameters
    open_loop, _ = open_loop_end_state(configuration, solver, parameters, case.x)
    Q = feedback_weights(configuration, parameters, open_loop)
    target = closed_loop_target(configuration.loss, configuration.feedback, open_loop.u_out, case.y)
    closed_loop, counts = closed_loop_end_state(
        configuration, solver, parameters, case.x, Q, target, open_loop
    )
    assert counts.unsettled == 0
    r_bar = updated_mean_inhibition(
        configuration, tuple(0.8 * np.ones(n) for n in configuration.sizes[1:-1]), open_loop
    )
    gradients = plasticity_gradients(
        configuration, parameters, case.x, case.y, open_loop, closed_loop, r_bar
    )
    return Stages(open_loop, Q, target, closed_loop, r_bar, gradients)


def arrays(parameters):
    return *parameters.weights, *parameters.biases, parameters.readout


def assert_close(found, expected, tolerance=STILL):
    """Within a tolerance of the largest element, or of 1 if that is larger."""
    for a, b in zip(found, expected, strict=True):
        size = max(1.0, float(np.max(np.abs(b))))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * size)


# --- Two ways to one end state


@integrating
@given(
    cases(batch=2),
    numbers(0.005, 0.03),
    numbers(0.005, 0.03),
    numbers(0.03, 0.2),
)
def test_a_stable_fixed_point_is_where_the_motion_ends(case, tau_E, tau_I, tau_c):
    """Whatever the time constants: they decide whether it is stable, not where it is."""
    controller = dataclasses.replace(case.configuration.controller, tau=tau_c)
    case = case.configured(tau_E=tau_E, tau_I=tau_I, controller=controller)
    configuration, parameters = case.configuration, case.parameters
    found = stages(case)
    growth = growth_rates(configuration, parameters, found.Q, found.closed_loop)
    assume(np.all(growth < 0))
    # Disturbances have shrunk by e^−30 = 1e-13 at the horizon, if it is not settled before.
    horizon = 30 / float(-np.max(growth))
    solver = Solver(
        method="tsit5", rtol=1e-10, atol=1e-12, dt_min=1e-6, dt_max=0.05, horizon=horizon
    )
    a_1 = drive(case.x, parameters.weights[0], parameters.biases[0])
    end = integrate(
        packed_derivative(
            configuration,
            lambda state: closed_loop_derivative(
                configuration, parameters, a_1, found.Q, found.target, state
            ),
        ),
        pack(dataclasses.replace(found.open_loop, z=np.zeros_like(found.target))),
        solver,
    )
    # Steps err by 1e-10 each; settling at a derivative of 1e-10 per second leaves as much
    # again, times the slowest time constant of at most a second.
    assert_close([end.y], [pack(found.closed_loop)], 1e-8)


# --- Batches


@integrating
@given(cases(batch=5), st.permutations(range(5)), st.sampled_from(["fixed-point", "tsit5"]))
def test_the_order_of_a_batch_does_not_matter(case, order, method):
    solver = Solver(method=method)
    found = stages(case.with_samples(order), solver)
    expected = stages(case, solver)
    assert_close(found.of_every_sample(), [array[order] for array in expected.of_every_sample()])
    assert_close(found.mean_inhibition, expected.mean_inhibition)
    assert_close(arrays(found.gradients), arrays(expected.gradients))


@given(cases(rules=["exact-inverse", "linear-threshold-fixed"]))
def test_a_batch_is_its_halves(case):
    """States are each sample's own, and the gradient a mean over samples."""
    whole = stages(case)
    halves = [stages(case.with_samples(slice(0, 2))), stages(case.with_samples(slice(2, 4)))]
    for found, *parts in zip(
        whole.of_every_sample(), *(half.of_every_sample() for half in halves), strict=True
    ):
        assert_close([found], [np.concatenate(parts)])
    means = [(a + b) / 2 for a, b in zip(*(arrays(half.gradients) for half in halves), strict=True)]
    assert_close(arrays(whole.gradients), means)


@given(cases(average=True, normalize=False, strong=True, losses=["mse"]))
def test_averaged_feedback_joins_the_samples_of_a_batch(case):
    """The mean over the batch is that of its halves' means, and moves every sample."""
    whole = stages(case)
    halves = [stages(case.with_samples(slice(0, 2))), stages(case.with_samples(slice(2, 4)))]
    for Q, first, second in zip(whole.Q, halves[0].Q, halves[1].Q, strict=True):
        assert Q.shape[0] == 1
        assert_close([Q], [(first + second) / 2])
    # Where the halves' feedback differs and there is control, samples must move.
    differ = max(np.max(np.abs(q - h)) for q, h in zip(whole.Q, halves[0].Q, strict=True))
    effort = np.min(np.max(np.abs(case.y[:2] - halves[0].closed_loop.u_out), axis=-1))
    kappa = case.configuration.controller.steady_gain
    assume(differ > 1e-4 and kappa * effort > 1e-2)
    u_I = np.concatenate(whole.closed_loop.u_I, axis=-1)[:2]
    u_I_half = np.concatenate(halves[0].closed_loop.u_I, axis=-1)
    assert np.max(np.abs(u_I - u_I_half)) > 1e-8


@given(cases(rules=["linear-threshold"]))
def test_the_running_mean_joins_the_samples_of_a_batch(case):
    """From the same r̄, a batch gives the mean of what its halves give; one after the other,
    they forget it twice.
    """
    configuration, rho = case.configuration, case.configuration.mean_inhibition.rate
    whole, first, second = (
        stages(case.with_samples(samples)) for samples in (slice(4), slice(2), slice(2, 4))
    )
    r_bars = zip(whole.mean_inhibition, first.mean_inhibition, second.mean_inhibition, strict=True)
    assert_close(whole.mean_inhibition, [(a + b) / 2 for _, a, b in r_bars])
    in_turn = updated_mean_inhibition(configuration, first.mean_inhibition, second.open_loop)
    expected = [
        (1 - rho) * a + b - (1 - rho) * 0.8
        for a, b in zip(first.mean_inhibition, second.mean_inhibition, strict=True)
    ]
    assert_close(in_turn, expected)


# --- Symmetries


@given(cases(rules=["exact-inverse", "linear-threshold"]), st.data())
def test_neurons_of_a_layer_have_no_order(case, data):
    l = data.draw(st.integers(0, case.configuration.n_hidden - 1))
    order = data.draw(st.permutations(range(case.configuration.sizes[l + 1])))

    def reordered(parameters):
        weights, biases = list(parameters.weights), list(parameters.biases)
        weights[l], biases[l] = weights[l][:, order], biases[l][order]
        if l + 1 < len(weights):
            weights[l + 1] = weights[l + 1][order]
            return Parameters(tuple(weights), tuple(biases), parameters.readout)
        return Parameters(tuple(weights), tuple(biases), parameters.readout[order])

    found = stages(dataclasses.replace(case, parameters=reordered(case.parameters)))
    expected = stages(case)
    assert_close(arrays(found.gradients), arrays(reordered(expected.gradients)))
    assert_close([found.closed_loop.u_I[l]], [expected.closed_loop.u_I[l][:, order]])
    assert_close([found.closed_loop.u_out], [expected.closed_loop.u_out])


@given(
    cases(losses=["softmax-cross-entropy"], rules=["exact-inverse"], normalize=False),
    st.integers(0, 2**32 - 1),
)
def test_what_all_outputs_share_is_not_controlled(case, seed):
    """With cross-entropy, W_out + v 1ᵀ changes no probability, and since errors sum to 0 the
    v that it adds to each row of Q cancels in c Q. Normalised, Q would change its direction.
    """
    v = np.random.default_rng(seed).standard_normal((case.parameters.readout.shape[0], 1))
    shifted = dataclasses.replace(case.parameters, readout=case.parameters.readout + v)
    found = stages(dataclasses.replace(case, parameters=shifted))
    expected = stages(case)
    assert_close(found.closed_loop.u_E, expected.closed_loop.u_E)
    assert_close(found.closed_loop.u_I, expected.closed_loop.u_I)
    r_E = softrelu(case.configuration.activation_E, expected.closed_loop.u_E[-1])
    assert_close([found.closed_loop.u_out], [expected.closed_loop.u_out + r_E @ v])
    assert_close(arrays(found.gradients), arrays(expected.gradients))


# --- Scaling laws


@given(cases(batch=2), factors)
def test_time_constants_scaled_together_scale_time(case, s):
    configuration, parameters, x = case.configuration, case.parameters, case.x
    controller = configuration.controller
    slowed = dataclasses.replace(
        configuration,
        tau_E=s * configuration.tau_E,
        tau_I=s * configuration.tau_I,
        controller=dataclasses.replace(controller, tau=s * controller.tau),
    )
    rest = resting_state(parameters, x)
    # Any feedback will do.
    Q = feedback_weights(configuration, parameters, rest)
    paths = []
    for settings_, dt in ((configuration, 1e-3), (slowed, s * 1e-3)):
        recording = Recording(dt=dt, n_steps=30, every=10)
        paths.append(
            (
                pack(open_loop_trajectory(settings_, recording, parameters, x)),
                pack(closed_loop_trajectory(settings_, recording, parameters, x, Q, case.y, rest)),
            )
        )
    # Rounding in a hundred or so additions to numbers of order 10.
    assert_close(paths[1], paths[0], 1e-13)


def scaled_activation(phi, rates=1.0, potentials=1.0):
    """φ with its rates and the potentials that give them multiplied."""
    return SoftReLU(phi.scale * rates, phi.sharpness / potentials, phi.shift * potentials)


@given(cases(rules=["exact-inverse"], normalize=True), factors)
def test_rates_may_be_in_any_unit(case, s):
    """Excitatory rates times s, weights from them over s, inhibitory potentials times s.

    u_I = φ_E(u_E) − c Q follows if Q does: but the Q of section 4 holds φ_I' and would go
    with 1/s. The law is one of normalised feedback, its norm times s.
    """
    configuration, parameters = case.configuration, case.parameters
    other = Case(
        dataclasses.replace(
            configuration,
            activation_E=scaled_activation(configuration.activation_E, rates=s),
            activation_I=scaled_activation(configuration.activation_I, potentials=s),
            feedback=dataclasses.replace(
                configuration.feedback, norm=s * configuration.feedback.norm
            ),
        ),
        Parameters(
            (parameters.weights[0], *(W / s for W in parameters.weights[1:])),
            parameters.biases,
            parameters.readout / s,
        ),
        case.x,
        case.y,
    )
    found, expected = stages(other), stages(case)
    for state, before in (
        (found.open_loop, expected.open_loop),
        (found.closed_loop, expected.closed_loop),
    ):
        assert_close(state.u_E, before.u_E)
        assert_close(state.u_I, [s * u for u in before.u_I])
        assert_close((state.u_out, state.z), (before.u_out, before.z))
    # δ = (u_I − r_E) φ_E' has s twice, and a presynaptic rate once more.
    g, before = found.gradients, expected.gradients
    assert_close(g.biases, [s**2 * b for b in before.biases])
    assert_close(g.weights[:1], [s**2 * before.weights[0]])
    assert_close(g.weights[1:], [s**3 * W for W in before.weights[1:]])
    assert_close([g.readout], [s * before.readout])


@given(cases(losses=["mse"], rules=["exact-inverse"]), factors)
def test_potentials_may_be_in_any_unit(case, s):
    """All potentials, rates and labels times s, with the mean squared error.

    Slopes, and with them Q, keep their values. Cross-entropy has a unit of its own.
    """
    configuration, parameters = case.configuration, case.parameters
    other = Case(
        dataclasses.replace(
            configuration,
            activation_E=scaled_activation(configuration.activation_E, s, s),
            activation_I=scaled_activation(configuration.activation_I, s, s),
        ),
        Parameters(
            (s * parameters.weights[0], *parameters.weights[1:]),
            tuple(s * b for b in parameters.biases),
            parameters.readout,
        ),
        case.x,
        s * case.y,
    )
    found, expected = stages(other), stages(case)
    assert_close(found.Q, expected.Q)
    assert_close([pack(found.open_loop)], [s * pack(expected.open_loop)])
    assert_close([pack(found.closed_loop)], [s * pack(expected.closed_loop)])
    g, before = found.gradients, expected.gradients
    assert_close(g.biases, [s * b for b in before.biases])
    assert_close(g.weights[:1], [s * before.weights[0]])
    assert_close(g.weights[1:], [s**2 * W for W in before.weights[1:]])
    assert_close([g.readout], [s**2 * before.readout])


@given(cases(normalize=True), factors, st.booleans())
def test_normalised_feedback_has_its_norm_and_the_readout_s_direction_alone(case, s, average):
    feedback = dataclasses.replace(case.configuration.feedback, average=average)
    case = case.configured(feedback=feedback)
    parameters = case.parameters
    open_loop, _ = open_loop_end_state(case.configuration, Solver(), parameters, case.x)
    Q = feedback_weights(case.configuration, parameters, open_loop)
    for Q_l in Q:
        norms = np.sqrt(np.sum(Q_l**2, axis=(1, 2)))
        np.testing.assert_allclose(norms, feedback.norm, rtol=1e-14)
    for factor, expected in ((s, Q), (-s, [-Q_l for Q_l in Q])):
        scaled = dataclasses.replace(parameters, readout=factor * parameters.readout)
        assert_close(feedback_weights(case.configuration, scaled, open_loop), expected, 1e-14)


# --- Signs


@given(cases(rules=["exact-inverse"], strong=True))
def test_without_error_nothing_is_controlled_and_nothing_learnt(case):
    open_loop = stages(case).open_loop
    reached = open_loop.u_out
    if case.configuration.loss == "softmax-cross-entropy":
        reached = softmax(reached, axis=-1)
    found = stages(dataclasses.replace(case, y=reached))
    assert_close([pack(found.closed_loop)], [pack(found.open_loop)], 1e-13)
    for g in arrays(found.gradients):
        # Rounding in u_out, times κ of at most 2.5.
        np.testing.assert_allclose(g, 0, rtol=0, atol=1e-13)


@given(cases(batch=1, rules=["exact-inverse"]))
def test_the_hidden_update_is_what_feedback_takes_from_inhibition(case):
    """At rest u_I − φ_E(u_E) = −c Q, so that ΔW ∝ pre (c Q) φ_E'."""
    found = stages(case)
    configuration, state = case.configuration, found.closed_loop
    e = error(configuration.loss, state.u_out, found.target)
    c = control_signal(configuration.controller, e, state.z)
    pre = case.x[0]
    for l, Q in enumerate(found.Q):
        u_E = state.u_E[l][0]
        delta = -(c[0] @ Q[0]) * softrelu_slope(configuration.activation_E, u_E)
        assert_close([found.gradients.biases[l]], [delta])
        assert_close([found.gradients.weights[l]], [np.outer(pre, delta)])
        pre = softrelu(configuration.activation_E, u_E)


@given(
    activations,
    activations,
    controllers,
    numbers(0.2, 1),
    numbers(-2, 2),
    numbers(0.2, 2),
    st.sampled_from([-1, 1]),
    numbers(0.05, 2),
    st.sampled_from([-1, 1]),
)
def test_the_sign_of_a_synapse_s_change_follows_the_error(
    phi_E, phi_I, controller, x, W, readout, readout_sign, distance, error_sign
):
    """One input, one pair, one output: potentiated where more of it would lower the error.

    Control raises u_out where the target is above it, and never beyond: 1 + κ D > 1.
    """
    assume(controller.k_p + controller.k_i > 0.05)
    configuration = NetworkConfiguration((1, 1, 1), phi_E, phi_I, loss="mse", controller=controller)
    one = np.ones((1, 1))
    parameters = Parameters((W * one,), (np.zeros(1),), readout_sign * readout * one)
    open_loop, _ = open_loop_end_state(configuration, Solver(), parameters, x * one)
    case = Case(configuration, parameters, x * one, open_loop.u_out + error_sign * distance)
    found = stages(case)
    assert np.sign(found.Q[0][0, 0, 0]) == readout_sign
    controlled = error_sign * (found.closed_loop.u_out - open_loop.u_out)[0, 0]
    assert 0 < controlled < distance
    assert np.sign(-found.gradients.weights[0][0, 0]) == error_sign * readout_sign
    assert np.sign(-found.gradients.readout[0, 0]) == error_sign


@given(
    activations,
    activations,
    st.sampled_from(["exact-inverse", "linear-threshold-fixed"]),
    numbers(0.1, 3),
    st.lists(numbers(0.05, 4), min_size=2, max_size=4, unique_by=lambda r: round(r, 2)),
)
def test_clamped_inhibition_sets_the_threshold_between_depression_and_potentiation(
    phi_E, phi_I, rule, r_0, clamped
):
    """Δw ∝ (r_E − û_I) φ_E': depressed below the rate û_I, potentiated above; û_I rises with
    the inhibitory rate that the synapse sees.
    """

    def potential(r):
        return phi_I.shift + np.log(np.expm1(r / phi_I.scale)) / phi_I.sharpness

    def threshold(r_I):
        if rule == "exact-inverse":
            return potential(r_I)
        return potential(r_0) + (r_I - r_0) / softrelu_slope(phi_I, potential(r_0))

    configuration = NetworkConfiguration(
        (1, 1, 1),
        phi_E,
        phi_I,
        rule=rule,
        mean_inhibition=MeanInhibition(fixed_point=r_0),
    )
    one = np.ones((1, 1))
    parameters = Parameters((one,), (np.ones(1),), one)
    u_E = np.linspace(-8, 12, 400)[:, None, None]
    still = np.zeros_like(u_E)
    r_E = softrelu(phi_E, u_E).ravel()
    for r_I in clamped:
        state = NetworkState((u_E,), (np.full_like(u_E, potential(r_I)),), still, still)
        g = plasticity_gradients(
            configuration, parameters, 0.7 + still, still, state, state, (np.ones(1),)
        )
        change = -g.weights[0].ravel()
        # Rounding where r_E meets the threshold says nothing about the sign.
        clear = np.abs(r_E - threshold(r_I)) > 1e-9
        np.testing.assert_array_equal(np.sign(change[clear]), np.sign(r_E[clear] - threshold(r_I)))
    thresholds = [threshold(r_I) for r_I in sorted(clamped)]
    assert np.all(np.diff(thresholds) > 0)
