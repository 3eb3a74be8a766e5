"""Feedback weights against the finite-difference Jacobian that they are defined by."""

import numpy as np
import pytest

from disinhib.refimpl.circuit import NetworkState
from disinhib.refimpl.configuration import Feedback, NetworkConfiguration, SoftReLU
from disinhib.refimpl.feedback import feedback_weights

from .microcircuit import random_network, softrelu, softrelu_slope

SIZES = (5, 6, 4, 3)


def network(**feedback):
    configuration = NetworkConfiguration(
        sizes=SIZES,
        activation_E=SoftReLU(1.3, 0.9, 0.4),
        activation_I=SoftReLU(0.8, 1.2, -0.2),
        feedback=Feedback(**feedback),
    )
    parameters, _, _ = random_network(SIZES, seed=5)
    generator = np.random.default_rng(1)
    state = NetworkState(
        tuple(generator.standard_normal((4, n)) for n in SIZES[1:-1]),
        tuple(generator.standard_normal((4, n)) for n in SIZES[1:-1]),
        np.zeros((4, 3)),
        np.zeros((4, 3)),
    )
    return configuration, parameters, state


def jacobian(configuration, parameters, state, sample, l):
    """∂u_out/∂u_E^l of the feedforward chain, by central differences; the chain above layer l
    is linearised at the state's own potentials, as section 4 has it.
    """
    phi = configuration.activation_E
    h, columns = 1e-6, []
    for j in range(SIZES[l + 1]):
        outputs = []
        for sign in (1, -1):
            u = state.u_E[l][sample].copy()
            u[j] += sign * h
            r = softrelu(phi, u)
            for k in range(l + 1, len(state.u_E)):
                u_k = state.u_E[k][sample]
                change = (r - softrelu(phi, state.u_E[k - 1][sample])) @ parameters.weights[k]
                r = softrelu(phi, u_k) + softrelu_slope(phi, u_k) * change
            outputs.append(r @ parameters.readout)
        columns.append((outputs[0] - outputs[1]) / (2 * h))
    return np.array(columns).T


def test_weights_are_the_jacobian_times_the_inhibitory_slope():
    configuration, parameters, state = network(normalize=False)
    Q = feedback_weights(configuration, parameters, state)
    for l in range(2):
        for sample in range(4):
            J = jacobian(configuration, parameters, state, sample, l)
            slope_I = softrelu_slope(configuration.activation_I, state.u_I[l][sample])
            np.testing.assert_allclose(Q[l][sample], J * slope_I, rtol=1e-6, atol=1e-8)


def test_average_clip_normalise_in_this_order():
    configuration, parameters, state = network(normalize=False)
    raw = feedback_weights(configuration, parameters, state)
    options = {"average": True, "clip": 0.02, "normalize": True, "norm": 2.5}
    configuration, parameters, state = network(**options)
    for Q, Q_raw in zip(feedback_weights(configuration, parameters, state), raw, strict=True):
        clipped = np.clip(Q_raw.mean(axis=0), -0.02, 0.02)
        expected = 2.5 * clipped / np.linalg.norm(clipped)
        assert np.any(np.abs(Q_raw.mean(axis=0)) > 0.02)
        np.testing.assert_allclose(np.broadcast_to(Q, Q_raw.shape)[2], expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_silent_layer_feeds_nothing_back(dtype):
    configuration, parameters, state = network()
    silent = np.full_like(state.u_E[1], -1e4)
    state = NetworkState((state.u_E[0], silent), state.u_I, state.u_out, state.z)
    cast = NetworkState(
        tuple(u.astype(dtype) for u in state.u_E),
        tuple(u.astype(dtype) for u in state.u_I),
        state.u_out.astype(dtype),
        state.z.astype(dtype),
    )
    Q = feedback_weights(configuration, parameters.astype(dtype), cast)
    assert all(q.dtype == dtype and np.all(q == 0) for q in Q)
