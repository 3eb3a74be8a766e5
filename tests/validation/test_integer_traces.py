"""Traces in integers against a port in C, and the port's deliberate mistakes by their names."""

import dataclasses
import itertools
import shutil
import subprocess

import h5py
import numpy as np
import pytest

from disinhib.refimpl import (
    ConfigurationError,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    initial_parameters,
)
from disinhib.refimpl.integers import ROUNDINGS, arithmetic
from disinhib.validation import (
    FileError,
    first_integer_difference,
    is_integer_trace,
    read_integer_answers,
    read_integer_trace,
    record_integer_trace,
    write_integer_questions,
    write_integer_trace,
)

from ..experiments.test_command_line import disinhib, one_line
from .test_port_c import SOURCE as FLOAT_PORT

SOURCE = FLOAT_PORT.with_name("integers.c")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler is here")
SGD = Optimizer(name="sgd", learning_rate=0.5)


def built(directory, source):
    """Compile a port's source."""
    (directory / "port.c").write_text(source, encoding="utf-8")
    flags = ("-std=c99", "-O1", "-Wall", "-Werror", "-D_POSIX_C_SOURCE=200809L")
    subprocess.run([COMPILER, *flags, "-o", directory / "port", directory / "port.c"], check=True)
    return directory / "port"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    return built(tmp_path_factory.mktemp("port"), SOURCE.read_text(encoding="utf-8"))


def recorded(about=None, sizes=(7, 6, 5, 3), steps=2, batch=4, **settings):
    network = NetworkConfiguration(sizes=sizes, optimizer=SGD, **settings)
    generator = np.random.default_rng(5)
    labels = np.full((steps, batch, sizes[-1]), 0.01 / (sizes[-1] - 1))
    for s, i in itertools.product(range(steps), range(batch)):
        labels[s, i, generator.integers(sizes[-1])] = 0.99
    return record_integer_trace(
        network,
        about or arithmetic(ticks=12),
        initial_parameters(sizes, generator),
        generator.random((steps, batch, sizes[0])),
        labels,
    )


def answers_of(port, trace, directory):
    write_integer_questions(trace, directory / "questions")
    subprocess.run([port, directory / "questions", directory / "answers"], check=True)
    return read_integer_answers(directory / "answers", trace)


VARIANTS = [
    {},
    {"loss": "mse", "feedback": Feedback(strong=False, nudge=0.1, average=True)},
    {"feedback": Feedback(strong=False, nudge=0.2, clip=0.05, norm=2.0)},
    {"rule": "linear-threshold", "mean_inhibition": MeanInhibition(rate=0.3)},
    {"rule": "linear-threshold-fixed", "feedback": Feedback(to_readout=False)},
    {"rule": "backprop", "bias": False},
    {"feedback": Feedback(normalize=False), "sizes": (5, 4, 2)},
]
ABOUT = [
    *({"rounding": way, "update_rounding": way, "seed": 9} for way in ROUNDINGS),
    {"preset": "int8-weights", "interpolation": "none", "normalization": "power-of-two"},
    {"preset": "fpga", "normalization": "fixed", "rounding": "floor"},
    # Narrow ones: what does not fit is part of the arithmetic.
    {"control": "9.8", "gradient": "8.11", "table_range": 1, "accumulator": 24},
]


@needs_compiler
@pytest.mark.parametrize(
    ("variant", "about"),
    [
        pytest.param(v, a, marks=() if (i + j) % 4 == 0 else pytest.mark.slow)
        for (i, v), (j, a) in itertools.product(enumerate(VARIANTS), enumerate(ABOUT))
    ],
)
def test_a_port_in_c_has_every_bit(port, tmp_path, variant, about):
    trace = recorded(arithmetic(**{"ticks": 12, **about}), **variant)
    answers = answers_of(port, trace, tmp_path)
    assert answers.keys() == trace.answers.keys()
    found = first_integer_difference(trace, answers)
    assert found is None, str(found)


MISTAKES = {
    "rounded by floor": (
        "case NEAREST_EVEN: return (n + half - 1 + ((n >> s) & 1)) >> s;",
        "case NEAREST_EVEN: return n >> s;",
    ),
    "rounded by truncate": (
        "case NEAREST_EVEN: return (n + half - 1 + ((n >> s) & 1)) >> s;",
        "case NEAREST_EVEN: return n / ((Int)1 << s);",
    ),
    "rounded by nearest-away": (
        "case NEAREST_EVEN: return (n + half - 1 + ((n >> s) & 1)) >> s;",
        "case NEAREST_EVEN: return n < 0 ? -((-n + half) >> s) : (n + half) >> s;",
    ),
    "updates are rounded by nearest-even": (
        "Int change = dropped(g[i] * eta.m, s, update_rounding,",
        "Int change = dropped(g[i] * eta.m, s, NEAREST_EVEN,",
    ),
    "wraps around": (
        "return saturated(n, form[quantity].width); }",
        "int w = form[quantity].width; return (Int)((uint64_t)n << (64 - w)) >> (64 - w); }",
    ),
    "is kept": ("return saturated(n, form[quantity].width); }", "(void)quantity; return n; }"),
    "products are rounded one by one": (
        "sum += h[j] * weights[(size_t)j * n + i];",
        "sum += dropped(h[j] * weights[(size_t)j * n + i], point(WEIGHT), rounding, 0, 0)"
        " * ((Int)1 << point(WEIGHT));",
    ),
    "tables are off by one entry": (
        "Int cell = a >> t->cell_bits;\n    if (cell > t->cells - 1) cell = t->cells - 1;\n"
        "    Int low = t->entries[cell];",
        "Int cell = a >> t->cell_bits;\n    if (cell > t->cells - 1) cell = t->cells - 1;\n"
        "    Int low = t->entries[cell + 1];\n    if (t->interpolates) {\n"
        "    Int high = t->entries[cell + 2 > t->cells ? t->cells : cell + 2];\n"
        "    return low + dropped((high - low) * (a - (cell << t->cell_bits)), t->cell_bits,"
        " rounding, t->site + layer, i);\n    }",
    ),
    "tables are not interpolated": ("if (!t->interpolates) return low;", "return low;"),
    "is logical": (
        "case NEAREST_EVEN: return (n + half - 1 + ((n >> s) & 1)) >> s;",
        "case NEAREST_EVEN: if (n < 0) return (Int)((uint64_t)n >> s);"
        " return (n + half - 1 + ((n >> s) & 1)) >> s;",
    ),
    "u_E is updated before": (
        "wide = added(r_E[l][i], f_r, -v, f_u, &f);",
        "r_E[l][i] = looked_up(&rate_E, s->u_E[l][at + i], l, at + i);\n"
        "                wide = added(r_E[l][i], f_r, -v, f_u, &f);",
    ),
    "shift_E and shift_I are exchanged": (
        'shift_E = whole("arithmetic.shift_E"), shift_I = whole("arithmetic.shift_I");',
        'shift_I = whole("arithmetic.shift_E"), shift_E = whole("arithmetic.shift_I");',
    ),
    "seed is taken for 0": (
        'seed = (uint32_t)strtoul(setting("arithmetic.seed"), 0, 10);',
        "seed = 0;",
    ),
}
"""What the hint says, and the change of the port that makes the mistake."""

READ = (
    "    Int low = t->entries[cell];\n    if (!t->interpolates) return low;\n"
    "    Int rise = (t->entries[cell + 1] - low) * (a - (cell << t->cell_bits));\n"
)
READOUT = "        for (int k = 0; k < n_out; k++) {\n            int f, g;\n"
BY_CHANCE = {"rounding": "stochastic", "seed": 4}
MORE_MISTAKES = {
    "tables are off by one entry: the one before is read": (
        READ,
        READ.replace("[cell]", "[cell ? cell - 1 : 0]").replace("[cell + 1]", "[cell]"),
        {},
    ),
    "rate_E: rounded by floor there": (
        "dropped(rise, t->cell_bits, rounding,",
        "dropped(rise, t->cell_bits, t == &rate_E ? FLOOR : rounding,",
        {},
    ),
    "sums of products saturate at 20 bits": (
        'accumulator = (int)whole("arithmetic.accumulator");',
        "accumulator = 20;",
        {},
    ),
    "sums of products wrap around in 20 bits": (
        "return clamped(n, -limit, limit - 1);",
        "if (width == accumulator) return (Int)((uint64_t)n << (64 - width)) >> (64 - width);\n"
        "    return clamped(n, -limit, limit - 1);",
        {"accumulator": 20},
    ),
    "the readout sees layers that have moved": (
        READOUT,
        "        for (int i = 0; i < units(L - 1); i++)\n            r_E[L - 1][i] = looked_up("
        "&rate_E, s->u_E[L - 1][(size_t)sample * units(L - 1) + i], L - 1, 0);\n" + READOUT,
        {},
    ),
    "ticks of random bits count from 0": (
        "tick_number = (uint32_t)(first + t);",
        "tick_number = (uint32_t)(first + t - 1);",
        BY_CHANCE,
    ),
    "layers of random bits count from 1": (
        "random_bits(site, (uint32_t)i)",
        "random_bits(site + 1, (uint32_t)i)",
        BY_CHANCE,
    ),
    "shift_E is one too many": (
        'shift_E = whole("arithmetic.shift_E")',
        'shift_E = 1 + whole("arithmetic.shift_E")',
        {},
    ),
    "the leak is left out": ("-z * leak.m", "-z * 0 * leak.m", {}),
    "c Q is added to u_I": (
        "wide = added(wide, f, -cQ, point(CONTROL)",
        "wide = added(wide, f, cQ, point(CONTROL)",
        {},
    ),
}
"""Likewise, with what the trace's arithmetic has to be."""


@needs_compiler
@pytest.mark.parametrize(
    "hint",
    [
        pytest.param(hint, marks=() if hint.startswith("rate_E") else pytest.mark.slow)
        for hint in MORE_MISTAKES
    ],
)
def test_a_mistake_is_named_among_those_that_look_like_it(tmp_path, hint):
    """Two hidden layers; what is named gives every integer of the stage, and so do few others."""
    before, after, about = MORE_MISTAKES[hint]
    source = SOURCE.read_text(encoding="utf-8")
    assert source.count(before) == 1
    wrong = built(tmp_path, source.replace(before, after))
    trace = recorded(arithmetic(ticks=40, **about))
    found = first_integer_difference(trace, answers_of(wrong, trace, tmp_path))
    assert found is not None
    named = [hint in one for one in found.mistakes]
    assert named.count(True) == 1, str(found)
    assert len(named) <= 2, str(found)


QUICK = ("rounded by floor", "wraps around", "products are rounded one by one")


@needs_compiler
@pytest.mark.parametrize(
    "hint",
    [pytest.param(hint, marks=() if hint in QUICK else pytest.mark.slow) for hint in MISTAKES],
)
def test_a_port_s_mistake_is_found_and_named(tmp_path, hint):
    before, after = MISTAKES[hint]
    source = SOURCE.read_text(encoding="utf-8")
    assert source.count(before) == 1
    wrong = built(tmp_path, source.replace(before, after))
    # One hidden layer, so that what moves in place does not depend on the order of layers; a
    # narrow control and a seed, so that all has something to do.
    about = arithmetic(ticks=12, control="7.9", seed=4, table_range=2)
    trace = recorded(about, sizes=(7, 6, 3))
    found = first_integer_difference(trace, answers_of(wrong, trace, tmp_path))
    assert found is not None
    assert [hint in one for one in found.mistakes].count(True) == 1, str(found)
    others = [name for name in MISTAKES if name != hint and any(name in m for m in found.mistakes)]
    assert not others, str(found)
    assert hint in str(found)


def test_the_first_difference_is_first_in_time_and_shown_in_binary():
    trace = recorded()
    answers = {name: array.copy() for name, array in trace.answers.items()}
    # Late in the open loop of one array, earlier in another; and all of a stage before neither.
    answers["steps/0000/open_loop/u_E_0"][9, 1, 2] += 1
    answers["steps/0000/open_loop/u_out"][4, 3, 1] = -3
    answers["steps/0000/gradients/readout_weight"][0, 0] += 5
    found = first_integer_difference(trace, answers)
    assert (found.array, found.tick, found.place) == ("steps/0000/open_loop/u_out", 5, (3, 1))
    assert (found.found, found.n_other, found.mistakes) == (-3, 1, ())
    text = str(found)
    assert "step 0, open loop, tick 5, u_out[3, 1], format 16.11" in text
    assert "11111.11111111101  -3" in text
    del answers["steps/0000/open_loop/u_out"], answers["steps/0000/open_loop/u_E_0"]
    found = first_integer_difference(trace, answers)
    assert (found.array, found.tick) == ("steps/0000/gradients/readout_weight", 0)
    assert (found.form.width, found.form.fraction) == (16, 16)


def test_a_trace_comes_back_from_its_file(tmp_path):
    trace = recorded(rule="linear-threshold")
    write_integer_trace(trace, tmp_path / "trace.h5")
    assert is_integer_trace(tmp_path / "trace.h5")
    again = read_integer_trace(tmp_path / "trace.h5")
    assert again.configuration == trace.configuration
    assert again.arithmetic == trace.arithmetic
    for name, array in trace.answers.items():
        np.testing.assert_array_equal(again.answers[name], array)
    answers = read_integer_answers(tmp_path / "trace.h5", trace)
    assert first_integer_difference(trace, answers) is None
    write_integer_trace(trace, tmp_path / "asked.h5", with_answers=False)
    with h5py.File(tmp_path / "asked.h5") as file:
        assert "steps" not in file
        assert file["tables/rate_E/entries"].dtype == np.int64


def test_answers_that_cannot_be_read_are_refused(tmp_path):
    trace = recorded()
    directory = tmp_path / "answers"
    directory.mkdir()
    with pytest.raises(FileError, match="none of the arrays"):
        read_integer_answers(directory, trace)
    np.arange(3).tofile(directory / "steps.0000.target.target.i64")
    with pytest.raises(FileError, match=r"has \(3,\): \(4, 3\) is needed"):
        read_integer_answers(directory, trace)
    (directory / "steps.0000.target.target.i64").unlink()
    np.arange(3).tofile(directory / "steps.0000.openloop.u_out.i64")
    with pytest.raises(FileError, match="no such array"):
        read_integer_answers(directory, trace)
    with h5py.File(tmp_path / "floats.h5", "w") as file:
        file["steps/0000/target/target"] = np.zeros((4, 3))
    with pytest.raises(FileError, match="integers are needed"):
        read_integer_answers(tmp_path / "floats.h5", trace)
    with pytest.raises(ConfigurationError, match="descend by sgd"):
        record_integer_trace(
            dataclasses.replace(trace.configuration, optimizer=Optimizer()),
            trace.arithmetic,
            initial_parameters(trace.configuration.sizes, np.random.default_rng(0)),
            np.zeros((1, 2, 7)),
            np.zeros((1, 2, 3)),
        )


def test_the_commands(tmp_path):
    trace, answers = tmp_path / "trace.h5", tmp_path / "answers.h5"
    small = ("--set", "hidden=[5]", "--set", "batch_size=3", "--set", "arithmetic.ticks=6")
    result = disinhib("trace", "record", "--arithmetic", "int8-weights", *small, "--steps", "1",
                      "--out", trace)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert disinhib("trace", "inputs", trace, "--out", tmp_path / "q", "--flat").returncode == 0
    assert "arithmetic.weight 8.6" in (tmp_path / "q" / "settings.txt").read_text()
    shutil.copy(trace, answers)
    result = disinhib("trace", "compare", trace, answers, "--complete")
    assert result.returncode == 0, result.stderr
    assert "integers of 15 arrays are equal" in result.stdout
    with h5py.File(answers, "a") as file:
        file["steps/0000/closed_loop/z"][2, 1, 4] += 1
        del file["steps/0000/target/target"], file.attrs["sha256"]
    result = disinhib("trace", "compare", trace, answers)
    assert result.returncode == 1
    assert "step 0, closed loop, tick 3, z[1, 4]" in result.stdout
    refused = disinhib("trace", "record", "--arithmetic", "int9", "--out", tmp_path / "no.h5")
    assert refused.returncode == 2
    assert "choose one of int16" in one_line(refused)


@needs_compiler
def test_a_header_for_c_is_its_own_testbench(tmp_path):
    """What a run learnt, in a program without files; and a mistake shows there too."""
    small = ("--set", "hidden=[5]", "--epochs", "1", "--set", "arithmetic.ticks=8")
    run, header = tmp_path / "run", tmp_path / "network.h"
    assert disinhib("train", "--backend", "integer", *small, "--out", run).returncode == 0
    result = disinhib("export", run, "--to", "c-header", "--samples", "3", "--out", header)
    assert result.returncode == 0, result.stderr
    assert "#define WEIGHT_FRACTION 13" in header.read_text()
    source = f'#define NETWORK_H "{header}"\n' + SOURCE.read_text(encoding="utf-8")
    bench = built(tmp_path, source)
    found = subprocess.run([bench], capture_output=True, text=True, check=True)
    assert found.stdout.endswith(" integers compared, 0 differ\n")
    assert int(found.stdout.split()[0]) > 3 * 8 * (4 * 5 + 3 * 10)
    before, after = MISTAKES["rounded by floor"]
    wrong = subprocess.run([built(tmp_path, source.replace(before, after))],
                           capture_output=True, text=True, check=False)  # fmt: skip
    assert wrong.returncode == 1
    assert wrong.stdout.startswith("steps.0000.open_loop.u_")


def test_arrays_of_integers_are_those_of_the_trace(tmp_path):
    run, out = tmp_path / "run", tmp_path / "network.npz"
    small = ("--set", "hidden=[5]", "--epochs", "1", "--set", "arithmetic.ticks=6")
    assert disinhib("train", "--backend", "integer", *small, "--out", run).returncode == 0
    result = disinhib("export", run, "--to", "npz", "--samples", "3", "--out", out)
    assert result.returncode == 0, result.stderr
    with np.load(out) as arrays:
        assert arrays["steps.0000.closed_loop.z"].shape == (6, 3, 10)
        assert arrays["initial.hidden_0_weight"].dtype == np.int64
        assert "arithmetic.weight 16.13" in str(arrays["settings"]).splitlines()
        # A tick of z from rest: all bits of e that its shift leaves.
        assert np.all(np.abs(arrays["steps.0000.closed_loop.z"][0]) <= 2**14 >> 5)


def test_memory_files_hold_two_s_complement_of_each_width(tmp_path):
    run, out = tmp_path / "run", tmp_path / "memories"
    small = ("--set", "hidden=[5]", "--epochs", "1")
    assert disinhib("train", "--backend", "numpy", *small, "--out", run).returncode == 0
    result = disinhib("export", run, "--to", "readmemh", "--arithmetic", "int8-weights",
                      "--samples", "1", "--out", out)  # fmt: skip
    assert result.returncode == 0, result.stderr
    listed = dict(line.split(" ", 1) for line in (out / "memories.txt").read_text().splitlines())
    assert listed["initial.hidden_0_weight"] == "8 64 5"
    assert listed["steps.0000.closed_loop.z"] == "16 100 1 10"
    assert set(listed) == {path.stem for path in out.glob("*.mem")}
    with h5py.File(run / "checkpoint.h5") as file:
        names = []
        file.visit(names.append)
        (weights,) = [file[name] for name in names if name.endswith("hidden_0/weight")
                      and "parameters" in name]  # fmt: skip
        expected = np.clip(np.rint(np.asarray(weights[:], float) * 64), -128, 127).astype(int)
    lines = (out / "initial.hidden_0_weight.mem").read_text().split()
    assert {len(line) for line in lines} == {2}
    found = np.array([int(line, 16) for line in lines])
    np.testing.assert_array_equal(np.where(found > 127, found - 256, found), expected.ravel())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "c-header", "--out", "network.txt"), "FILE.h is needed"),
        (("--to", "c-header", "--out", "n.h", "--samples", "100000"), "as many as the test set"),
        (("--to", "c-header", "--out", "n.h", "--arithmetic", "int9"), "choose one of int16"),
        (("--to", "torch", "--out", "n", "--samples", "2"), "which --to torch has not"),
        (("--to", "npz", "--out", "n.txt", "--samples", "2"), "FILE.npz is needed"),
    ],
)
def test_exports_that_cannot_be_are_refused(tmp_path, arguments, words):
    small = ("--set", "hidden=[5]", "--epochs", "1")
    assert disinhib("train", *small, "--out", "run", cwd=tmp_path).returncode == 0
    result = disinhib("export", "run", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert words in one_line(result)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
