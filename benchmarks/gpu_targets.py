"""The figures that the GPU backend is built for, against their targets: `make gpu-check`.

On 784-256-256-256-10 in float32, at batch 100, with synthetic images of ten classes.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np

from disinhib.backends import backend_class
from disinhib.experiments.benchmarks.measurement import torch_backprop_step
from disinhib.refimpl import NetworkConfiguration, Parameters, Solver, initial_parameters

SIZES, BATCH, STEPS_AN_EPOCH, EPOCHS = (784, 256, 256, 256, 10), 100, 600, 50


def images(n):
    """Images of ten classes as bytes: a prototype and noise each, half of the pixels dark."""
    generator = np.random.default_rng(0)
    coarse = generator.normal(size=(10, 7, 7)).repeat(4, axis=1).repeat(4, axis=2).reshape(10, 784)
    label = generator.integers(0, 10, n)
    x = coarse[label] + generator.normal(size=(n, 784))
    y = np.full((n, 10), 0.01 / 9)
    y[np.arange(n), label] = 0.99
    return np.clip(90 * x, 0, 255).astype(np.uint8), y


def network(backend, method="fixed-point", replicas=None):
    """Build the published network, or several that begin alike."""
    parameters = initial_parameters(SIZES, np.random.default_rng(1))
    if replicas:
        parameters = Parameters(
            tuple(np.stack([W] * replicas) for W in parameters.weights),
            tuple(np.stack([b] * replicas) for b in parameters.biases),
            np.stack([parameters.readout] * replicas),
        )
    configuration = NetworkConfiguration(sizes=SIZES)
    return backend_class(backend)(configuration, parameters, np.float32, Solver(method=method))


def seconds_a_step(run, n):
    """Median of five times n steps, after one that warms up; the extremes beside it."""
    run(n)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        run(n)
        times.append((time.perf_counter() - began) / n)
    return median(times), min(times), max(times)


def main():
    """Measure one figure after the other, each on disk as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="cupy")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2, help="of which the time for 50 is taken")
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--steps", type=int, default=600, help="steps that are timed in one go")
    given = parser.parse_args()
    n_images = BATCH * STEPS_AN_EPOCH
    x, y = images(n_images)
    order = np.random.default_rng(2).permutation(n_images).reshape(STEPS_AN_EPOCH, BATCH)
    figures = {}

    def note(name, value):
        figures[name] = value
        print(f"{name}: {value}", flush=True)
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

    def microseconds(name, of):
        note(f"{name}, us", [round(1e6 * seconds, 1) for seconds in of])

    def training_seconds(backend, n):
        data = backend.place(x, y, 255)
        return seconds_a_step(lambda n: backend.train(data, order[:n]), n)

    steps = given.steps
    ours = training_seconds(network(given.backend), steps)
    microseconds("fixed-point step", ours)
    try:
        for name, is_graph in (("eager", False), ("graph", True)):
            torch = torch_backprop_step(SIZES, BATCH, "float32", None, "cuda", is_graph=is_graph)
            of_torch = seconds_a_step(torch, steps)
            microseconds(f"PyTorch's backprop step, {name}", of_torch)
            note(f"fixed-point step / PyTorch's {name}", round(ours[0] / of_torch[0], 3))
    except Exception as problem:  # whatever PyTorch says, the other figures are wanted
        note("PyTorch", f"{type(problem).__name__}: {problem}")

    backend = network(given.backend)
    data = backend.place(x, y, 255)
    began = time.perf_counter()
    for epoch in range(given.epochs):
        shuffled = np.random.default_rng(epoch).permutation(n_images)
        metrics = backend.train(data, shuffled.reshape(order.shape))
    seconds = (time.perf_counter() - began) * EPOCHS / given.epochs
    note("50 epochs, s", round(seconds, 2))
    note("of which counted", given.epochs)
    note("last loss", round(float(metrics.loss[-1]), 4))
    note("end states under control", str(metrics.closed_loop_counts))

    of_many = training_seconds(network(given.backend, replicas=given.replicas), min(steps, 20))
    microseconds(f"step of {given.replicas} replicas", of_many)
    in_all = of_many[0] * STEPS_AN_EPOCH * EPOCHS
    note(f"50 epochs of {given.replicas} replicas, s", round(in_all, 1))

    rates = {}
    for name in (given.backend, "numba"):
        of_one = training_seconds(network(name, method="tsit5"), min(steps, 5))
        rates[name] = BATCH / of_one[0]
        note(f"adaptive integration, {name}, samples/s", round(rates[name]))
    note("adaptive integration / numba", round(rates[given.backend] / rates["numba"], 2))


if __name__ == "__main__":
    main()
