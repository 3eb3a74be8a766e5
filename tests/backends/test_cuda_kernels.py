"""The CUDA sources without a GPU: as C++ on the CPU, in several orders of a block's threads."""

import ctypes
import re

import numpy as np
import pytest
from scipy.special import expit

from disinhib.backends import BackendUnavailable, NumpyBackend
from disinhib.backends.backend import total
from disinhib.backends.cuda.source import enumerators, instances, kernels, plan_members, source
from disinhib.backends.cuda.workspace import group_size, structure_values
from disinhib.refimpl.circuit import Parameters, initial_parameters
from disinhib.refimpl.configuration import (
    Controller,
    Feedback,
    NetworkConfiguration,
    Optimizer,
    Solver,
)
from disinhib.validation import conform, find_traces, read_trace, shipped_directory

from .cuda_on_cpu import CpuDevice, cpu_backend, library
from .implementations import NO_COMPILER
from .small_task import FEEDBACK, RULES, SIZES, arrays_of, trained

TRACES = {path.stem: path for path in find_traces([shipped_directory()])[0]}
SMALL = sorted(name for name in TRACES if "fashion" not in name)
BLOCKS = {
    "one thread": {},
    "threads in order, one sample a group": {"threads": 16, "processors": 1000},
    "threads in reverse, two samples a group": {
        "threads": 16,
        "processors": 6,
        "is_reversed": True,
    },
    "few threads, matrices not in the block": {"threads": 3, "block_bytes": 1200},
}
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
SLOW = pytest.mark.slow


# In the fast tests tests/validation/test_conformance.py has each trace in one of the shapes.
@NO_COMPILER
@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("block", BLOCKS)
def test_kernels_compute_the_published_model(block, name, dtype):
    results = conform(read_trace(TRACES[name]), cpu_backend(**BLOCKS[block]), dtype, "fixed-point")
    assert [f"{r.stage} at {r.worst}" for r in results if not r.passed] == []


@NO_COMPILER
@pytest.mark.parametrize(
    ("rule", "method"),
    [
        pytest.param(
            rule, method, marks=[] if method == "fixed-point" or rule == RULES[0] else SLOW
        )
        for rule in RULES
        for method in ("fixed-point", "tsit5", "euler")
    ],
)
def test_threads_that_take_turns_the_other_way_round_change_nothing(rule, method):
    """Whoever reads another thread's number before a barrier would get another one."""
    configuration = NetworkConfiguration(
        sizes=SIZES, rule=rule, feedback=Feedback(**FEEDBACK["all"]), optimizer=Optimizer("sgd")
    )
    solver = Solver(method=method, rtol=1e-3, atol=1e-6)
    learners = [
        arrays_of(
            trained(
                cpu_backend(threads=16, processors=6, is_reversed=is_reversed),
                configuration, solver,
            )[1]
        )
        for is_reversed in (False, True)
    ]  # fmt: skip
    for a, b in zip(*learners, strict=True):
        np.testing.assert_array_equal(a, b)


@NO_COMPILER
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", ["fixed-point", pytest.param("tsit5", marks=SLOW)])
@pytest.mark.parametrize("threads", [1, 3, pytest.param(16, marks=SLOW), 64])
def test_weights_read_in_packs_are_the_weights(threads, method, dtype):
    """Widths that four divides, and one that it does not; fewer and more threads than columns."""
    sizes = (9, 16, 8, 30, 40, 4)
    configuration = NetworkConfiguration(sizes=sizes, optimizer=Optimizer("sgd"))
    solver = Solver(method=method, rtol=1e-4, atol=1e-7)
    parameters = initial_parameters(sizes, np.random.default_rng(0))
    generator = np.random.default_rng(1)
    x, y = generator.random((5, sizes[0])), np.full((5, sizes[-1]), 1 / 4)
    ends = []
    for kind in (cpu_backend(threads=threads, processors=4), NumpyBackend):
        backend = kind(configuration, parameters, dtype, solver)
        open_loop, _ = backend.open_loop(x)
        Q = backend.feedback_weights(open_loop)
        closed_loop, _ = backend.closed_loop(x, Q, y, open_loop)
        ends.append([*open_loop.u_E, open_loop.u_out, *closed_loop.u_E, closed_loop.u_out])
    # An integration stops where its own tolerance lets it.
    allowed = 2e-3 if method == "tsit5" else 50 * np.finfo(dtype).eps
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=allowed, atol=allowed)


@NO_COMPILER
@pytest.mark.parametrize("function", ["product_in_packs", "solve", "block_sum"])
def test_a_missing_barrier_shows(function):
    """The check above can fail."""
    configuration = NetworkConfiguration(sizes=SIZES, optimizer=Optimizer("sgd"))
    solver = Solver(max_steps=100)
    learners = []
    for is_reversed in (False, True):
        kind = cpu_backend(
            threads=16, processors=6, is_reversed=is_reversed, without_barriers_of=function
        )
        learners.append(arrays_of(trained(kind, configuration, solver)[1]))
    assert any(not np.array_equal(a, b) for a, b in zip(*learners, strict=True))


@NO_COMPILER
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("processors", "threads"), [(1000, 8), (1, 8), (1, 64)])
def test_blocks_that_run_together_leave_each_other_alone(processors, threads, seed):
    """Layers of unequal width, and samples that the first search leaves to the second.

    Groups of one sample, and of four, of which a group then leaves several.
    """
    sizes = (6, 12, 8, 5, 3)
    configuration = NetworkConfiguration(
        sizes=sizes,
        loss="mse",
        controller=Controller(k_p=500, k_i=500),
        feedback=Feedback(to_readout=False),
    )
    generator = np.random.default_rng(seed)
    parameters = initial_parameters(sizes, generator)
    x, y = generator.random((7, sizes[0])), 2 * generator.normal(size=(7, 3))
    ends = []
    for order in (0, seed):
        backend = cpu_backend(threads=threads, processors=processors, seed=order)(
            configuration, parameters, np.float64, Solver()
        )
        open_loop, _ = backend.open_loop(x)
        Q = backend.feedback_weights(open_loop)
        state, counts = backend.closed_loop(x, Q, y, open_loop)
        assert counts.fresh_newton > 2
        ends.append([*state.u_E, *state.u_I, state.u_out, state.z])
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


@NO_COMPILER
@pytest.mark.parametrize("n_out", [10, 11])
@pytest.mark.parametrize("method", ["fixed-point", "tsit5"])
def test_no_sample_of_a_group_changes_another_by_a_bit(method, n_out):
    """Groups of 1, 2 and 4, some of whose samples are found, found anew, or come to no rest.

    Systems of ten and eleven outputs are solved in different ways.
    """
    sizes, n_samples, lost = (6, 33, 8, n_out), 7, 1
    configuration = NetworkConfiguration(
        sizes=sizes,
        loss="mse",
        controller=Controller(k_p=500, k_i=500),
        feedback=Feedback(to_readout=False),
    )
    generator = np.random.default_rng(0)
    parameters = initial_parameters(sizes, generator)
    x = generator.random((n_samples, sizes[0]))
    start, _ = NumpyBackend(configuration, parameters, np.float64, Solver()).open_loop(x)
    # Errors of all sizes: the small ones are found at once.
    error_sizes = 0.3 * np.array([0.1, 0.1, 0.3, 1, 2, 4, 8])[:, None]
    target = start.u_out + error_sizes * generator.normal(size=start.u_out.shape)
    too_large = x.copy()
    too_large[lost] = np.finfo(np.float64).max * np.sign(parameters.weights[0][:, 0])
    others, ends = np.delete(np.arange(n_samples), lost), []
    for inputs in (x, too_large):
        for processors in (1000, 4, 2):
            network = cpu_backend(threads=8, processors=processors)(
                configuration, parameters, np.float64, Solver(method=method, max_steps=50)
            )._network
            w = network.with_inputs(inputs)
            network.put(w, "target", target)
            network.clear_counts()
            with np.errstate(over="ignore"):
                network.find_open_loop(w)
            network.find_feedback_weights(w)
            network.find_closed_loop(w)
            of_open_loop, of_control = total(network.counts())
            state = network.state(w, "u_E", "u_I", "u_out", "z")
            ends.append([*state.u_E, *state.u_I, state.u_out, state.z])
            if inputs is too_large:
                assert of_open_loop.unsettled > 0
                assert np.all(np.isnan(state.u_out[lost]))
            if method == "fixed-point":
                assert of_control.frozen_newton > 1 < of_control.fresh_newton
    for end in ends[1:]:
        for a, b in zip(end, ends[0], strict=True):
            np.testing.assert_array_equal(a[others], b[others])


@NO_COMPILER
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rates_and_slopes(dtype):
    u = np.linspace(-80, 80, 200_001).astype(dtype)
    rate, slope = np.empty_like(u), np.empty_like(u)
    kind = ctypes.c_float if dtype == np.float32 else ctypes.c_double
    pointers = [array.ctypes.data_as(ctypes.POINTER(kind)) for array in (u, rate, slope)]
    run = library().rates_float if dtype == np.float32 else library().rates_double
    run(ctypes.c_longlong(u.size), kind(1.0), kind(1.0), kind(0.0), *pointers)
    wide, eps = u.astype(np.longdouble), np.finfo(dtype).eps
    # exp, log1p, one sum; exp, one sum, one quotient: each rounded once.
    np.testing.assert_allclose(
        rate, np.logaddexp(np.longdouble(0), wide).astype(np.float64), rtol=3 * eps
    )
    np.testing.assert_allclose(slope, expit(wide).astype(np.float64), rtol=3 * eps)


@NO_COMPILER
@pytest.mark.parametrize(
    ("rows", "samples", "threads"),
    [(1, 1, 512), (132, 1, 512), (133, 2, 512), (528, 4, 512), (529, 4, 256), (6400, 4, 256)],
)
def test_groups_are_as_many_as_work_at_once(rows, samples, threads):
    """132 processors, as an H100 has: a block each, or two of half the threads."""
    device = CpuDevice(np.float32, threads=512, processors=132)
    found = group_size((784, 256, 256, 256, 10), rows, device)
    assert (found.samples, found.threads) == (samples, threads)
    # Two of them must share a processor's memory.
    assert found.block_bytes <= device.block_bytes * threads // 512


@NO_COMPILER
def test_a_device_without_room_says_what_would_fit():
    configuration = NetworkConfiguration(sizes=SIZES)
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    backend = cpu_backend(free=100_000)(configuration, parameters, np.float64, Solver())
    x = np.zeros((100, SIZES[0]))
    with pytest.raises(BackendUnavailable, match="out of memory") as raised:
        backend.open_loop(x)
    asked, free, fitting = (
        int(re.search(pattern, str(raised.value)).group(1).replace(",", ""))
        for pattern in (r"would take ([\d,]+) bytes", r"([\d,]+) are free", r"batch (\d+) would")
    )
    assert asked > free == 100_000
    assert 1 <= fitting < 100
    backend.open_loop(x[:fitting])


@NO_COMPILER
@pytest.mark.parametrize("kept", [5, 1])
def test_replicas_and_data_without_room_say_how_many_would_fit(kept):
    """By the bytes that they take, all of them before any are taken: what would fit does."""
    n_parameters = 6 * 7 + 7 * 5 + 5 * 3 + 7 + 5
    # Weights, gradients and two moments; four numbers a unit.
    bytes_each = 8 * (4 * n_parameters + 4 * (7 + 5))
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    configuration = NetworkConfiguration(sizes=SIZES)

    def built(replicas):
        stack = Parameters(
            *(tuple(np.stack([one] * replicas) for one in of) for of in
              (parameters.weights, parameters.biases)),
            np.stack([parameters.readout] * replicas),
        )  # fmt: skip
        return cpu_backend(free=kept * bytes_each + 7)(configuration, stack, np.float64, Solver())

    with pytest.raises(
        BackendUnavailable, match=rf"9 replicas would take .*; {kept} replicas would fit"
    ):
        built(9)
    backend = built(kept)
    samples = (kept * bytes_each + 7) // (8 * (6 + 3))
    with pytest.raises(BackendUnavailable, match=rf"; {samples} samples would fit"):
        backend.place(np.zeros((samples + 1, 6)), np.zeros((samples + 1, 3)))
    backend.place(np.zeros((samples, 6)), np.zeros((samples, 3)))


@NO_COMPILER
def test_a_step_is_recorded_once_and_reads_its_batch_on_the_device():
    """Of a second epoch the host asks for nothing but to repeat."""
    configuration = NetworkConfiguration(sizes=SIZES)
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    backend = cpu_backend()(configuration, parameters, np.float64, Solver())
    recorded = []
    record = backend._device.record
    backend._device.record = lambda work: recorded.append(work) or record(work)
    generator = np.random.default_rng(1)
    data = backend.place(generator.random((40, SIZES[0])), np.full((40, SIZES[-1]), 1 / 3))
    for _ in range(3):
        backend.train(data, generator.permutation(40).reshape(8, 5))
    assert len(recorded) == 1


@NO_COMPILER
def test_what_is_recorded_takes_nothing_from_the_host_but_what_it_was_given():
    """Other data, scale and order each time: the recorded step learns what NumPy learns."""
    configuration = NetworkConfiguration(sizes=SIZES)
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    generator = np.random.default_rng(1)
    learners = []
    epochs = [
        (generator.integers(0, full_scale, (n, SIZES[0])), full_scale, generator.permutation(n))
        for n, full_scale in ((20, 255), (30, 1023), (10, 3))
    ]
    for kind in (cpu_backend(), NumpyBackend):
        backend = kind(configuration, parameters, np.float64, Solver())
        for x, full_scale, order in epochs:
            data = backend.place(x, np.full((len(x), SIZES[-1]), 1 / 3), full_scale)
            backend.train(data, order.reshape(-1, 5))
            backend.evaluate(data, 5)
        learners.append(arrays_of(backend.learner()))
    for a, b in zip(*learners, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


@NO_COMPILER
@pytest.mark.parametrize(
    "forbidden",
    [
        lambda device: device.empty(1, np.int64),
        lambda device: device.put(np.zeros(1)),
        lambda device: device.get(np.zeros(1)),
        lambda device: device.seconds(lambda: None, 1),
        lambda device: device.record(lambda: None),
    ],
    ids=["memory", "put", "get", "wait", "record"],
)
def test_what_a_capture_forbids_shows(forbidden):
    """The check that every recording here goes through can fail."""
    device = CpuDevice(np.float64)
    with pytest.raises(AssertionError, match="while a step is recorded, which CUDA forbids"):
        device.record(lambda: forbidden(device))
    device.put(np.zeros(1))


def test_the_text_to_compile_holds_every_source_once():
    text = source()
    assert "#include" not in text
    assert text.count("struct Plan {") == text.count("struct Group {") == 1
    assert len(re.findall(r"__global__ void", text)) == len(kernels())
    assert {"gather<float>", "closed_loop<float, 1>", "closed_loop<float, 4>"} < set(
        instances("float")
    )


def test_the_plan_is_what_the_kernels_read():
    members = plan_members()
    # Each of eight bytes: the host writes it as an array of whole numbers.
    assert {kind for kind in members.values() if not kind.endswith("*")} == {"Int"}
    assert next(iter(members)) == "n_hidden"
    values = structure_values(NetworkConfiguration(sizes=SIZES), Solver())
    assert set(values) <= set(members)
    assert values["n_parameters"] == 6 * 7 + 7 * 5 + 5 * 3 + 7 + 5
    assert enumerators("Rule") == {
        "EXACT_INVERSE": 0, "LINEAR_THRESHOLD": 1, "LINEAR_THRESHOLD_FIXED": 2, "BACKPROP": 3,
    }  # fmt: skip


@NO_COMPILER
def test_replicas_may_have_settings_of_their_own():
    rates = np.array([1e-3, 1e-2]).reshape(2, 1, 1)
    networks = [initial_parameters(SIZES, np.random.default_rng(s)) for s in range(2)]
    stack = type(networks[0])(
        *(tuple(np.stack(w) for w in zip(*arrays, strict=True)) for arrays in
          ([n.weights for n in networks], [n.biases for n in networks])),
        np.stack([n.readout for n in networks]),
    )  # fmt: skip
    generator = np.random.default_rng(3)
    x, y = generator.random((12, SIZES[0])), np.full((12, SIZES[-1]), 1 / 3)
    order = np.arange(12).reshape(3, 4)
    learners = []
    for kind in (cpu_backend(threads=16), NumpyBackend):
        configuration = NetworkConfiguration(
            sizes=SIZES, rule="linear-threshold", optimizer=Optimizer(learning_rate=rates)
        )
        backend = kind(configuration, stack, np.float64, Solver())
        backend.train(backend.place(x, y), order)
        learners.append(arrays_of(backend.learner()))
    for a, b in zip(*learners, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)
