"""How well a network does without control: its open-loop output against the label."""

from __future__ import annotations

import numpy as np

from .backprop import forward
from .configuration import NetworkConfiguration, Solver
from .end_state import EndStateCounts, open_loop_end_state
from .parameters import Parameters


def open_loop_output(
    configuration: NetworkConfiguration, solver: Solver, parameters: Parameters, x: np.ndarray
) -> tuple[np.ndarray, EndStateCounts]:
    """Output that a prediction is read from.

    The open-loop end state of the microcircuit; for the rule 'backprop', the output of the
    plain network.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule.
    solver : Solver
        How the end state is found.
    parameters : Parameters
        Weights and biases.
    x : array, (..., batch, n_in)
        Input, of the parameters' dtype.

    Returns
    -------
    u_out : array, (..., batch, n_out)
    counts : EndStateCounts
        How the end states were reached; zeros for 'backprop'.
    """
    if configuration.rule == "backprop":
        return forward(configuration, parameters, x)[1], EndStateCounts()
    state, counts = open_loop_end_state(configuration, solver, parameters, x)
    return state.u_out, counts


def count_correct(u_out: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Count the samples whose largest output is that of the label, all of them being numbers.

    Parameters
    ----------
    u_out, y : array, (..., batch, n_out)
        Readout potential and label.

    Returns
    -------
    array of int, (...)
    """
    are_numbers = np.all(np.isfinite(u_out), axis=-1)
    is_right = np.argmax(u_out, axis=-1) == np.argmax(y, axis=-1)
    return np.sum(are_numbers & is_right, axis=-1)
