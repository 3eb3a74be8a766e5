"""Whether an end state is a stable one: the equations of motion, linearised there.

A fixed point is found without asking whether the dynamics would stay there. It is
asymptotically stable when every eigenvalue of the Jacobian has a negative real part; then a
small disturbance dies out, at the slowest like exp(growth rate · t). Sections are those of
refimpl/model.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...refimpl import (
    FeedbackWeights,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    error_jacobian,
    map_arrays,
    slope,
)
from ..trace import Trace
from .stages import learner_before

LARGEST_STATE = 400
"""Variables of a sample beyond which eigenvalues take longer than all else in a report."""


def stability_in_words(trace: Trace) -> str:
    """Say whether an integration would stay at the closed-loop end states; empty if unknown."""
    rates = trace_growth_rates(trace)
    if rates is None:
        return ""
    unstable = int(np.sum(rates > 0))
    slowest = float(np.max(rates))
    if unstable == 0:
        return (
            "Of the trace, all closed-loop end states are stable: an integration would stay there; "
            f"the slowest mode goes with {slowest:.3g}/s."
        )
    return (
        f"UNSTABLE: of the trace, {unstable} of {rates.size} closed-loop end states are fixed "
        f"points that an integration leaves, the fastest with {slowest:+.3g}/s."
    )


def trace_growth_rates(trace: Trace) -> np.ndarray | None:
    """Growth rates at every closed-loop end state, (S, batch).

    None where the trace has no closed loop, or its states are too large.
    """
    sizes = trace.configuration.sizes
    n_variables = 2 * (sum(sizes[1:-1]) + sizes[-1])
    if n_variables > LARGEST_STATE:
        return None
    rates = []
    for step, recorded in enumerate(trace.steps):
        circuit = recorded.circuit
        if circuit is None:
            return None
        parameters = learner_before(trace, step).parameters
        rates.append(
            growth_rates(trace.configuration, parameters, circuit.feedback, circuit.closed_loop)
        )
    return np.array(rates) if rates else None


def growth_rates(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    Q: FeedbackWeights,
    state: NetworkState,
) -> np.ndarray:
    """Growth rate of the slowest-decaying or fastest-growing disturbance, closed loop.

    Of one network, Q (batch or 1, n_out, n_l), state (batch, n); gives the largest real part of the
    eigenvalues, per second, (batch,): below 0 the state is stable. The target does not appear: it
    moves the fixed point, not the Jacobian at a given state.
    """
    batch = len(state.u_out)
    Q = tuple(np.broadcast_to(Q_l, (batch, *Q_l.shape[1:])) for Q_l in Q)
    return np.array(
        [
            growth_rate(
                closed_loop_jacobian(
                    configuration,
                    parameters,
                    tuple(Q_l[sample] for Q_l in Q),
                    sample_state(state, sample),
                )
            )
            for sample in range(batch)
        ]
    )


def open_loop_growth_rates(
    configuration: NetworkConfiguration, parameters: Parameters, state: NetworkState
) -> np.ndarray:
    """Growth rate of the slowest-decaying disturbance, open loop, per second, (batch,).

    Always below 0. The layers form a chain, so that the eigenvalues are those of single E-I
    pairs, each a damped negative feedback, and −1/τ_E of the readout.
    """
    return np.array(
        [
            growth_rate(open_loop_jacobian(configuration, parameters, sample_state(state, sample)))
            for sample in range(len(state.u_out))
        ]
    )


def growth_rate(jacobian: np.ndarray) -> float:
    """Largest real part of the eigenvalues, in the unit of the Jacobian, (n, n)."""
    return float(np.max(np.linalg.eigvals(jacobian).real))


def sample_state(state: NetworkState, sample: int) -> NetworkState:
    """Take one sample of a batch: arrays (n,) out of arrays (batch, n)."""
    return map_arrays(lambda u: u[sample], state)


def open_loop_jacobian(
    configuration: NetworkConfiguration, parameters: Parameters, state: NetworkState
) -> np.ndarray:
    """Jacobian of section 2 with c = 0, for one sample's state, (n, n), per second.

    Row i is the derivative of dy_i/dt. In the order of `pack`, without the controller's integral,
    which rests in the open loop.
    """
    at = _positions(configuration.sizes)
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    tau_E, tau_I = configuration.tau_E, configuration.tau_I
    slopes_E = [slope(phi_E, u) for u in state.u_E]
    J = np.zeros((at.out.stop, at.out.stop))
    for l, (E, I) in enumerate(zip(at.E, at.I, strict=True)):
        J[E, E] = -np.eye(len(slopes_E[l])) / tau_E
        J[E, I] = -np.diag(slope(phi_I, state.u_I[l])) / tau_E
        J[I, E] = np.diag(slopes_E[l]) / tau_I
        J[I, I] = -np.eye(len(slopes_E[l])) / tau_I
        if l > 0:
            J[E, at.E[l - 1]] = parameters.weights[l].T * slopes_E[l - 1] / tau_E
    J[at.out, at.E[-1]] = parameters.readout.T * slopes_E[-1] / tau_E
    J[at.out, at.out] = -np.eye(len(state.u_out)) / tau_E
    return J


def closed_loop_jacobian(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    Q: FeedbackWeights,
    state: NetworkState,
) -> np.ndarray:
    """Jacobian of sections 2 and 3 under control, for one sample's state, (n, n), per second.

    With S = −∂e/∂u_out, the control signal changes by dc = −k_p S du_out + k_i dz. In the order of
    `pack`; Q are (n_out, n_l).
    """
    at = _positions(configuration.sizes)
    controller = configuration.controller
    S = error_jacobian(configuration.loss, state.u_out)
    identity = np.eye(len(state.u_out))
    J = np.zeros((at.z.stop, at.z.stop))
    J[: at.z.start, : at.z.start] = open_loop_jacobian(configuration, parameters, state)
    for I, Q_l in zip(at.I, Q, strict=True):
        J[I, at.out] = controller.k_p * Q_l.T @ S / configuration.tau_I
        J[I, at.z] = -controller.k_i * Q_l.T / configuration.tau_I
    if configuration.feedback.to_readout:
        J[at.out, at.out] -= controller.k_p * S / configuration.tau_E
        J[at.out, at.z] = controller.k_i * identity / configuration.tau_E
    J[at.z, at.out] = -S / controller.tau
    J[at.z, at.z] = -controller.leak * identity / controller.tau
    return J


@dataclass(frozen=True)
class _Positions:
    """Where `pack` puts each part of a state."""

    E: tuple[slice, ...]
    I: tuple[slice, ...]
    out: slice
    z: slice


def _positions(sizes: tuple[int, ...]) -> _Positions:
    hidden, n_out = sizes[1:-1], sizes[-1]
    ends = np.cumsum([*hidden, *hidden, n_out, n_out]).tolist()
    slices = [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
    L = len(hidden)
    return _Positions(tuple(slices[:L]), tuple(slices[L : 2 * L]), slices[-2], slices[-1])
