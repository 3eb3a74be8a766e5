"""The reference in coarse arithmetic: everything that a stage gives is rounded to so many bits.

As a chip with wide accumulators computes: a sum is rounded once, when it is stored. Adam's moments
are kept wide.
"""

import dataclasses

import numpy as np

from disinhib.refimpl.circuit import map_arrays
from disinhib.validation import record_trace, write_trace

from .fault import StagedBackend

MODES = {
    "nearest-even": np.rint,
    "nearest-away": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "floor": np.floor,
    "truncate": np.trunc,
}


def fixed_point(bits, mode):
    """Rounding to so many bits after the binary point."""
    return lambda array: MODES[mode](np.asarray(array) * 2.0**bits) / 2.0**bits


def coarse_backend(rounded):
    """Class of a backend that rounds what leaves its stages, through `rounded`."""

    class Coarse(StagedBackend):
        def open_loop(self, x):
            state, counts = super().open_loop(x)
            return map_arrays(rounded, state), counts

        def mean_inhibition(self, open_loop):
            return map_arrays(rounded, super().mean_inhibition(open_loop))

        def feedback_weights(self, open_loop):
            return map_arrays(rounded, super().feedback_weights(open_loop))

        def closed_loop_target(self, open_loop, y):
            return rounded(super().closed_loop_target(open_loop, y))

        def closed_loop(self, x, Q, target, open_loop):
            state, counts = super().closed_loop(x, Q, target, open_loop)
            return map_arrays(rounded, state), counts

        def gradients(self, *given):
            return map_arrays(rounded, super().gradients(*given))

        def update(self, gradients, mean_inhibition):
            super().update(gradients, mean_inhibition)
            learner = self.learner()
            parameters = map_arrays(rounded, learner.parameters)
            self.load(dataclasses.replace(learner, parameters=parameters))

    return Coarse


def write_coarse_answers(path, trace, rounded):
    """Let it go through all steps on its own, and write what it gives, as a port does."""
    answers = record_trace(
        trace.configuration,
        map_arrays(rounded, trace.initial_parameters),
        trace.inputs,
        trace.targets,
        backend_class=coarse_backend(rounded),
    )
    write_trace(path, answers, "a chip")
    return path
