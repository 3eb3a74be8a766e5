"""A network's learning from inside: where its updates point, and what its controller does.

Every so many steps of a training run, the parameters are taken as they stand and probed with
a batch that is never trained on: g of each layer is compared with the gradient of the loss,
the rules with each other, and the controller's work is measured.

Which gradient
--------------
A rule is judged by the loss of the network that it trains, and a prediction is read from that
network's open loop. So the comparator is the gradient of the *open-loop loss of the same E–I
network*, inhibition included. The open loop rests where u_E + φ_I(φ_E(u_E)) = a; hence
du_E/da = 1 / (1 + φ_I' φ_E'), and backpropagation through the fixed point takes

    φ_E' / (1 + φ_I' φ_E')    in the place of    φ'

(`open_loop_gradient`). Backprop of the plain network of the same weights, the baseline of
section 5, is another network with other rates, and its gradient says nothing about the descent
of this one; its angle is measured beside (`angle_to_plain`) because it is what the baseline
would do with these weights.

Angles are between g and a gradient over a layer's W^l and b^l as one vector. Adam, which scales
each parameter by itself, comes after: what is measured is the rule's own direction.

How exact inverse and linear threshold part
-------------------------------------------
On one network both rules see the same states, and their δ^l differ by (û_I − u_I) ∘ φ_E' alone.
The exact inverse reads u_I − φ_E(u_E) = −c Q^l, so ‖û_I − u_I‖, the tangent's misreading, is to
be held against ‖c Q^l‖, the work: the one comes from how rates vary over the batch and does not
shrink with the error, the other does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from ...backends import Backend, BackendUnavailable, backend_class
from ...datasets import Dataset, Split, batch_order, random_generator, softened_labels
from ...refimpl import (
    RULES,
    FeedbackWeights,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Solver,
    backprop_gradients,
    control_signal,
    disinhibition,
    error,
    estimated_inhibitory_potential,
    forward,
    initial_parameters,
    mean_outer_product,
    plasticity_gradients,
    rate,
    slope,
    updated_mean_inhibition,
)

INHIBITORY_RULES = ("exact-inverse", "linear-threshold", "linear-threshold-fixed")
"""Rules that read from inhibition what to learn: all but backprop."""

RUNS_AT_A_TIME = 2


@dataclass(frozen=True)
class Probe:
    """What a batch shows of a network at one moment of its training; angles are in degrees.

    `angle_to_exact` and `misreading` are by linear-threshold rule, on this very network.
    """

    # (L + 1,), of g to the open-loop loss's: hidden layers 1..L, readout
    angle_to_gradient: np.ndarray
    angle_of_all: float  # the same over all parameters as one vector
    # (L + 1,), to backprop's gradient of the plain network of the same weights
    angle_to_plain: np.ndarray
    # each (L,), to the exact inverse's g; the readout's is the same under all rules
    angle_to_exact: dict[str, np.ndarray]
    misreading: dict[str, np.ndarray]  # each (L,), batch mean of ‖û_I − u_I‖
    work: np.ndarray  # (L,), batch mean of ‖c Q^l‖ at the closed loop's end state, in units of u_I
    total_work: float  # batch mean of the norm over all layers, (Σ_l ‖c Q^l‖²)^½


@dataclass(frozen=True)
class Course:
    """One training run, seen from inside at some of its steps."""

    steps: np.ndarray  # (n,), updates made before each look; 0 is the untrained network
    test_loss: np.ndarray  # (n,), of the open loop over the test split, as the accuracy
    test_accuracy: np.ndarray
    probes: tuple[Probe, ...]  # one a look; none for backprop, which has no control to look at


def learning_course(
    configuration: NetworkConfiguration,
    dataset: Dataset,
    seed: int,
    n_epochs: int,
    steps_between: int,
    batch_size: int = 100,
) -> Course:
    """Train as `disinhib train` does, and look inside every so many steps.

    The validation split, never trained on, is the probing batch.
    """
    backend = fastest_cpu_backend()(
        configuration,
        initial_parameters(configuration.sizes, random_generator(seed, "initial-parameters")),
        np.dtype(np.float64),
        Solver(),
        threads=1,
    )
    n_samples = len(dataset.train.labels)
    order = np.concatenate(
        [batch_order(seed, epoch, n_samples, batch_size) for epoch in range(n_epochs)]
    )
    train, test = (
        backend.place(part.images, labels_of(dataset, part), full_scale=dataset.full_scale)
        for part in (dataset.train, dataset.test)
    )
    x, y = inputs_of(dataset, dataset.validation), labels_of(dataset, dataset.validation)
    steps, losses, accuracies, probes = [], [], [], []
    for n_done in _training(backend, train, order, steps_between):
        evaluation = backend.evaluate(test)
        steps.append(n_done)
        losses.append(float(evaluation.loss))
        accuracies.append(float(evaluation.accuracy))
        if configuration.rule != "backprop":
            probes.append(probe(backend, x, y))
    return Course(np.array(steps), np.array(losses), np.array(accuracies), tuple(probes))


def learning_courses(
    dataset: Dataset,
    hidden_units: int,
    depths: tuple[int, ...],
    seeds: tuple[int, ...],
    n_epochs: int,
    steps_between: int,
) -> dict[tuple[int, str, int], Course]:
    """Every rule at every depth from every seed, two runs at a time: by depth, rule and seed.

    Rules of one depth and seed start alike.
    """
    runs = [(depth, rule, seed) for depth in depths for rule in RULES for seed in seeds]
    n_inputs = dataset.train.images.shape[1]

    def course(run: tuple[int, str, int]) -> Course:
        depth, rule, seed = run
        sizes = (n_inputs, *[hidden_units] * depth, dataset.n_classes)
        configuration = NetworkConfiguration(sizes=sizes, rule=rule)
        return learning_course(configuration, dataset, seed, n_epochs, steps_between)

    # A backend limits BLAS while it works and lifts the limit after, for the whole process. An
    # outer limit keeps one run from lifting another's, and so sums in the same order always.
    with (
        threadpool_limits(limits=1, user_api="blas"),
        ThreadPoolExecutor(RUNS_AT_A_TIME) as workers,
    ):
        return dict(zip(runs, workers.map(course, runs), strict=True))


def _training(
    backend: Backend, data: object, order: np.ndarray, steps_between: int
) -> Iterator[int]:
    """Yield the number of steps done, first and last included, training in between."""
    yield 0
    for begin in range(0, len(order), steps_between):
        batches = order[begin : begin + steps_between]
        backend.train(data, batches)
        yield begin + len(batches)


def probe(backend: Backend, x: np.ndarray, y: np.ndarray) -> Probe:
    """Look at a network with a batch that it does not learn from: x, (batch, n_in), and y."""
    configuration, learner = backend.configuration, backend.learner()
    parameters = learner.parameters
    open_loop, _ = backend.open_loop(x)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    closed_loop, _ = backend.closed_loop(x, Q, target, open_loop)
    # What the linear threshold would linearise at, whichever rule trains this network.
    r_bar = updated_mean_inhibition(configuration, learner.mean_inhibition, open_loop)
    by_rule = {rule: dataclasses.replace(configuration, rule=rule) for rule in INHIBITORY_RULES}
    g = {
        rule: layer_vectors(
            plasticity_gradients(reader, parameters, x, y, open_loop, closed_loop, r_bar)
        )
        for rule, reader in by_rule.items()
    }
    gradient = layer_vectors(open_loop_gradient(configuration, parameters, x, y, open_loop))
    a, u_out = forward(configuration, parameters, x)
    plain = layer_vectors(backprop_gradients(configuration, parameters, x, y, a, u_out))
    own, exact = g[configuration.rule], g["exact-inverse"]
    currents = top_down_currents(configuration, Q, target, closed_loop)
    return Probe(
        angle_to_gradient=_angles(own, gradient),
        angle_of_all=angle(np.concatenate(own), np.concatenate(gradient)),
        angle_to_plain=_angles(own, plain),
        angle_to_exact={rule: _angles(g[rule][:-1], exact[:-1]) for rule in INHIBITORY_RULES[1:]},
        misreading={
            rule: np.array(
                [
                    mean_norm(estimated_inhibitory_potential(by_rule[rule], u_I, mean) - u_I)
                    for u_I, mean in zip(closed_loop.u_I, r_bar, strict=True)
                ]
            )
            for rule in INHIBITORY_RULES[1:]
        },
        work=np.array([mean_norm(q) for q in currents]),
        total_work=mean_norm(np.concatenate(currents, axis=-1)),
    )


def open_loop_gradient(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    open_loop: NetworkState,
) -> Parameters:
    """Gradient of the mean open-loop loss of the E–I network, through its fixed point.

    δ_out = −e, and δ^l = (δ^{l+1} W^{l+1ᵀ}) ∘ φ_E' / (1 + φ_I' φ_E') at the open-loop end state. x
    is (batch, n_in), y is (batch, n_out).
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    pre = [x, *(rate(phi_E, u) for u in open_loop.u_E)]
    delta = -error(configuration.loss, open_loop.u_out, y)
    gradient_readout = mean_outer_product(pre[-1], delta)
    gradients_W: list[np.ndarray] = []
    gradients_b: list[np.ndarray] = []
    above = [*parameters.weights[1:], parameters.readout]
    for l in range(configuration.n_hidden - 1, -1, -1):
        slope_E = slope(phi_E, open_loop.u_E[l])
        slope_I = slope(phi_I, open_loop.u_I[l])
        delta = (delta @ above[l].T) * slope_E / (1 + slope_I * slope_E)
        gradients_W.insert(0, mean_outer_product(pre[l], delta))
        gradients_b.insert(0, np.mean(delta, axis=-2))
    return Parameters(tuple(gradients_W), tuple(gradients_b), gradient_readout)


def top_down_currents(
    configuration: NetworkConfiguration, Q: FeedbackWeights, target: np.ndarray, state: NetworkState
) -> tuple[np.ndarray, ...]:
    """c Q^l of each hidden layer under control, (batch, n_l); Q^l is (batch, n_out, n_l)."""
    e = error(configuration.loss, state.u_out, target)
    c = control_signal(configuration.controller, e, state.z)
    return tuple(disinhibition(c, Q_l) for Q_l in Q)


def layer_vectors(parameters: Parameters) -> list[np.ndarray]:
    """Weights and biases of each hidden layer as one vector, then those of the readout."""
    hidden = zip(parameters.weights, parameters.biases, strict=True)
    return [*(np.concatenate([W.ravel(), b]) for W, b in hidden), parameters.readout.ravel()]


def angle(first: np.ndarray, second: np.ndarray) -> float:
    """Angle between two vectors, degrees, 0 to 180; NaN if one has no direction.

    By W. Kahan's formula, 2 atan2(‖â − b̂‖, ‖â + b̂‖), as the arc cosine loses small angles.
    """
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    if min(lengths) == 0:
        return float("nan")
    a, b = first / lengths[0], second / lengths[1]
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))))


def mean_norm(current: np.ndarray) -> float:
    """Batch mean of the Euclidean norm over units; `current` is (batch, n)."""
    return float(np.mean(np.linalg.norm(current, axis=-1)))


def _angles(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    return np.array([angle(a, b) for a, b in zip(first, second, strict=True)])


def inputs_of(dataset: Dataset, split: Split) -> np.ndarray:
    """Images scaled to [0, 1], (n, n_pixels)."""
    return dataset.inputs(split.images)


def labels_of(dataset: Dataset, split: Split) -> np.ndarray:
    """Softened labels, (n, n_classes)."""
    return softened_labels(split.labels, dataset.n_classes)


def fastest_cpu_backend() -> type[Backend]:
    """Numba's where it runs, the reference elsewhere; they agree but for rounding."""
    try:
        return backend_class("numba")
    except BackendUnavailable:
        return backend_class("numpy")
