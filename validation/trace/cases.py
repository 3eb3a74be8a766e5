"""Traces to judge by: the shipped ones, those at given paths, the standard set, random networks.

The standard set has every rule, loss and feedback option, depths and extremes; a case's name is its
seed, and that of a random network its number.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from ...refimpl import (
    LOSSES,
    RULES,
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    Parameters,
    SoftReLU,
    initial_parameters,
)
from ..storage import FileError, is_of_schema, reading
from .recording import record_trace
from .trace import SCHEMA, Trace


def shipped_directory() -> Path:
    """Directory of the shipped traces, which a package on disk always has."""
    return Path(str(files("disinhib.validation.golden")))


def find_traces(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[list[Path], list[Path]]:
    """Turn files and directories into trace files.

    Parameters
    ----------
    paths : str or path, or a sequence of them
        Files are taken as they are; of a directory, the `.h5` files that are traces.

    Returns
    -------
    traces, others : list of Path
        Trace files, and the HDF5 files of a directory that are something else.

    Raises
    ------
    FileError
        A path does not exist, or a directory has no trace or may not be read.
    """
    traces, others = list[Path](), list[Path]()
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    for path in map(Path, listed):
        if not path.is_dir():
            if not path.exists():
                raise FileError(f"{path}: no such file or directory")
            traces.append(path)
            continue
        found: list[Path] = []
        try:
            # `glob` takes a directory into which it may not look for an empty one.
            names = os.listdir(path)
        except OSError as problem:
            raise FileError(f"{path} cannot be read: {problem.strerror}") from problem
        for candidate in sorted(path / name for name in names if name.endswith(".h5")):
            with reading(candidate) as file:
                is_trace = is_of_schema(file, SCHEMA)
            (found if is_trace else others).append(candidate)
        if not found:
            raise FileError(f"{path}: no trace (.h5 with schema {SCHEMA!r}) in this directory")
        traces.extend(found)
    return traces, others


BATCH, STEPS = 5, 3

FEEDBACK_OPTIONS: dict[str, Feedback] = {
    "default": Feedback(),
    "averaged": Feedback(average=True),
    "clipped": Feedback(clip=0.05),
    "clipped-unnormalised": Feedback(clip=0.05, normalize=False),
    "unnormalised": Feedback(normalize=False),
    "norm-2": Feedback(norm=2.0),
    "weak": Feedback(strong=False),
    "weak-averaged": Feedback(strong=False, average=True),
    "readout-free": Feedback(to_readout=False),
}
"""By the name that a case's file bears."""


@dataclass(frozen=True)
class StandardCase:
    """One small network and what is special in it; its name is that of its file.

    Inputs are drawn from 0 to `input_scale`, initial weights are multiplied by `weight_scale`,
    initial biases, if the network has any, drawn around `bias`, labels multiplied by `label_scale`.
    With a trajectory, batch 0 is also integrated.
    """

    name: str
    configuration: NetworkConfiguration
    input_scale: float = 1.0
    weight_scale: float = 1.0
    bias: float = 0.0
    label_scale: float = 1.0
    with_trajectory: bool = False


def standard_cases() -> Iterator[StandardCase]:
    """List the cases; their order and numbers are fixed."""
    for rule in RULES:
        for loss in LOSSES:
            options = {"default": Feedback()} if rule == "backprop" else FEEDBACK_OPTIONS
            for option, feedback in options.items():
                yield StandardCase(
                    f"{rule}-{loss}-{option}",
                    NetworkConfiguration(
                        sizes=(6, 7, 7, 4), rule=rule, loss=loss, feedback=feedback
                    ),
                    with_trajectory=rule == "exact-inverse" and option in ("default", "weak"),
                )
    for depth in range(1, 6):
        sizes = (6, *(8 - l for l in range(depth)), 3)
        yield StandardCase(
            f"depth-{depth}",
            NetworkConfiguration(sizes=sizes, rule="linear-threshold"),
            with_trajectory=True,
        )
    yield from _special_cases()


def _special_cases() -> Iterator[StandardCase]:
    plain = NetworkConfiguration(sizes=(6, 7, 5, 4))
    threshold = replace(plain, rule="linear-threshold")
    yield StandardCase(
        "unequal-activations",
        replace(
            plain,
            activation_E=SoftReLU(1.3, 2.0, 0.2),
            activation_I=SoftReLU(0.8, 1.5, -0.3),
            tau_E=0.03,
            tau_I=0.008,
        ),
        with_trajectory=True,
    )
    yield StandardCase(
        "unequal-activations-linear-threshold",
        replace(
            threshold,
            activation_E=SoftReLU(0.7, 3.0, 0.1),
            activation_I=SoftReLU(1.5, 0.8, 0.4),
            mean_inhibition=MeanInhibition(rate=0.25, init=0.5),
        ),
    )
    yield StandardCase(
        "plain-descent", replace(plain, optimizer=Optimizer("sgd", learning_rate=0.1))
    )
    yield StandardCase(
        "plain-descent-running-mean",
        replace(
            threshold,
            optimizer=Optimizer("sgd", learning_rate=0.1),
            mean_inhibition=MeanInhibition(rate=0.1, init=2.0),
        ),
    )
    yield StandardCase(
        "stiff-time-constants",
        replace(plain, tau_E=0.5, tau_I=1e-4, controller=Controller(tau=2.0)),
        with_trajectory=True,
    )
    yield StandardCase(
        "slow-inhibition",
        replace(plain, tau_E=0.005, tau_I=0.2, controller=Controller(tau=0.02)),
        with_trajectory=True,
    )
    yield StandardCase(
        "strong-gain", replace(plain, controller=Controller(k_p=2.0, k_i=20.0, leak=0.2))
    )
    yield StandardCase(
        "strong-gain-fast-controller",
        replace(plain, controller=Controller(k_p=30.0, k_i=15.0, leak=0.5, tau=0.002)),
        with_trajectory=True,
    )
    yield StandardCase(
        "without-leak",
        # The squared error: a softmax at its target has no slope left to come to rest on.
        replace(plain, loss="mse", controller=Controller(k_p=0.5, k_i=2.0, leak=0.0)),
    )
    # A fixed point all the same, and to be found: an integration would not stay at it.
    yield StandardCase(
        "unstable-fixed-point",
        NetworkConfiguration(
            sizes=(6, 5, 5, 5, 3),
            loss="mse",
            tau_I=0.02,
            controller=Controller(k_p=40.0, k_i=0.5),
            feedback=Feedback(norm=2.0, strong=False, nudge=0.1, to_readout=False),
        ),
    )
    yield StandardCase("near-silent", threshold, bias=-12.0)
    yield StandardCase("saturated", plain, input_scale=40.0, weight_scale=3.0)
    yield StandardCase("saturated-linear-threshold", threshold, input_scale=40.0, weight_scale=3.0)
    # Rates that are lost beside 1, and exponentials beyond float64, if one writes log(1 + exp(v)).
    yield StandardCase("far-silent", threshold, bias=-40.0)
    yield StandardCase("far-saturated", threshold, bias=4000.0)
    yield StandardCase("one-unit-layers", replace(threshold, sizes=(1, 1, 1, 2)))
    yield StandardCase("many-outputs", replace(plain, sizes=(6, 5, 24)))
    yield StandardCase(
        "unequal-activations-backprop",
        replace(
            plain,
            rule="backprop",
            activation_E=SoftReLU(0.7, 3.0, 0.1),
            activation_I=SoftReLU(1.5, 0.8, 0.4),
        ),
    )
    # The slopes of sharp neurons are others under control: Newton's matrix has to be taken anew.
    # Where the end is unstable, no integration makes up for a search that fails.
    yield StandardCase(
        "changing-slopes",
        NetworkConfiguration(
            sizes=(6, 5, 5, 5, 3),
            activation_E=SoftReLU(1.0, 4.0, 0.3),
            activation_I=SoftReLU(1.0, 4.0, 0.3),
            tau_I=0.02,
            controller=Controller(k_p=40.0, k_i=0.5),
            feedback=Feedback(norm=2.0, to_readout=False),
        ),
    )
    # A softmax never sums to what such labels do, so that control has no end but by its leak.
    yield StandardCase("labels-of-less-than-1", plain, label_scale=0.7)
    # Nothing is fed back at first, then to the last layer alone: what is 0 has no norm.
    yield StandardCase(
        "without-weights",
        replace(plain, optimizer=Optimizer("sgd", learning_rate=0.1)),
        weight_scale=0.0,
    )
    yield StandardCase("without-biases", replace(threshold, bias=False))
    # A mean over the batch shows where no norm follows it, and factors where no two are equal.
    yield StandardCase(
        "averaged-unnormalised",
        replace(
            plain,
            sizes=(6, 8, 5, 3),
            controller=Controller(k_p=0.3, k_i=0.7, leak=0.6),
            feedback=Feedback(average=True, normalize=False),
        ),
    )
    # With neither gain nothing is to be searched for, and the integral is not c over its gain.
    yield StandardCase(
        "without-gain", replace(plain, controller=Controller(k_p=0.0, k_i=0.0, leak=0.5))
    )


def case_data(case: StandardCase) -> tuple[Parameters, np.ndarray, np.ndarray]:
    """Draw a case's initial parameters, inputs (3, 5, n_in) and labels (3, 5, n_out)."""
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    sizes = case.configuration.sizes
    drawn = initial_parameters(sizes, generator)
    parameters = Parameters(
        tuple(case.weight_scale * W for W in drawn.weights),
        tuple(case.bias + 0.1 * generator.standard_normal(b.shape) for b in drawn.biases),
        case.weight_scale * drawn.readout,
    )
    if not case.configuration.bias:
        parameters = replace(parameters, biases=drawn.biases)
    inputs = case.input_scale * generator.uniform(size=(STEPS, BATCH, sizes[0]))
    n_out = sizes[-1]
    if case.configuration.loss == "mse":
        return parameters, inputs, generator.uniform(-1, 1, (STEPS, BATCH, n_out))
    classes = generator.integers(n_out, size=(STEPS, BATCH))
    targets = np.where(np.arange(n_out) == classes[..., None], 0.99, 0.01 / (n_out - 1))
    return parameters, inputs, case.label_scale * targets


def record_standard_case(case: StandardCase) -> Trace:
    """Run the reference on a case."""
    parameters, inputs, targets = case_data(case)
    return record_trace(
        case.configuration, parameters, inputs, targets, with_trajectory=case.with_trajectory
    )


@dataclass(frozen=True)
class RandomNetwork:
    """A network with its seed in its name, where it starts and what it learns, (3, batch, n)."""

    name: str
    configuration: NetworkConfiguration
    parameters: Parameters
    inputs: np.ndarray
    targets: np.ndarray


def random_networks(n: int) -> Iterator[RandomNetwork]:
    """Draw n networks of any sizes, rule, loss, feedback and activations, always the same."""
    return map(random_network, range(n))


def random_network(seed: int) -> RandomNetwork:
    """Draw the network of a seed, from 0."""
    generator = np.random.default_rng(seed)
    depth = int(generator.integers(1, 5))
    sizes = tuple(int(n) for n in generator.integers(2, 24, depth + 2))

    def choice(values: tuple[str, ...]) -> str:
        return values[int(generator.integers(len(values)))]

    def coin() -> bool:
        return bool(generator.integers(2))

    def activation() -> SoftReLU:
        scale, sharpness = generator.uniform(0.5, 2, 2)
        return SoftReLU(float(scale), float(sharpness), float(generator.uniform(-1, 1)))

    configuration = NetworkConfiguration(
        sizes=sizes,
        activation_E=activation(),
        activation_I=activation(),
        tau_E=float(generator.uniform(0.01, 0.05)),
        tau_I=float(generator.uniform(0.002, 0.01)),
        loss=choice(LOSSES),
        controller=Controller(
            k_p=float(generator.uniform(0, 1)),
            k_i=float(generator.uniform(0.1, 1)),
            leak=float(generator.uniform(0.5, 2)),
            tau=float(generator.uniform(0.05, 0.2)),
        ),
        feedback=Feedback(
            average=coin(),
            clip=float(generator.uniform(0.01, 0.2)) if coin() else None,
            normalize=coin(),
            norm=float(generator.uniform(0.5, 2)),
            strong=coin(),
            nudge=float(generator.uniform(0.01, 0.2)),
            to_readout=coin(),
        ),
        rule=choice(RULES),
        mean_inhibition=MeanInhibition(
            rate=float(generator.uniform(0.05, 1)), init=float(generator.uniform(0.3, 2))
        ),
        optimizer=Optimizer(name=choice(("adam", "sgd")), learning_rate=0.01),
    )
    drawn = initial_parameters(sizes, generator)
    parameters = Parameters(
        drawn.weights,
        tuple(0.1 * generator.standard_normal(b.shape) for b in drawn.biases),
        drawn.readout,
    )
    batch = int(generator.integers(1, 12))
    inputs = generator.uniform(size=(STEPS, batch, sizes[0]))
    targets = generator.dirichlet(np.ones(sizes[-1]), size=(STEPS, batch))
    return RandomNetwork(f"random network {seed}", configuration, parameters, inputs, targets)
