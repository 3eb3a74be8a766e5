"""What NVIDIA's compiler makes of the CUDA sources, held against what a device can run well."""

import re

import pytest

from disinhib.backends.cuda.device import CupyDevice
from disinhib.backends.cuda.source import instances, source

from .cuda_machine_code import machine_code, why_not_here

pytestmark = pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "-")

REGISTERS = 65_536
"""Of a multiprocessor, on every device from sm_50 on; a block that needs more is not run."""
REGISTERS_AT_ONCE = 8
"""Threads get so many, or a multiple."""

SPILLED = {"open_loop": 260, "closed_loop": 276, "integrate": 124, "record": 100}
"""Bytes that a float32 kernel may spill at most, of those that do: around an integration's calls,
where the step control and a product need nearly all registers; no product's own loop spills."""

FLOAT64 = {
    "block_sum": "losses are summed in float64",
    "warp_sum": "a block's sum ends in it",
    "sum_up": "losses are summed in float64",
    "distance_from_root": "a line search compares what rounding of float32 would decide",
    "search_again": "fractions of the line search",
    "integrate_samples": "step control",
    "keeps_step": "step control",
    "scaled_error": "step control",
    "find_powers": "step control",
    "small_speed": "step control",
    "sums_of_squares": "step control",
    "distance_to_rest": "step control",
    "combine": "a step of the step control, rounded to float32",
    "descend": "decay rates to the power of the number of steps",
    "begin_descent": "likewise",
    "find_corrections": "likewise",
}
"""Functions that compute in float64 whatever the precision of the network, and why."""

WEIGHTS_AT_ONCE = 6
"""Weights that a product's loop has read before it first waits for one, at least."""
FEWER_AT_ONCE = {"integrate<float, 4>": 4, "record<float, 4>": 3}
"""Of integrations of four samples, whose sums leave no registers for more."""
GROUPED = ("open_loop", "closed_loop", "integrate", "record", "factors")


def faults(name, code, architecture="90"):
    """What is wrong with a kernel's machine code, a line each; the tables are of sm_90."""
    kernel, ctype = re.match(r"(\w+)<(\w+)", name).groups()
    threads = CupyDevice.group_threads if kernel in GROUPED else CupyDevice.threads
    registers = -(-code.registers // REGISTERS_AT_ONCE) * REGISTERS_AT_ONCE
    if registers * threads > REGISTERS:
        yield f"{name}: {threads} threads with {registers} registers"
    if kernel in GROUPED:
        samples = int(re.search(r", (\d+)>", name).group(1))
        flags = max(flags_read(i) for i in code.instructions)
        if flags > samples:
            yield f"{name}: {flags} flags are read at once, past those of {samples} samples"
    if ctype == "double" or architecture != "90":
        return
    if code.spilled > SPILLED.get(kernel, 0):
        yield f"{name}: {code.spilled} bytes spilled"
    for function in sorted({i.function for i in code.instructions if is_float64(i.text)}):
        if function and function not in FLOAT64:
            yield f"{name}: float64 in {function}"
    if kernel in GROUPED:
        products = [loop for loop in code.loops() if any(is_product(i) for i in loop)]
        if not products:
            yield f"{name}: no product, which is known by its lines"
        for loop in products:
            first = next(at for at, i in enumerate(loop) if is_product(i))
            read = sum(weights_read(i) for i in loop[:first])
            if read < FEWER_AT_ONCE.get(name, WEIGHTS_AT_ONCE):
                yield f"{name}: {read} weights are read before the first is waited for"
            if any(i.text.startswith(("LDL", "STL")) for i in loop):
                yield f"{name}: a product's loop spills"


def is_float64(text):
    # CUDA's own have no function, but are called from where there is one of these.
    return re.match(r"D(ADD|MUL|FMA|SETP|MNMX|MMA)|\S*F64|MUFU\S*64H", text) is not None


def is_product(instruction):
    return instruction.text.startswith("FFMA") and "+= rate * w" in instruction.line


def weights_read(instruction):
    match = re.match(r"LDG?\.E(?:\.\w+)*?(?:\.(64|128))? ", instruction.text)
    if not match or "(weights + k * step)" not in instruction.line:
        return 0
    return int(match.group(1) or 32) // 32


def flags_read(instruction):
    """Flags of samples that one load brings.

    The compiler may read more than it is asked for, and does so up to an end that it does not
    know. Behind a group's S flags lie others, which a thread that is ahead may be writing.
    """
    match = re.match(r"LDS(?:\.(64|128))? ", instruction.text)
    of_flags = re.search(r"\b(is_\w+|flags)\[s\]", instruction.line)
    # An atomic addition reads its counter, which to the compiler might lie in the block's memory.
    if not match or not of_flags or "atomicAdd" in instruction.line:
        return 0
    return int(match.group(1) or 32) // 32


def part(ctype, of):
    """Some of the kernels' instances."""
    patterns = {
        "cheap": r"factors.*1|\w+<\w+>",
        "record": "record",
    }
    pattern = patterns.get(of, rf"(?!record).*, {of}>")
    return [name for name in instances(ctype) if re.match(pattern, name)]


# What takes a few seconds; of the kernels that take longer a fault at a time is shown below.
PARTS = [("90", "float", "cheap")]
SLOW = [
    (architecture, ctype, of)
    for architecture in ("80", "90", "100")
    for ctype in ("float", "double")
    for of in ("cheap", "record", "1", "2", "4")
    if (architecture, ctype, of) not in PARTS
]


@pytest.mark.parametrize(
    ("architecture", "ctype", "of"),
    [*PARTS, *(pytest.param(*p, marks=pytest.mark.slow) for p in SLOW)],
)
def test_a_device_can_run_what_is_compiled_and_has_no_more_to_do_than_is_meant(
    architecture, ctype, of
):
    names = part(ctype, of)
    codes = machine_code(names, architecture, f"{architecture}-{ctype}-{of}")
    assert set(codes) == set(names)
    found = [faults(name, code, architecture) for name, code in codes.items()]
    assert [fault for of_kernel in found for fault in of_kernel] == []


MOST, OVER = "MOST_THREADS = ", "s < g.samples; ++s) found"


@pytest.mark.parametrize(
    ("name", "right", "wrong", "fault"),
    [
        ("linearize<float>", "T v = k * (u - m);", "T v = 1.1 * k * (u - m);", "float64 in rate"),
        ("factors<float, 1>", "WEIGHTS_AT_ONCE = 8", "WEIGHTS_AT_ONCE = 2", "weights are read"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("open_loop<float, 4>", MOST + "512", MOST + "256", "512 threads with"),
                ("open_loop<float, 4>", MOST + "512", MOST + "1024", "bytes spilled"),
                ("open_loop<float, 1>", "s < S; ++s) found", OVER, "flags are read"),
            )
        ),
    ],
    ids=["float64", "loads", "registers", "spills", "flags"],
)
def test_what_a_device_runs_badly_shows(name, right, wrong, fault):
    """The check above can fail."""
    assert source().count(right) == 1
    text = source().replace(right, wrong)
    code = machine_code([name], "90", f"wrong-{fault}".replace(" ", "-"), text)[name]
    assert any(fault in found for found in faults(name, code))
