"""What a backend must not be given: refused in one line, in the same words, by every backend."""

import copy
import dataclasses
import functools
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from disinhib.backends import BackendUnavailable, NumpyBackend, backend_class
from disinhib.refimpl.circuit import Parameters, initial_parameters
from disinhib.refimpl.configuration import (
    ArgumentError,
    ConfigurationError,
    NetworkConfiguration,
    Optimizer,
    Solver,
)
from disinhib.refimpl.end_state import Recording

from .cuda_on_cpu import COMPILER
from .implementations import CUDA_ON_CPU, IMPLEMENTATIONS, implementation

THIRD_PARTY = """
from disinhib.backends import NumpyBackend

# The reference's own code, without the front that stands before it.
Backend = type("Backend", (), {
    name: getattr(member, "__wrapped__", member)
    for name, member in vars(NumpyBackend).items()
    if name not in ("__dict__", "__weakref__", "__reduce__")
})
"""
HIDDEN = (6, 5)
SIZES = (7, *HIDDEN, 3)
BATCH, SAMPLES = 4, 20
FULL_SCALE = 16

every_backend = pytest.mark.parametrize("name", IMPLEMENTATIONS)


def install(directory, source, name):
    """A real installed package that offers a backend."""
    (directory / f"{name}_backend.py").write_text(source)
    info = directory / f"{name}_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[disinhib.backends]\n{name} = {name}_backend:Backend\n"
    )


@pytest.fixture(scope="module")
def third_party(tmp_path_factory):
    """A backend of another package, found by its name."""
    directory = tmp_path_factory.mktemp("site")
    install(directory, THIRD_PARTY, "third")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(directory)
        yield backend_class("third")
    sys.modules.pop("third_backend", None)


def built(kind, sizes=SIZES, dtype=np.float32, replicas=None, **options):
    parameters = initial_parameters(sizes, np.random.default_rng(1))
    if replicas:
        parameters = Parameters(
            tuple(np.stack([W] * replicas) for W in parameters.weights),
            tuple(np.stack([b] * replicas) for b in parameters.biases),
            np.stack([parameters.readout] * replicas),
        )
    return kind(NetworkConfiguration(sizes=sizes, **options), parameters, dtype, Solver())


def one_hot(n, n_out=SIZES[-1]):
    return np.eye(n_out)[np.arange(n) % n_out]


# Each fault that was found, by itself.


@every_backend
@pytest.mark.parametrize(
    ("columns", "x_samples", "y_samples", "message"),
    [
        (784, 50, 50, r"x has shape \(50, 784\): \(batch, 64\) is needed"),
        (70, 50, 50, r"x has shape \(50, 70\): \(batch, 64\) is needed"),
        (60, 50, 50, r"x has shape \(50, 60\): \(batch, 64\) is needed"),
        (5, 50, 50, r"x has shape \(50, 5\): \(batch, 64\) is needed"),
        (64, 50, 60, "y has 60 samples: x has 50"),
        (64, 50, 5000, "y has 5000 samples: x has 50"),
        (64, 50, 10, "y has 10 samples: x has 50"),
    ],
)
def test_data_of_another_shape_are_refused(name, columns, x_samples, y_samples, message):
    backend = built(implementation(name), (64, 128, 10))
    x, y = np.full((x_samples, columns), 0.5), one_hot(y_samples, 10)
    for call in (backend.place, backend.learning_step):
        with pytest.raises(ArgumentError, match=f"^{message}$"):
            call(x, y)


@every_backend
@pytest.mark.parametrize("shape", [(50,), (50, 1)])
def test_labels_as_class_numbers_are_told_what_is_needed(name, shape):
    backend = built(implementation(name), (64, 128, 10))
    classes = np.arange(50).reshape(shape) % 10
    with pytest.raises(ArgumentError, match=r"y has shape \(50,.*one-hot rows of 10$"):
        backend.place(np.zeros((50, 64)), classes)


@every_backend
def test_one_image_without_a_batch_is_refused(name):
    backend = built(implementation(name), (64, 128, 10))
    with pytest.raises(ArgumentError, match=r"^x has shape \(64,\): \(batch, 64\) is needed$"):
        backend.open_loop(np.zeros(64))


@every_backend
@pytest.mark.parametrize("position", [500, 10**9, -1, 20])
def test_positions_beyond_the_data_are_refused(name, position):
    backend = built(implementation(name), (64, 128, 10))
    data = backend.place(np.zeros((20, 64)), one_hot(20, 10))
    order = np.array([[0, 1], [2, position]])
    with pytest.raises(
        ArgumentError,
        match=f"^batch_order is {position} at step 1, sample 1: positions 0 to 19 are needed$",
    ):
        backend.train(data, order)
    if hasattr(backend, "stage_seconds"):
        with pytest.raises(ArgumentError, match=f"^order is {position} at sample 1"):
            backend.stage_seconds(data, order[1])


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_no_number_is_refused_where_it_comes_in(name, dtype, value):
    backend = built(implementation(name), dtype=dtype)
    x, y = np.full((SAMPLES, SIZES[0]), 0.5), one_hot(SAMPLES)
    x[3, 5] = value
    message = f"^x is {value} at sample 3, input 5: a finite number is needed$"
    for call in (backend.place, backend.learning_step):
        with pytest.raises(ArgumentError, match=message):
            call(x, y)
    with pytest.raises(ArgumentError, match=message):
        backend.open_loop(x)
    y[0, 1] = value
    with pytest.raises(ArgumentError, match=f"^y is {value} at sample 0, output 1"):
        backend.place(np.zeros_like(x), y)


@every_backend
def test_parameters_that_are_no_numbers_are_refused(name):
    kind, configuration = implementation(name), NetworkConfiguration(sizes=SIZES)
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    parameters.weights[1][2, 4] = np.nan
    message = "parameters: weight of hidden layer 1 is nan at row 2, column 4"
    with pytest.raises(ArgumentError, match=message):
        kind(configuration, parameters, np.float64, Solver())
    backend = built(kind)
    learner = backend.learner()
    learner.parameters.weights[1][2, 4] = np.nan
    with pytest.raises(ArgumentError, match=message):
        backend.load(learner)
    parameters.weights[1][2, 4] = 1e300
    with pytest.raises(ArgumentError, match=r"is 1e\+300 at .*: float32 ends at 3.4e\+38$"):
        kind(configuration, parameters, np.float32, Solver())


@every_backend
@pytest.mark.parametrize(
    ("x", "full_scale", "message"),
    [
        (np.uint8(9), None, "x has dtype uint8: whole numbers need full_scale"),
        (np.uint8(17), 16, "x is 17 at sample 0, input 0: full_scale is 16, which no input"),
        (np.int64(-17), 16, "x is -17 at sample 0, input 0: full_scale is 16"),
        (np.uint8(9), 0, "full_scale is 0: a number above 0"),
        (np.uint8(9), -255, "full_scale is -255: a number above 0"),
        (np.uint8(9), np.nan, "full_scale is nan"),
        (np.uint8(9), np.inf, "full_scale is inf"),
        (np.uint8(9), 10**400, "full_scale is 1000"),
        (np.uint8(9), 1e-60, "full_scale is 1e-60: a number above 0 that float32 holds"),
        (np.uint8(9), "16", "full_scale is '16'"),
        (np.uint8(9), True, "full_scale is True"),
        (np.float64(0.5), 255, "full_scale is 255 with x of dtype float64"),
    ],
)
def test_full_scale(name, x, full_scale, message):
    backend = built(implementation(name))
    with pytest.raises(ArgumentError, match=f"^{message}"):
        backend.place(np.full((2, SIZES[0]), x), one_hot(2), full_scale)


@every_backend
def test_data_of_another_backend_are_refused(name):
    first, second = built(implementation(name)), built(implementation(name), dtype=np.float64)
    data = first.place(np.zeros((4, SIZES[0])), one_hot(4))
    with pytest.raises(ArgumentError, match=r"^data was placed by \w+ in float32 for 7 inputs"):
        second.evaluate(data)
    assert built(implementation(name)).evaluate(data).loss > 0


@every_backend
def test_a_learner_of_another_optimizer_is_refused(name):
    """Moments decided by which of the two the learner went on, whatever the configuration said."""
    adam, sgd = (
        built(implementation(name), optimizer=Optimizer(optimizer)) for optimizer in ("adam", "sgd")
    )
    with pytest.raises(ArgumentError, match=r"optimizer\.first_moment is None: Param"):
        adam.load(sgd.learner())
    with pytest.raises(ArgumentError, match="plain descent has none"):
        sgd.load(adam.learner())


@every_backend
def test_replicas_axes(name):
    backend = built(implementation(name), replicas=2)
    x, y = np.full((2, BATCH, SIZES[0]), 0.5), one_hot(BATCH)
    both, _ = backend.open_loop(x)
    shared, _ = backend.open_loop(x[:1])
    np.testing.assert_array_equal(both.u_out, shared.u_out)
    whole = r"\(batch, 7\) or \(2, batch, 7\) is needed$"
    for wrong in (np.zeros((3, BATCH, SIZES[0])), np.zeros((1, 2, BATCH, SIZES[0]))):
        with pytest.raises(ArgumentError, match=whole):
            backend.open_loop(wrong)
    data = backend.place(x, y)
    with pytest.raises(ArgumentError, match=r"\(steps, batch\) or \(steps, 2, batch\) is needed"):
        backend.train(data, np.zeros((1, 3, BATCH), dtype=int))
    # Rows of one replica are rows of both.
    one = backend.evaluate(backend.place(x[:1], y)).loss
    np.testing.assert_array_equal(backend.evaluate(data).loss, one)
    alone = built(implementation(name))
    with pytest.raises(ArgumentError, match=r"^x has shape \(2, 4, 7\): \(batch, 7\) is needed$"):
        alone.open_loop(x)
    backend.load(alone.learner())
    with pytest.raises(ArgumentError, match=r"data has replicas' axes \(2,\): the network has"):
        backend.evaluate(data)
    rates = np.array([1e-3, 1e-2, 1e-1]).reshape(3, 1, 1)
    with pytest.raises(ConfigurationError, match=r"optimizer.learning_rate has shape \(3, 1, 1\)"):
        built(implementation(name), replicas=2, optimizer=Optimizer(learning_rate=rates))


@every_backend
def test_averaged_weights_may_come_as_one_row(name):
    backend = built(implementation(name), dtype=np.float64)
    x, y = np.random.default_rng(0).random((BATCH, SIZES[0])), one_hot(BATCH)
    open_loop, _ = backend.open_loop(x)
    one = tuple(np.mean(Q, axis=0, keepdims=True) for Q in backend.feedback_weights(open_loop))
    repeated = tuple(np.repeat(Q, BATCH, axis=0) for Q in one)
    short, _ = backend.closed_loop(x, one, y, open_loop)
    long, _ = backend.closed_loop(x, repeated, y, open_loop)
    np.testing.assert_allclose(short.u_out, long.u_out, rtol=0, atol=1e-9)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", 10**20])
def test_threads(threads):
    configuration = NetworkConfiguration(sizes=SIZES)
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    for name in ("numpy", "numba"):
        with pytest.raises(ConfigurationError, match=r"^threads is .*: "):
            backend_class(name)(configuration, parameters, np.float32, Solver(), threads)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def Backend(*given): ...", "is no class: one with the methods of Backend is needed"),
        ("class Backend: ...", "Backend lacks learner, load, open_loop,"),
    ],
)
def test_what_a_third_party_offers_must_be_a_backend(tmp_path, monkeypatch, source, message):
    describe = "Backend.describe = NumpyBackend.describe"
    reference = "from disinhib.backends import NumpyBackend"
    install(tmp_path, f"{reference}\n{source}\n{describe}\n", "none")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(BackendUnavailable, match=message):
            backend_class("none")
    finally:
        sys.modules.pop("none_backend", None)


# Some 500 wrong calls.


@functools.cache
def right_arguments():
    """What every method may be given, by the arguments' names."""
    backend = built(NumpyBackend, rule="linear-threshold")
    x, y = np.random.default_rng(3).random((BATCH, SIZES[0])), one_hot(BATCH)
    open_loop, _ = backend.open_loop(x)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    closed_loop, _ = backend.closed_loop(x, Q, target, open_loop)
    r_bar = backend.mean_inhibition(open_loop)
    gradients = backend.gradients(x, y, open_loop, closed_loop, r_bar)
    return {
        "x": x, "y": y, "open_loop": open_loop, "Q": Q, "target": target, "start": open_loop,
        "closed_loop": closed_loop, "mean_inhibition": r_bar, "gradients": gradients,
        "recording": Recording(n_steps=2, every=1), "learner": backend.learner(),
        "batch_order": np.array([[0, 1], [2, 3]]), "batch_size": 3,
        "bytes": np.arange(BATCH * SIZES[0], dtype=np.uint8).reshape(BATCH, -1) % FULL_SCALE,
        "full_scale": FULL_SCALE,
    }  # fmt: skip


PLACED = object()
"""Stands for the data that each backend has placed for itself."""
METHODS = {
    "open_loop": ["x"],
    "mean_inhibition": ["open_loop"],
    "feedback_weights": ["open_loop"],
    "closed_loop_target": ["open_loop", "y"],
    "closed_loop": ["x", "Q", "target", "open_loop"],
    "gradients": ["x", "y", "open_loop", "closed_loop", "mean_inhibition"],
    "update": ["gradients", "mean_inhibition"],
    "load": ["learner"],
    "open_loop_trajectory": ["recording", "x"],
    "closed_loop_trajectory": ["recording", "x", "Q", "target", "start"],
    "learning_step": ["x", "y"],
    "place": ["x", "y"],
    "place bytes": ["bytes", "y", "full_scale"],
    "train": ["data", "batch_order"],
    "evaluate": ["data", "batch_size"],
}


def leaves(value, path=()):
    """Paths to every array or number of an argument."""
    if dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from leaves(getattr(value, item.name), (*path, item.name))
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i))
    elif value is not None and not isinstance(value, str):
        yield path


def leaf(value, path):
    for step in path:
        value = value[step] if isinstance(step, int) else getattr(value, step)
    return value


def replaced(value, path, new):
    if not path:
        return new
    step, *rest = path
    changed = replaced(leaf(value, (step,)), rest, new)
    if isinstance(step, int):
        return (*value[:step], changed, *value[step + 1 :])
    return dataclasses.replace(value, **{step: changed})


def with_value(array, position, value):
    wrong = np.array(array, dtype=np.float64)
    wrong.flat[position % wrong.size] = value
    return wrong


ANYTHING = [
    None, "seven", object(), {}, 1j, [[1.0], [1.0, 2.0]], np.array("x"), np.zeros(0), np.nan,
    np.array([None]), np.datetime64("2026-01-01"), b"bytes", lambda: None, np.zeros((2, 0)),
]  # fmt: skip
WRONG_ARRAYS = {
    "nan": lambda a, k: with_value(a, k, np.nan),
    "inf": lambda a, k: with_value(a, k, np.inf),
    "minus inf": lambda a, k: with_value(a, k, -np.inf),
    "beyond the precision": lambda a, k: with_value(a, k, 1e300),
    "complex": lambda a, k: a + 0j,
    "objects": lambda a, k: a.astype(object),
    "words": lambda a, k: a.astype(str),
    "masked": lambda a, k: np.ma.masked_greater_equal(a, np.min(a)),
    "a column more": lambda a, k: np.concatenate([a, a[..., :1]], axis=-1),
    "a column less": lambda a, k: a[..., :-1],
    "no column": lambda a, k: a[..., :0],
    "turned": lambda a, k: a[..., None],
    "replicas that are none": lambda a, k: np.stack([a] * (2 + k % 3)),
    "flat": lambda a, k: a.ravel() if a.ndim > 1 else a[:-1],
    "one number": lambda a, k: a.flat[0],
    "no sample": lambda a, k: a[:0],
}
WRONG_ORDERS = {
    "past the end": lambda a, k: np.where(a == a.flat[k % a.size], BATCH + k, a),
    "far past the end": lambda a, k: np.where(a == a.flat[k % a.size], 10 ** (3 + k % 16), a),
    "negative": lambda a, k: np.where(a == a.flat[k % a.size], -1 - k, a),
    "unsigned": lambda a, k: np.where(a == 0, 2**64 - 1 - k, a.astype(np.uint64)),
    "fractions": lambda a, k: a + 0.5,
    "floats": lambda a, k: a.astype(float),
    "truths": lambda a, k: a > 1,
    "one batch": lambda a, k: a[0],
    "no step": lambda a, k: a[:0],
    "no sample": lambda a, k: a[:, :0],
    "replicas that are none": lambda a, k: np.stack([a, a], axis=1),
}
WRONG_COUNTS = [0, -1, 2.5, True, "5", None, np.nan, 1e9, np.array([3, 4]), [3]]
WRONG_SCALES = [0, -1.0, np.nan, np.inf, "16", True, None, 1e-60, 10**400, 11, [16]]


@st.composite
def wrong_calls(draw):
    method = draw(st.sampled_from(sorted(METHODS)))
    arguments = {name: right_arguments().get(name, PLACED) for name in METHODS[method]}
    chosen = draw(st.sampled_from(METHODS[method]))
    k = draw(st.integers(0, 1000))
    if chosen == "data":
        wrong = [*ANYTHING, right_arguments()["x"], right_arguments()]
        arguments["data"] = draw(st.sampled_from(wrong))
    elif chosen == "batch_order":
        wrong = WRONG_ORDERS[draw(st.sampled_from(sorted(WRONG_ORDERS)))]
        arguments[chosen] = wrong(arguments[chosen], k)
    elif chosen == "batch_size":
        arguments[chosen] = draw(st.sampled_from(WRONG_COUNTS))
    elif chosen == "full_scale":
        arguments[chosen] = draw(st.sampled_from(WRONG_SCALES))
    elif chosen == "recording" or draw(st.integers(0, 4)) == 0:
        arguments[chosen] = draw(st.sampled_from(ANYTHING))
    else:
        path = draw(st.sampled_from(list(leaves(arguments[chosen]))))
        there = leaf(arguments[chosen], path)
        if isinstance(there, int):
            new = draw(st.sampled_from([-1, 2.5, None, "3", True, [3]]))
        elif path and there.shape[0] == BATCH and draw(st.booleans()):
            # Another array of the call says how many there are.
            new = there[: 2 + k % 2]
        else:
            kind = draw(st.sampled_from(sorted(WRONG_ARRAYS)))
            array = there if there.dtype != np.uint8 else there.astype(np.int64)
            new = WRONG_ARRAYS[kind](array, k)
        arguments[chosen] = replaced(arguments[chosen], path, new)
    return method.split()[0], arguments


def test_five_hundred_wrong_calls_are_refused_alike_by_every_backend(third_party, record_property):
    names = [p.values[0] for p in IMPLEMENTATIONS if p.values[0] != CUDA_ON_CPU or COMPILER]
    kinds = {name: implementation(name) for name in names} | {"third-party": third_party}
    backends = {name: built(kind, rule="linear-threshold") for name, kind in kinds.items()}
    right = right_arguments()
    data = {name: b.place(right["x"], right["y"]) for name, b in backends.items()}
    before = {name: copy.deepcopy(b.learner()) for name, b in backends.items()}
    refusals = set()

    @settings(max_examples=500)
    @given(wrong_calls())
    def each(call):
        method, arguments = call
        said = {}
        for name, backend in backends.items():
            mine = [data[name] if value is PLACED else value for value in arguments.values()]
            # A count is a setting, all else an argument.
            with pytest.raises((ArgumentError, ConfigurationError)) as refusal:
                getattr(backend, method)(*mine)
            said[name] = f"{type(refusal.value).__name__}: {refusal.value}"
        assert len(set(said.values())) == 1, said
        (line,) = set(said.values())
        assert "\n" not in line
        assert ": " in line
        refusals.add((method, re.sub(r"[\d.]+", "0", line)))

    each()
    record_property(
        "measured",
        f"500 wrong calls refused alike by {', '.join(backends)}: {len(refusals)} kinds of refusal",
    )
    # Nothing of it has reached a learner, and every backend works on.
    for name, backend in backends.items():
        found, expected = backend.learner(), before[name]
        np.testing.assert_array_equal(found.parameters.readout, expected.parameters.readout)
        assert found.optimizer.n_steps == 0
        assert np.isfinite(backend.train(data[name], right["batch_order"]).loss).all()
