"""What the benchmark measures: backend, precision, step, network and batch of every row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from ...backends import PRECISIONS, checked_dtype, checked_threads
from ...refimpl import ConfigurationError, NetworkConfiguration, Solver, whole_number
from ..training import refuse_more_than_memory

NETWORK = (784, 256, 256, 256, 10)
"""The published network."""

BATCH = 100
"""The published batch size."""

STEPS = (
    ("backprop", None),
    ("exact-inverse", "fixed-point"),
    ("linear-threshold", "fixed-point"),
    ("exact-inverse", "tsit5"),
    ("exact-inverse", "euler"),
)
"""Rules and methods measured on the published network and batch."""

OTHER_STEPS = (("backprop", None), ("exact-inverse", "fixed-point"))
"""Those measured on every other network and batch."""

NETWORKS = (NETWORK, (784, 256, 10), (784, 1024, 1024, 10))
BATCHES = (BATCH, 1, 1000)
"""Networks and batches of the standard table, the published ones first."""

TORCH = "torch"
TORCH_CUDA = "torch-cuda"
TORCH_GRAPH = "torch-cuda-graph"
TORCHES = (TORCH, TORCH_CUDA, TORCH_GRAPH)
"""No backends of ours: PyTorch's own backprop step of the same plain network, on a CPU, on a GPU,
and there recorded once as a CUDA graph."""


@dataclass(frozen=True)
class Case:
    """What to measure; raises ConfigurationError where a value is impossible."""

    backend: str  # ours, or one of TORCHES
    dtype: str
    rule: str
    method: str | None  # None for backprop, which has no end states to find
    sizes: tuple[int, ...] = NETWORK
    batch: int = BATCH
    threads: int | None = None  # None takes all processors

    def __post_init__(self) -> None:
        network = NetworkConfiguration(sizes=self.sizes, rule=self.rule)
        object.__setattr__(self, "sizes", network.sizes)
        if self.rule == "backprop":
            object.__setattr__(self, "method", None)
        else:
            Solver(method=str(self.method))
        checked_dtype(self.dtype)
        if network.sizes[-1] < 2:
            raise ConfigurationError(
                f"sizes is {network.sizes}: at least 2 outputs are needed, one a class"
            )
        whole_number("batch", self.batch, minimum=1)
        refuse_more_than_memory(network.sizes, self.batch, self.dtype)
        if self.threads is not None:
            checked_threads(self.threads)

    @property
    def step(self) -> str:
        """Rule and method, in words."""
        return self.rule if self.method is None else f"{self.rule}, {self.method}"

    @property
    def workload(self) -> str:
        """Network and batch, in words."""
        return f"{'-'.join(str(n) for n in self.sizes)}, batch {self.batch}"

    def __str__(self) -> str:
        return f"{self.backend} {self.dtype}, {self.step}, {self.workload}"


@dataclass(frozen=True)
class Choice:
    """What of everything to measure; nothing chosen of a kind leaves it open, but for backends."""

    backends: Sequence[str]
    dtypes: Sequence[str] = ()
    rules: Sequence[str] = ()
    methods: Sequence[str] = ()
    networks: Sequence[tuple[int, ...]] = ()
    batches: Sequence[int] = ()
    threads: int | None = None


def chosen_cases(choice: Choice) -> list[Case]:
    """List the cases of a table, each once, those of one network and batch together.

    Without rules, methods, networks or batches chosen this is the standard table: `STEPS` on the
    published network and batch, `OTHER_STEPS` on every other of `NETWORKS` and `BATCHES`. Otherwise
    it is every combination of what was chosen; a kind left open then stands for what the published
    network and batch have in the standard table.
    """
    steps = _chosen_steps(choice.rules, choice.methods)
    if choice.rules or choice.methods or choice.networks or choice.batches:
        workloads = [
            (network, batch, steps)
            for network in choice.networks or (NETWORK,)
            for batch in choice.batches or (BATCH,)
        ]
    else:
        workloads = [
            (network, batch, steps if (network, batch) == (NETWORK, BATCH) else OTHER_STEPS)
            for network in NETWORKS
            for batch in BATCHES
        ]
    cases = [
        Case(backend, dtype, rule, method, network, batch, choice.threads)
        for network, batch, steps in workloads
        for backend in choice.backends
        for dtype in choice.dtypes or PRECISIONS
        for rule, method in steps
        if backend not in TORCHES or rule == "backprop"
    ]
    return list(dict.fromkeys(cases))


def profiled_cases(choice: Choice) -> list[Case]:
    """List the steps to break into stages: every combination of what was chosen.

    A kind left open stands for exact inverse by fixed point in float32 on the published network and
    batch. Backprop has no such stages and is left out; alone it is refused.
    """
    definite = dataclasses.replace(
        choice,
        backends=[backend for backend in choice.backends if backend not in TORCHES],
        dtypes=choice.dtypes or ("float32",),
        rules=choice.rules or ("exact-inverse",),
        methods=choice.methods or ("fixed-point",),
    )
    cases = [case for case in chosen_cases(definite) if case.rule != "backprop"]
    if not cases:
        raise ConfigurationError(
            "a backprop step has no stages to profile: choose another rule, or none"
        )
    return cases


def scaling_cases(backend: str, threads: int | None = None) -> dict[str, list[Case]]:
    """Vary one size at a time around the published network."""

    def case(sizes: tuple[int, ...], batch: int = BATCH) -> Case:
        return Case(backend, "float32", "exact-inverse", "fixed-point", sizes, batch, threads)

    return {
        "batch": [case(NETWORK, b) for b in (1, 3, 10, 30, 100, 300, 1000)],
        "width": [case((784, n, n, n, 10)) for n in (64, 128, 256, 512, 1024, 2048)],
        "depth": [case((784, *[256] * depth, 10)) for depth in (1, 2, 3, 4, 6, 8)],
        "outputs": [case((784, 256, 256, 256, n)) for n in (10, 20, 50, 100)],
    }


def varied_size(name: str, case: Case) -> int:
    """Give the size that a scaling curve varies."""
    return {
        "batch": case.batch,
        "width": case.sizes[1],
        "depth": len(case.sizes) - 2,
        "outputs": case.sizes[-1],
    }[name]


def _chosen_steps(rules: Sequence[str], methods: Sequence[str]) -> Sequence[tuple[str, str | None]]:
    if not rules and not methods:
        return STEPS
    return [
        (rule, method)
        for rule in rules or dict.fromkeys(rule for rule, _ in STEPS)
        for method in methods or dict.fromkeys(method for _, method in STEPS if method)
    ]
