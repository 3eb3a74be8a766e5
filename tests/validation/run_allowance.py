"""How far apart two right runs may end, for tests that compare a run with another."""

from pathlib import Path

import numpy as np

from disinhib.backends import NumpyBackend
from disinhib.refimpl.configuration import Solver
from disinhib.validation.judge.allowance import run_effects
from disinhib.validation.judge.tolerance import float_arithmetic
from disinhib.validation.trace.trace import Trace


def run_allowance(configuration, solver, parameters, x, y, dtype):
    """Allowance of every parameter between two runs in `dtype`, by the name of its array.

    x, y : array, (steps, batch, n)
    """
    wide = parameters.astype(np.dtype(np.float64))
    empty = np.zeros(len(x))
    trace = Trace(
        path=Path("no file"),
        configuration=configuration,
        solver=solver,
        initial_parameters=wide,
        final_parameters=wide,
        stored_precision=np.dtype(dtype),
        inputs=np.asarray(x, dtype=np.float64),
        targets=np.asarray(y, dtype=np.float64),
        open_loop_loss=empty,
        closed_loop_loss=empty,
        steps=(),
        trajectory=None,
    )
    reference = NumpyBackend(configuration, wide, np.float64, Solver())
    effects = run_effects(reference, trace, float_arithmetic(dtype), solver.method == "fixed-point")
    return {name: 2 * effect for name, effect in effects.items()}
