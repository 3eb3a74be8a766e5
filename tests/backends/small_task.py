"""A small network, its task, and a few steps of learning."""

import numpy as np

from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import Solver
from disinhib.validation.storage.arrays import named_arrays

SIZES = (6, 7, 5, 3)
RULES = ["exact-inverse", "linear-threshold", "linear-threshold-fixed", "backprop"]
LOSSES = ["softmax-cross-entropy", "mse"]
FEEDBACK = {
    "default": {},
    "average": {"average": True},
    "clip": {"clip": 0.05},
    "raw": {"normalize": False},
    "weak": {"strong": False},
    "not to readout": {"to_readout": False},
    "all": {"average": True, "clip": 0.1, "norm": 2.0, "strong": False, "to_readout": False},
}
SOLVERS = {
    "fixed-point": Solver(),
    "tsit5": Solver(method="tsit5", rtol=1e-6, atol=1e-9),
    "euler": Solver(method="euler", rtol=1e-4, atol=1e-7),
    "tsit5 constant": Solver(method="tsit5", step_control="constant", dt=4e-3, horizon=0.1),
}


def task(batch=12):
    generator = np.random.default_rng(4)
    x = generator.random((batch, SIZES[0]))
    y = np.full((batch, SIZES[-1]), 0.005)
    y[np.arange(batch), generator.integers(0, SIZES[-1], batch)] = 0.99
    return x, y


def trained(kind, configuration, solver, dtype=np.float64, n_steps=3, **options):
    x, y = task()
    parameters = initial_parameters(configuration.sizes, np.random.default_rng(0))
    backend = kind(configuration, parameters, dtype, solver, **options)
    order = np.arange(12).reshape(3, 4)[:n_steps]
    metrics = backend.train(backend.place(x, y), order)
    return metrics, backend.learner()


def arrays_of(learner):
    return [*named_arrays(learner.parameters).values(), *learner.mean_inhibition]
