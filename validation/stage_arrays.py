"""The arrays of a stage by the names that files and reports give them."""

from __future__ import annotations

import numpy as np

from ..refimpl.state import NetworkState

Arrays = dict[str, np.ndarray]


def state_arrays(state: NetworkState) -> Arrays:
    """Name the arrays of a state as the files do."""
    return {
        **{f"u_E_{l}": u for l, u in enumerate(state.u_E)},
        **{f"u_I_{l}": u for l, u in enumerate(state.u_I)},
        "u_out": state.u_out,
        "c_int": state.z,
    }


def state_from(arrays: Arrays, n_hidden: int) -> NetworkState:
    """Build the state whose arrays these are."""
    return NetworkState(
        tuple(arrays[f"u_E_{l}"] for l in range(n_hidden)),
        tuple(arrays[f"u_I_{l}"] for l in range(n_hidden)),
        arrays["u_out"],
        arrays["c_int"],
    )


def layer_arrays(name: str, layers: tuple[np.ndarray, ...]) -> Arrays:
    """Name an array of each hidden layer as the files do."""
    return {f"{name}_{l}": array for l, array in enumerate(layers)}


def layers_from(name: str, arrays: Arrays) -> tuple[np.ndarray, ...]:
    """Give the array of each hidden layer; the inverse of `layer_arrays`."""
    return tuple(arrays[f"{name}_{l}"] for l in range(len(arrays)))
