"""Everything that needs a GPU, in one go: `make gpu-check`.

Each step has its own time limit, log and exit code, and the next one runs whatever became of it;
results are on disk as they come. Those that need not be alone for their times run side by side.
The machine may be offline, and the Python that runs this may itself live in a virtual environment.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENVIRONMENT = ROOT / ".gpu-venv"
TESTED_WITH = ("pytest", "pytest-xdist", "hypothesis", "mpmath", "optuna")
VARIABLES = {
    "PYTHONUNBUFFERED": "1",
    "COLUMNS": "100",
    "PYTHONPATH": str(HERE),
    # compute-sanitizer comes with CUDA's own installation, which is not always on the path.
    "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"]),
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""For what runs side by side: threads of one's BLAS would wait for another's."""
PYTHON = str(ENVIRONMENT / "bin" / "python")


@dataclass(frozen=True)
class Step:
    """A command; `beside` lets it run together with those before it that have it too."""

    name: str
    limit: float  # seconds
    command: tuple[str, ...]
    beside: bool = False
    says: str = ""  # what its log must say besides: tests that were all skipped have not passed


def steps_of(backend: str, out: Path) -> list[Step]:
    """List the steps, the most telling first."""
    disinhib = (PYTHON, "-m", "disinhib")
    bench = (*disinhib, "bench", "--backend", backend)
    published = (*bench, "--sizes", "784,256,256,256,10", "--batch", "100", "--dtype", "float32")

    def conform(dtype: str) -> tuple[str, ...]:
        report = str(out / f"conform-{dtype}.json")
        return (*disinhib, "conform", "--backend", backend, "--dtype", dtype, "--json", report)

    plugins = ("-p", "failures_at_once", "-p", "no:cacheprovider")
    pytest = (PYTHON, "-m", "pytest", "-q", *plugins, "--durations=10", "-m", "gpu")
    sanitizer = "test_no_thread_reads_what_it_must_not"
    workers = str(min(12, os.cpu_count() or 1))
    tests = (*pytest, "-n", workers, "--dist", "worksteal", "-k", f"not {sanitizer}")
    sanitized = (*pytest, "-n", "2", "-k", sanitizer, "tests/backends/test_cupy.py")
    profile = (*bench, "--profile", "--dtype", "float32", "--json", str(out / "profile.json"))
    results = ("--json", str(out / "published.json"), "--chart", str(out / "published.png"))
    smoke = (PYTHON, str(HERE / "gpu_smoke.py"))
    targets = (PYTHON, str(HERE / "gpu_targets.py"), "--backend", backend)
    return [
        Step("smoke-float32", 90, (*smoke, "float32"), beside=True),
        Step("smoke-float64", 90, (*smoke, "float64"), beside=True),
        Step("conform-float32", 100, conform("float32"), beside=True),
        Step("conform-float64", 100, conform("float64"), beside=True),
        Step("tests", 180, tests, beside=True, says=" passed"),
        Step("sanitizer", 180, sanitized, beside=True, says=" passed"),
        Step("profile", 30, profile),
        Step("kernels", 30, (PYTHON, str(HERE / "gpu_kernels.py"), str(out / "kernels.json"))),
        Step("published", 90, (*published, *results)),
        Step("targets", 90, (*targets, "--json", str(out / "targets.json"))),
        Step("all-rows", 150, (*bench, "--json", str(out / "all.json"))),
    ]


def make_environment() -> None:
    """Make an environment that has what this Python has, and the checkout installed in it.

    Not `--system-site-packages`: of a Python that is in a virtual environment itself, that is what
    its base has.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ENVIRONMENT], check=True)
    own = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    places = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    lines = [f"import site; site.addsitedir({place!r})" for place in places]
    # CuPy looks for CUDA's libraries where `site` says that packages lie.
    lines.append(f"import site; site.PREFIXES.append({sys.prefix!r})")
    (ENVIRONMENT / own / "machine.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    wheels = ("--no-index", "--find-links", str(ROOT / "wheels"))
    install = (sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", *wheels)
    # First what builds the package, for nothing can be fetched into a build of its own.
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    subprocess.run([*install, *requires], check=True)
    subprocess.run([*install, "--no-build-isolation", "--editable", ROOT, *TESTED_WITH], check=True)


def run(steps: list[Step], out: Path) -> list[dict[str, object]]:
    """Run steps side by side, each to its end or its limit."""
    started = []
    for step in steps:
        log = (out / f"{step.name}.log").open("wb")
        process = subprocess.Popen(
            step.command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **VARIABLES, **(ONE_THREAD if step.beside else {})},
            cwd=ROOT,
        )  # fmt: skip
        log.close()
        started.append((step, process, time.monotonic()))
    results = []
    for step, process, began in started:
        try:
            code = process.wait(max(0.0, began + step.limit - time.monotonic()))
            how = "passed" if code == 0 else f"failed with code {code}"
            if code == 0 and step.says not in (out / f"{step.name}.log").read_text():
                how = f"failed: nothing{step.says}"
        except subprocess.TimeoutExpired:
            how = f"stopped after its {step.limit:.0f} s"
        # What a step leaves behind would disturb the next.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seconds = round(time.monotonic() - began, 1)
        print(f"{step.name:16} {how}, {seconds} s: {out / step.name}.log", flush=True)
        results.append({"step": step.name, "result": how, "seconds": seconds})
    return results


def groups_of(steps: list[Step]) -> list[list[Step]]:
    """Split into those that run side by side: smoke tests, then what else may, then one by one."""
    groups: list[list[Step]] = []
    for step in steps:
        first = step.name.split("-")[0]
        together = step.beside and groups and groups[-1][0].beside
        if together and (first == "smoke") == groups[-1][0].name.startswith("smoke"):
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def main() -> int:
    """Run all steps or some, and say what became of them; 1 if any did not pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="cupy", help="another one tries this without a GPU")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-check")
    parser.add_argument("--only", help="names of steps, with commas between them")
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    steps = steps_of(given.backend, out)
    if given.only is not None:
        names = given.only.split(",")
        unknown = set(names) - {step.name for step in steps}
        if unknown:
            parser.error(f"no step {sorted(unknown)}; there are {[step.name for step in steps]}")
        steps = [step for step in steps if step.name in names]
    began = time.monotonic()
    make_environment()
    print(f"environment made after {time.monotonic() - began:.1f} s", flush=True)
    results: list[dict[str, object]] = []
    for group in groups_of(steps):
        results += run(group, out)
        summary = {"seconds": round(time.monotonic() - began, 1), "steps": results}
        (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    failed = [result["step"] for result in results if result["result"] != "passed"]
    print(f"{len(results) - len(failed)} of {len(results)} steps passed, {summary['seconds']} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
