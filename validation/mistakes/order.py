"""Usual mistakes that leave numbers right and their order wrong: memory, samples, steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ...refimpl import Parameters, map_arrays, optimizer_step
from ..judge import (
    CLOSED_LOOP,
    CLOSED_LOOP_TARGET,
    GRADIENTS,
    OPEN_LOOP,
    UPDATE,
    Arrays,
    deviation,
    largest,
    learner_before,
)
from ..storage import named_arrays
from ..trace import Trace
from .mistake import Result, Setting, changed_parameters, givens, run_reference

MOST_SHOWN = 12
"""Samples of an order that a hint lists."""
SAME = 1e-9
"""Of the largest distance between two samples; what is nearer is as near."""
AS_HELD = 1e-3
"""What follows from rounded numbers leaves no more than this of what follows from others."""


# Memory: the last index runs fastest, in what is read and what is written.


def written_column_major(array: np.ndarray) -> np.ndarray:
    """Let the first index run fastest."""
    return array.ravel(order="F").reshape(array.shape)


def read_column_major(array: np.ndarray) -> np.ndarray:
    """Take an array for one whose first index runs fastest."""
    return array.ravel().reshape(array.shape, order="F")


def in_a_file(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """Change an array of a stage as it lies in a file: of a path, (batch, time, n)."""

    def changed(setting: Setting, array: np.ndarray) -> np.ndarray:
        if not setting.stage.is_path:
            return change(array)
        return np.swapaxes(change(np.swapaxes(array, 0, 1)), 0, 1)

    return changed


def last_two_exchanged(array: np.ndarray) -> np.ndarray:
    """Write (batch, n_l, n_out) where (batch, n_out, n_l) is to stand."""
    return np.swapaxes(array, -1, -2).reshape(array.shape)


def time_and_batch_exchanged(array: np.ndarray) -> np.ndarray:
    """Write (time, batch, n) where (batch, time, n) is to stand."""
    return np.swapaxes(array, 0, 1).reshape(array.shape)


def of_weights(change: Callable[[np.ndarray], np.ndarray], setting: Setting) -> Trace | None:
    """Change the memory of all weights, which every step begins with."""

    def changed(parameters: Parameters) -> Parameters:
        # A bias has one axis, and is the same in every order.
        return map_arrays(change, parameters)

    return changed_parameters(setting.trace, changed)


def of_part(
    part: str, change: Callable[[np.ndarray], np.ndarray], setting: Setting
) -> Trace | None:
    """Change the memory of some parameters, which every step begins with."""
    return changed_parameters(
        setting.trace,
        lambda parameters: dataclasses.replace(
            parameters, **{part: map_arrays(change, getattr(parameters, part))}
        ),
    )


def in_the_first_step(result: Result) -> Result:
    """Make a mistake with the parameters that were given, not with those that were learnt."""

    def first(setting: Setting) -> Arrays | None:
        if len(setting.trace.steps) < 2:
            return None
        return setting.right if setting.step else result(setting)

    return first


def written_in_every_step(
    change: Callable[[np.ndarray], np.ndarray],
    undone: Callable[[np.ndarray], np.ndarray],
    setting: Setting,
) -> Arrays:
    """Parameters that were changed when they were written, and not when they were learnt from."""
    trace = setting.trace
    kept = changed_parameters(trace, lambda parameters: map_arrays(undone, parameters))
    kept = dataclasses.replace(kept, initial_parameters=trace.initial_parameters)
    return {name: change(array) for name, array in run_reference(setting, kept).items()}


def in_float32(array: np.ndarray) -> np.ndarray:
    """Keep what float32 can."""
    return array.astype(np.float32).astype(np.float64)


def weights_in_float32(array: np.ndarray) -> np.ndarray:
    """Likewise, but for biases."""
    return in_float32(array) if array.ndim > 1 else array


def _in_float32(arrays: Arrays) -> Arrays:
    return {name: in_float32(array) for name, array in arrays.items()}


def parameters_held_in_float32(setting: Setting) -> Arrays | None:
    """Round what an update gives, as the next step has it, too."""
    if not _is_in_float32(setting) or not _are_held(setting):
        return None
    return _in_float32(setting.right)


def parameters_written_in_float32(setting: Setting) -> Arrays | None:
    """Round what all updates so far give, each of which begins with what the last one left."""
    if not _is_in_float32(setting) or _are_held(setting):
        return None
    trace, parameters = setting.trace, setting.trace.initial_parameters
    for step in range(setting.step + 1):
        state = learner_before(trace, step).optimizer
        gradients, optimizer = trace.steps[step].gradients, trace.configuration.optimizer
        parameters, _ = optimizer_step(optimizer, parameters, gradients, state)
    return _in_float32(named_arrays(parameters))


def _is_in_float32(setting: Setting) -> bool:
    """Whether float32 holds all that was found."""
    return all(np.array_equal(in_float32(array), array) for array in setting.found.values())


def _are_held(setting: Setting) -> bool:
    """Whether steps go on from the parameters that were found, to the last digit."""
    trace, seen = setting.trace, []
    for one in setting.beside:
        if one.step + 1 < len(trace.steps):
            after = OPEN_LOOP if trace.steps[one.step].circuit else GRADIENTS
            next_one = dataclasses.replace(setting, stage=after, step=one.step + 1)
            unrounded = UPDATE.put(trace, one.step, one.right)
            seen.append(_follows_from_rounded(next_one, unrounded))
    return bool(seen) and all(seen)


def target_in_float32(is_held: bool, setting: Setting) -> Arrays | None:
    """Round the target: as it is written alone, or as the closed loop has it, too."""
    if not _is_in_float32(setting):
        return None
    here = dataclasses.replace(setting, stage=CLOSED_LOOP)
    unrounded = CLOSED_LOOP_TARGET.put(setting.trace, setting.step, setting.right)
    follows = _follows_from_rounded(here, unrounded)
    return _in_float32(setting.right) if follows == is_held else None


def _follows_from_rounded(setting: Setting, unrounded: Trace) -> bool:
    """Whether a stage was found from what the trace has, and not from another's numbers."""
    found = setting.stage.golden(setting.trace, setting.step)
    rounded, right = (run_reference(setting, trace) for trace in (setting.trace, unrounded))
    left, off = (
        max(largest(deviation(one[name], array)) for name, array in found.items())
        for one in (rounded, right)
    )
    return off > 0 and left <= AS_HELD * off


# Steps: each begins with what the last one left.


def of_the_step_before(setting: Setting) -> Arrays | None:
    """Give what the stage should have given a step ago; in the first step it is right."""
    if len(setting.trace.steps) < 2:
        return None
    return run_reference(dataclasses.replace(setting, step=max(setting.step - 1, 0)), setting.trace)


def of_the_first_step(setting: Setting) -> Arrays | None:
    """Give what the stage should have given in the first step."""
    if len(setting.trace.steps) < 2:
        return None
    return run_reference(dataclasses.replace(setting, step=0), setting.trace)


def steps_reversed(setting: Setting) -> Arrays | None:
    """Give what belongs to the step as far from the end, of the parameters that stand there."""
    trace, n_steps = setting.trace, len(setting.trace.steps)
    if n_steps < 2:
        return None
    mirrored = dataclasses.replace(trace, steps=trace.steps[::-1])
    place = dataclasses.replace(setting, step=n_steps - 1 - setting.step)
    return run_reference(place, mirrored)


def first_initial_parameters_of(change: Callable[[np.ndarray], np.ndarray]) -> Result:
    """Change the parameters that were given, and go on from there with nothing wrong."""
    return in_the_first_step(givens(partial(of_weights, change)))


def parameters_of_the_step_before(setting: Setting) -> Trace | None:
    """Begin a step with the parameters that the one before it began with."""
    step = setting.step
    return _beginning_with(setting, learner_before(setting.trace, max(step - 1, 0)).parameters)


def part_of_the_step_before(part: str, setting: Setting) -> Trace | None:
    """Begin a step with some of the parameters that the one before it began with."""
    trace, step = setting.trace, setting.step
    stale = getattr(learner_before(trace, max(step - 1, 0)).parameters, part)
    now = learner_before(trace, step).parameters
    return _beginning_with(setting, dataclasses.replace(now, **{part: stale}))


def initial_parameters(setting: Setting) -> Trace | None:
    """Begin a step with the parameters of the first."""
    return _beginning_with(setting, setting.trace.initial_parameters)


def _beginning_with(setting: Setting, parameters: Parameters) -> Trace | None:
    trace, before = setting.trace, setting.step - 1
    if len(trace.steps) < 2:
        return None
    if before < 0:
        return trace
    stale = dataclasses.replace(trace.steps[before], parameters_after=parameters)
    return dataclasses.replace(
        trace, steps=(*trace.steps[:before], stale, *trace.steps[before + 1 :])
    )


# Layers: they are counted from the input.


def layers_from_the_top(setting: Setting) -> Arrays | None:
    """Number layers from the output, where no shape tells."""
    right = setting.right
    turned = dict(right)
    for kind in {name.rpartition("_")[0] for name in right if name.rpartition("_")[2].isdigit()}:
        layers = sorted(name for name in right if name.rpartition("_")[0] == kind)
        turned |= dict(zip(layers, (right[name] for name in reversed(layers)), strict=True))
    if any(turned[name].shape != array.shape for name, array in right.items()):
        return None
    return turned


# Samples: each is where it was given.


def left_at_zero(setting: Setting) -> Arrays | None:
    """Put zeros for samples of which all that was found is zero, if there are such."""
    samples, axis = silent_samples(setting), _sample_axis(setting)
    changed = {}
    for name, array in setting.right.items():
        moved = np.moveaxis(array, axis, 0).copy()
        moved[samples] = 0
        changed[name] = np.moveaxis(moved, 0, axis)
    return changed


def silent_samples(setting: Setting) -> list[int]:
    """Numbers of the samples of which all that was found is zero."""
    axis = _sample_axis(setting)
    parts = [np.moveaxis(array, axis, 0) for array in setting.found.values()]
    batch = setting.trace.inputs.shape[1]
    return [sample for sample in range(batch) if not any(np.any(part[sample]) for part in parts)]


def silent_in_words(settings: Sequence[Setting]) -> str:
    """Say which samples are left at zero, or that all are."""
    batch = settings[0].trace.inputs.shape[1]
    if all(len(silent_samples(setting)) == batch for setting in settings):
        return (
            "all of it is zero, in every sample: it was never filled, or a factor of it is 0, as "
            "slopes like those of max(v, 0) are of units below their threshold"
        )
    for setting in settings:
        samples = silent_samples(setting)
        if samples:
            shown = ", ".join(map(str, samples[:MOST_SHOWN]))
            return f"of a batch some samples are left at zero: {shown} in step {setting.step}"
    return "of a batch some samples are left at zero"


def samples_in_another_order(setting: Setting) -> Arrays | None:
    """Put samples in the order in which they were found."""
    right, order = setting.right, _order(samples_apart, setting)
    if order is None:
        return right
    axis = _sample_axis(setting)
    return {name: np.take(array, order, axis) for name, array in right.items()}


def samples_apart(setting: Setting) -> np.ndarray:
    """How far what stands at each place in the batch is from each sample, (place, sample)."""
    right, axis = setting.right, _sample_axis(setting)
    batch = setting.trace.inputs.shape[1]
    apart = np.zeros((batch, batch))
    for name, found in setting.found.items():
        ours, theirs = (np.moveaxis(a, axis, 0).reshape(batch, -1) for a in (found, right[name]))
        apart = np.maximum(apart, [np.max(np.abs(one - theirs), axis=1, initial=0) for one in ours])
    return apart


def _sample_axis(setting: Setting) -> int:
    return 1 if setting.stage.is_path else 0


def labels_in_another_order(setting: Setting) -> Arrays | None:
    """Give the target that each place in the batch has of another's label."""
    order = _order(labels_apart, setting)
    return setting.right if order is None else run_reference(setting, _with_labels(setting, order))


def labels_of_another_step(other: Callable[[int, int], int], setting: Setting) -> Trace | None:
    """Give the labels of the step whose number is that of (step, number of steps)."""
    trace, step, n_steps = setting.trace, setting.step, len(setting.trace.targets)
    if n_steps < 2:
        return None
    targets = trace.targets.copy()
    targets[step] = targets[other(step, n_steps)]
    return dataclasses.replace(trace, targets=targets)


def labels_with(change: Callable[[np.ndarray], np.ndarray], setting: Setting) -> Trace:
    """Give the step other labels, of those that it has, (batch, n_out)."""
    targets = setting.trace.targets.copy()
    targets[setting.step] = change(targets[setting.step])
    return dataclasses.replace(setting.trace, targets=targets)


def labels_apart(setting: Setting) -> np.ndarray:
    """How far what stands at each place in the batch is from what each label gives there."""
    batch = setting.trace.inputs.shape[1]
    columns = []
    for label in range(batch):
        given = run_reference(setting, _with_labels(setting, np.full(batch, label)))
        columns.append(
            np.max(
                [np.max(np.abs(setting.found[name] - given[name]), axis=-1) for name in given], 0
            )
        )
    return np.stack(columns, axis=1)


def _with_labels(setting: Setting, order: np.ndarray) -> Trace:
    targets = setting.trace.targets.copy()
    targets[setting.step] = targets[setting.step][order]
    return dataclasses.replace(setting.trace, targets=targets)


def _order(apart_of: Callable[[Setting], np.ndarray], setting: Setting) -> np.ndarray | None:
    """Of each place in the batch, what stands there; None if that is its own, or no order.

    Where equal samples leave a choice, an order that all steps may have is taken first, and of
    such ones a reversal or a rotation.
    """
    apart = {one.step: _apart(apart_of, one) for one in setting.beside or [setting]}
    single = {step: _nearest(one) for step, one in apart.items()}
    found = single[setting.step]
    if found is None:
        return None
    simple = _simple_orders(len(found))
    others = [order for order in single.values() if order is not None]
    wrong = [one for step, one in apart.items() if single[step] is not None]
    for orders, places in ((simple, [*apart.values()]), (others, wrong), (simple, wrong)):
        for order in orders:
            if all(_is_near(one)[np.arange(len(order)), order].all() for one in places):
                return order
    return found


def _apart(apart_of: Callable[[Setting], np.ndarray], setting: Setting) -> np.ndarray:
    """What a function finds, once."""
    noted: dict[str, np.ndarray] = setting.notes
    if apart_of.__name__ not in noted:
        noted[apart_of.__name__] = apart_of(setting)
    return noted[apart_of.__name__]


def _simple_orders(batch: int) -> list[np.ndarray]:
    """Reversal and rotations, those by few places first."""
    own = np.arange(batch)
    shifts = [shift for n in range(1, batch // 2 + 1) for shift in (n, -n)]
    return [own[::-1], *(np.roll(own, shift) for shift in shifts)]


def _is_near(apart: np.ndarray) -> np.ndarray:
    """Of each row which columns are the nearest, as far as numbers tell."""
    least = np.min(apart, axis=1, keepdims=True)
    return np.asarray(apart <= 2 * least + SAME * np.max(apart))


def _nearest(apart: np.ndarray) -> np.ndarray | None:
    """Of each row the nearest column; among equal ones its own, or else one that is not taken."""
    taken = np.zeros(len(apart), dtype=bool)
    order = np.zeros(len(apart), dtype=np.int64)
    for row, (distances, near) in enumerate(zip(apart, _is_near(apart), strict=True)):
        free = np.flatnonzero(near & ~taken)
        own = near[row] and not taken[row]
        order[row] = row if own else free[0] if free.size else np.argmin(distances)
        taken[order[row]] = True
    own = np.arange(len(order))
    # In an order, each has one place.
    is_order = np.array_equal(np.sort(order), own) and not np.array_equal(order, own)
    return order if is_order else None


def order_in_words(
    what: str, apart_of: Callable[[Setting], np.ndarray], settings: Sequence[Setting]
) -> str:
    """Say in which order the first step has them that has another than the trace's."""
    for setting in settings:
        order = _order(apart_of, setting)
        if order is not None:
            shown = ", ".join(map(str, order[:MOST_SHOWN]))
            more = ", …" if len(order) > MOST_SHOWN else ""
            is_one_of_several = np.any(_is_near(_apart(apart_of, setting)).sum(axis=1) > 1)
            return (
                f"{what} are in another order: step {setting.step} has the trace's numbers "
                f"{shown}{more}, where they count from 0"
                f"{', or of equal ones another' if is_one_of_several else ''}"
            )
    return f"{what} are in another order"
