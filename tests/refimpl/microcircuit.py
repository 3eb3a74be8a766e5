"""The model written a second time, neuron by neuron, as an oracle for the tests."""

from itertools import pairwise

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import expit, softmax

from disinhib.refimpl.circuit import Parameters
from disinhib.refimpl.configuration import NetworkConfiguration


def softrelu(phi, u):
    return phi.scale * np.logaddexp(0, phi.sharpness * (u - phi.shift))


def softrelu_slope(phi, u):
    return phi.scale * phi.sharpness * expit(phi.sharpness * (u - phi.shift))


def random_network(sizes, seed=0, scale=1.0):
    """Parameters with biases that are not 0, and two samples of input and label."""
    generator = np.random.default_rng(seed)
    parameters = Parameters(
        tuple(
            scale * generator.standard_normal((n, m)) / np.sqrt(n) for n, m in pairwise(sizes[:-1])
        ),
        tuple(generator.standard_normal(n) / 2 for n in sizes[1:-1]),
        scale * generator.standard_normal(sizes[-2:]) / np.sqrt(sizes[-2]),
    )
    x = generator.random((4, sizes[0]))
    y = np.full((4, sizes[-1]), 0.01 / max(sizes[-1] - 1, 1))
    y[np.arange(4), generator.integers(0, sizes[-1], 4)] = 0.99
    return parameters, x, y


def simulate(
    configuration: NetworkConfiguration, parameters, x, start=None, Q=None, target=None, T=5.0
):
    """Integrate one sample by SciPy's LSODA and return (u_E, u_I, u_out, z) at the end.

    The slowest time constant of the settings here is 0.1 s.
    """
    sizes = configuration.sizes
    n_hidden, n_out = sum(sizes[1:-1]), sizes[-1]
    ends = np.cumsum(sizes[1:-1])[:-1]
    controller = configuration.controller

    def derivative(t, state):
        u_E = np.split(state[:n_hidden], ends)
        u_I = np.split(state[n_hidden : 2 * n_hidden], ends)
        u_out, z = state[2 * n_hidden : 2 * n_hidden + n_out], state[2 * n_hidden + n_out :]
        c, dz = np.zeros(n_out), np.zeros(n_out)
        if Q is not None:
            prediction = u_out if configuration.loss == "mse" else softmax(u_out)
            e = target - prediction
            c = controller.k_p * e + controller.k_i * z
            dz = (e - controller.leak * z) / controller.tau
        below, du_E, du_I = x, [], []
        for l in range(len(u_E)):
            a = below @ parameters.weights[l] + parameters.biases[l]
            r_I = softrelu(configuration.activation_I, u_I[l])
            r_E = softrelu(configuration.activation_E, u_E[l])
            q = 0 if Q is None else c @ Q[l]
            du_E.append((-u_E[l] + a - r_I) / configuration.tau_E)
            du_I.append((-u_I[l] + r_E - q) / configuration.tau_I)
            below = r_E
        direct = c if configuration.feedback.to_readout else 0
        du_out = (-u_out + below @ parameters.readout + direct) / configuration.tau_E
        return np.concatenate([*du_E, *du_I, du_out, dz])

    n = 2 * n_hidden + 2 * n_out
    start = np.zeros(n) if start is None else start
    solution = solve_ivp(derivative, (0, T), start, method="LSODA", rtol=1e-11, atol=1e-13)
    return solution.y[:, -1]
