"""Machine code of the CUDA sources, by CuPy's own way to NVIDIA's compiler; no GPU is needed."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import NamedTuple

from disinhib.backends.cuda.source import source

from .cuda_on_cpu.cpu_device import place_of_compiled

PACKAGES = ("cupy-cuda13x", "nvidia-cuda-nvrtc", "nvidia-cuda-nvdisasm")

# What `cupy.RawModule` asks for, of an architecture that is told where no device says its own.
# The lines of the sources, and the log's words on each kernel, change nothing of the code.
COMPILE = """
import contextlib, io, json, sys
from cupy._core import core
from cupy.cuda import compiler, driver, runtime

# Remembered for each device, and for that asks which it is.
compiler._get_arch_for_options_for_nvrtc = compiler._get_arch_for_options_for_nvrtc.__wrapped__
text, names, architecture = json.load(sys.stdin)
log = io.StringIO()
# What is compiled is kept on disk, and then loaded: that takes a device.
with contextlib.suppress(runtime.CUDARuntimeError, driver.CUDADriverError):
    core.compile_with_cache(
        text, ("-std=c++17", "--generate-line-info", "-Xptxas=-v"), arch=architecture,
        prepend_cupy_headers=False, backend="nvrtc", name_expressions=tuple(names), log_stream=log,
    )
print(log.getvalue())
"""


def why_not_here():
    """Say why there is no machine code to be had; empty if there is."""
    try:
        for package in PACKAGES:
            version(package)
    except PackageNotFoundError as missing:
        return f"no {missing.name}: pip install -e '.[cuda-check]', on Linux for x86-64"
    return ""


class Instruction(NamedTuple):
    """Its text, and the function and line of the sources that it is from; CUDA's own have none."""

    text: str
    function: str
    line: str


@dataclass
class MachineCode:
    """A kernel's: registers of a thread, bytes that it spills, instructions.

    Labels say before which instruction they stand.
    """

    registers: int
    spilled: int
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def loops(self):
        """Instructions of each loop that has no other in it."""
        ends = [
            (self.labels[match.group(1)], at)
            for at, instruction in enumerate(self.instructions)
            if (match := re.search(r"BRA.*`\((\S+)\)", instruction.text))
            and self.labels.get(match.group(1), at + 1) <= at
        ]
        for a, b in ends:
            if not any((a, b) != (c, d) and a <= c and d <= b for c, d in ends):
                yield self.instructions[a : b + 1]


def machine_code(names, architecture, kept_as, text=None):
    """{name: MachineCode} of instances of the sources' kernels, or of another text's."""
    text = source() if text is None else text
    cubin, log = compiled(text, names, architecture, kept_as)
    (disassembler,) = (f for f in files("nvidia-cuda-nvdisasm") if f.name == "nvdisasm")
    with tempfile.TemporaryDirectory() as own:
        file = Path(own) / "kernels.cubin"
        file.write_bytes(cubin)
        done = subprocess.run(
            [disassembler.locate(), "-c", "-g", file], capture_output=True, text=True, check=True
        )
    return read(done.stdout, log, text)


def compiled(text, names, architecture, kept_as):
    """A cubin and the compiler's log; what was compiled of the same is kept."""
    asked = json.dumps([text, names, architecture])
    versions = json.dumps([COMPILE, *map(version, PACKAGES)])
    key = hashlib.sha256((asked + versions).encode()).hexdigest()
    place = place_of_compiled() / "machine-code"
    place.mkdir(exist_ok=True)
    kept = place / kept_as
    if kept.exists():
        head, _, cubin = kept.read_bytes().partition(b"\n")
        of, log = json.loads(head)
        if of == key:
            return cubin, log
    with tempfile.TemporaryDirectory(dir=place) as own:
        done = subprocess.run(
            [sys.executable, "-c", COMPILE], input=asked, capture_output=True, text=True,
            env={**os.environ, "CUPY_CACHE_DIR": own}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (file,) = Path(own).glob("*.cubin")
        payload = file.read_bytes()
        # CuPy puts the kernels' names before a cubin, and leaves its last byte off, a zero.
        cubin = payload[payload.index(b"\x7fELF") :] + b"\0"
        file.write_bytes(json.dumps([key, done.stdout]).encode() + b"\n" + cubin)
        file.replace(kept)
    return cubin, done.stdout


HEAD = re.compile(
    r"__(?:device|global)__ (?:[^(;]*?__launch_bounds__\(.*?\) )?[^(;]*?(\w+)(?:<\w+>)?\("
)


def read(listing, log, text):
    """Take the disassembler's listing and the compiler's log apart."""
    lines = [("", "")]
    for line in text.splitlines():
        head = HEAD.search(line)
        lines.append((head.group(1) if head else lines[-1][0], line.strip()))
    kernels = {}
    for part in log.split("Compiling entry function '")[1:]:
        spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill stores", part))
        registers = int(re.search(r"Used (\d+) registers", part).group(1))
        kernels[part.split("'")[0]] = MachineCode(registers, spilled)
    code, origin = None, ("", "")
    for line in listing.splitlines():
        if match := re.match(r"\s*\.section\s+\.text\.(\S+?),", line):
            code, origin = kernels[match.group(1)], ("", "")
        elif match := re.match(r"\s*//## File .*?, line (\d+)", line):
            origin = lines[int(match.group(1))]
        elif match := re.match(r"(\S+):$", line):
            code.labels[match.group(1)] = len(code.instructions)
            if match.group(1).startswith("$__internal"):
                origin = ("", "")
        elif match := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?\s*(.*?) ;", line):
            code.instructions.append(Instruction(match.group(1), *origin))
    return {name_of(symbol): code for symbol, code in kernels.items()}


def name_of(symbol):
    """_Z11closed_loopIfLi4EE… is closed_loop<float, 4>."""
    length, rest = re.match(r"_Z(\d+)(.*)", symbol).groups()
    name, rest = rest[: int(length)], rest[int(length) :]
    letter, samples = re.match(r"I([fd])(?:Li(\d+)E)?E", rest).groups()
    ctype = {"f": "float", "d": "double"}[letter]
    return f"{name}<{ctype}, {samples}>" if samples else f"{name}<{ctype}>"
