"""Faults made mechanically: what the reference computes with, changed one thing at a time.

Each chapter is parsed, and every operator, sign, comparison, number, reduction, axis, slice and
name of a pair in it is a place of a fault: what stands there is replaced by a neighbour. A copy of
the reference with the fault runs as a backend; what is the model's own form, its data classes and
its configuration, is shared with the right one, so that the judge takes what the copy gives.

As a program, `mechanical_faults.py FOLDER`, it judges the faults that FOLDER/todo.json lists, and
adds a line to FOLDER/results.jsonl for each; `judge_in_processes` starts it, and again after a
fault that hangs.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np

import disinhib.backends.backend
import disinhib.backends.front
import disinhib.backends.numpy.backend
import disinhib.refimpl.configuration
import disinhib.refimpl.continuous
import disinhib.validation.judge.conformance as conformance
from disinhib.refimpl import LOSSES, RULES
from disinhib.validation import (
    conform,
    find_traces,
    judge_promises,
    named_arrays,
    read_trace,
    record_standard_case,
    shipped_directory,
    standard_cases,
)
from disinhib.validation.judge.initialisation import judge_initialisation

REFERENCE = Path(disinhib.refimpl.configuration.__file__).parent
CHAPTERS = (
    "circuit",
    "feedback",
    "fixed_point",
    "plasticity",
    "optimizer",
    "integration",
    "end_state",
    "learning_step",
)
"""In the order in which they can be imported."""
FORMS = {
    "circuit": ("Parameters", "NetworkState"),
    "optimizer": ("OptimizerState",),
    "end_state": ("EndStateCounts", "Recording"),
    "learning_step": ("Learner", "StepMetrics"),
}
"""Classes in which callers and backends speak: they are the contract's, no backend has its own."""


@dataclass(frozen=True)
class Fault:
    """One change: where it is, what kind of thing is changed, what into what, and the bytes."""

    chapter: str
    function: str  # empty for what stands outside
    line: str  # text of the line where what is changed begins
    change: str
    kind: str
    number: int  # of the line
    first: int  # bytes of the chapter that are replaced
    last: int
    instead: str

    @property
    def key(self) -> str:
        """Tells it from all others, wherever its line moves to."""
        return " | ".join((self.chapter, self.function, self.line, self.change))


RIGHT = Fault("circuit", "", "", "nothing", "none", 0, 0, 0, "")
"""No fault at all: the copy as it is."""

# What stands for what.

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Mod: ast.FloorDiv,
    ast.FloorDiv: ast.Mod,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
TURNED = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
AT_THE_BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


def _both_ways(*pairs: str) -> dict[str, str]:
    split = [pair.split() for pair in pairs]
    return dict(split) | {b: a for a, b in split}


REDUCTIONS = _both_ways("sum mean", "max min", "all any", "maximum minimum", "argmax argmin")
FUNCTIONS = _both_ways(
    "exp expm1", "log log1p", "zeros_like ones_like", "zeros ones", "isfinite isnan"
)
LEFT_OUT = ("abs", "sqrt", "swapaxes", "clip")
"""NumPy's functions in whose place their first argument comes."""
NAMES = _both_ways(
    "rate slope",
    "softmax log_softmax",
    "phi_E phi_I",
    "tau_E tau_I",
    "r_E r_I",
    "slope_E slope_I",
    "slopes_E slopes_I",
    "open_loop closed_loop",
    "m v",
    "beta_1 beta_2",
    "m_unbiased v_unbiased",
    "log_p log_q",
    "p q",
    "over under",
    "last before_last",
    "found_frozen found_fresh",
    "delta theta",
    "u_E u_I",
    "open_counts closed_counts",
)
ATTRIBUTES = _both_ways(
    "u_E u_I",
    "activation_E activation_I",
    "tau_E tau_I",
    "k_p k_i",
    "u_out z",
    "first_moment second_moment",
    "beta_1 beta_2",
    "scale sharpness",
    "rtol atol",
    "dt_min dt_max",
    "factor_min factor_max",
    "found_frozen found_fresh",
    "frozen_newton fresh_newton",
)
SLIGHTLY = 1.01
"""Factor on a number with a point: enough to be seen, too little for the eye."""


def all_faults() -> list[Fault]:
    """List every fault of every chapter, in the order of the text."""
    found = [fault for chapter in CHAPTERS for fault in chapter_faults(chapter)]
    seen: Counter[str] = Counter()
    unique = []
    for fault in found:
        seen[fault.key] += 1
        n = seen[fault.key]
        unique.append(fault if n == 1 else replace(fault, change=f"{fault.change} ({n})"))
    return unique


def drawn_faults(seed: int, n: int) -> list[Fault]:
    """Draw n places, and one fault of each; what is drawn hardly changes with the text."""

    def rank(fault: Fault) -> bytes:
        return hashlib.sha256(f"{seed} {fault.key}".encode()).digest()

    drawn: dict[tuple, Fault] = {}
    for fault in sorted(all_faults(), key=rank):
        drawn.setdefault((fault.chapter, fault.first, fault.last), fault)
    return list(drawn.values())[:n]


def chapter_faults(chapter: str) -> Iterator[Fault]:
    """Go through the places of one chapter."""
    source = chapter_source(chapter)
    lines = source.splitlines(keepends=True)
    starts = np.cumsum([0, *map(len, lines)])
    for function, node, bound in _nodes(ast.parse(source), chapter):
        for kind, place, new in _changes(node, bound):
            before, after = ast.unparse(place), ast.unparse(new)
            yield Fault(
                chapter=chapter,
                function=function,
                line=lines[place.lineno - 1].decode().strip(),
                change=f"{before} → {after}",
                kind=kind,
                number=place.lineno,
                first=int(starts[place.lineno - 1]) + place.col_offset,
                last=int(starts[place.end_lineno - 1]) + place.end_col_offset,
                instead=after if isinstance(new, ast.stmt | ast.Slice) else f"({after})",
            )


def chapter_source(chapter: str) -> bytes:
    """Text of a chapter of the right reference; places in it are counted in bytes."""
    return (REFERENCE / f"{chapter}.py").read_bytes()


def _nodes(tree: ast.Module, chapter: str) -> Iterator[tuple[str, ast.AST, set[str]]]:
    """What may be changed, with the function it is in and the names that are bound there.

    Not annotations, messages and what only guards: no number depends on them.
    """
    outside = {name for node in tree.body for name in _bound(node)}

    def visit(node: ast.AST, function: str, bound: set[str]) -> Iterator[tuple[str, ast.AST, set]]:
        if isinstance(node, ast.ClassDef) and node.name in FORMS.get(chapter, ()):
            return
        if isinstance(node, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom | ast.JoinedStr):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if isinstance(node, ast.keyword) and node.arg in ("strict", "dtype", "over", "invalid"):
            return
        if isinstance(node, ast.Assign) and _is_kind(node.value):
            return
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            bound = bound | {name for part in ast.walk(node) for name in _bound(part)}
            if isinstance(node, ast.FunctionDef):
                function = f"{function}.{node.name}" if function else node.name
        yield function, node, bound
        left_out = {id(part) for part in _annotations(node)}
        for child in ast.iter_child_nodes(node):
            if id(child) not in left_out:
                yield from visit(child, function, bound)

    yield from visit(tree, "", outside)


def _bound(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
            return [name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case ast.Assign():
            return [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return []


def _is_kind(value: ast.expr) -> bool:
    """An alias of types, or a type variable."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "TypeVar"
    is_index = isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name)
    return is_index and value.value.id in ("Callable", "tuple")


def _annotations(node: ast.AST) -> list[ast.AST | None]:
    match node:
        case ast.FunctionDef():
            return [node.returns, *node.decorator_list]
        case ast.arg() | ast.AnnAssign():
            return [node.annotation]
        case ast.ClassDef():
            return list(node.decorator_list)
        # A minus and its number are one number; what is assigned to is no place.
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as operand):
            return [operand]
        case ast.Subscript(slice=ast.Slice() as part) if _end_of_slice(part):
            return [part.lower, part.upper]
    return []


def _changes(node: ast.AST, bound: set[str]) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Kinds of change that a node admits, what is replaced, and what comes in its place."""
    if isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.BoolOp):
        if not isinstance(node.test, ast.UnaryOp):
            yield "comparison", node.test, ast.UnaryOp(ast.Not(), node.test)
        return
    for kind, new in _neighbours(node, bound):
        yield kind, node, new


def _neighbours(node: ast.AST, bound: set[str]) -> Iterator[tuple[str, ast.AST]]:
    """What may come in the place of a node, with the kind of change."""

    def with_(**fields: object) -> ast.AST:
        new = copy.copy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        return new

    match node:
        case ast.BinOp(op=ast.MatMult()):
            turned = _call("swapaxes", node.right, ast.Constant(-1), ast.Constant(-2))
            yield "axis", with_(right=turned)
            yield "sign", with_(right=ast.UnaryOp(ast.USub(), node.right))
        case ast.BinOp():
            yield "operator", with_(op=OPERATORS[type(node.op)]())
            if isinstance(node.op, ast.Mult | ast.Div):
                yield "sign", with_(right=ast.UnaryOp(ast.USub(), node.right))
        case ast.AugAssign() | ast.BoolOp():
            yield "operator", with_(op=OPERATORS[type(node.op)]())
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=n)):
            whole = -1 if n == 2 else -n - 1
            yield "number", ast.Constant(whole if isinstance(n, int) else -n * SLIGHTLY)
        case ast.UnaryOp(op=ast.USub()):
            yield "sign", node.operand
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield "comparison", node.operand
        case ast.Compare(ops=[op]):
            yield "comparison", with_(ops=[TURNED[type(op)]()])
            if type(op) in AT_THE_BOUNDARY:
                yield "boundary", with_(ops=[AT_THE_BOUNDARY[type(op)]()])
        case ast.Constant(value=bool()):
            yield "number", ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield "number", ast.Constant(node.value + 1)
        case ast.Constant(value=float()):
            yield "number", ast.Constant(node.value * SLIGHTLY or 1.0)
        case ast.Return(value=ast.BinOp() as value):
            yield "sign", with_(value=ast.UnaryOp(ast.USub(), value))
        case ast.Subscript(slice=ast.Slice() as part) if end := _end_of_slice(part):
            yield "slice", with_(slice=end)
        case ast.Subscript(slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))):
            yield "slice", with_(slice=ast.Constant(0))
        case ast.Subscript(slice=ast.Tuple(elts=elts)):
            # A new axis beside a whole one, the other way round.
            for i in range(len(elts) - 1):
                kinds = {ast.unparse(part) for part in elts[i : i + 2]}
                if kinds == {"None", ":"}:
                    swapped = [*elts[:i], elts[i + 1], elts[i], *elts[i + 2 :]]
                    yield "axis", with_(slice=ast.Tuple(swapped, ast.Load()))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="np"), attr=name)):
            swaps = REDUCTIONS | FUNCTIONS
            if name in swaps:
                kind = "reduction" if name in REDUCTIONS else "function"
                yield kind, with_(func=ast.Attribute(node.func.value, swaps[name], ast.Load()))
            elif name in LEFT_OUT:
                yield "function", node.args[0]
            elif name == "where":
                condition, first, second = node.args
                yield "branches", with_(args=[condition, second, first])
        case ast.Name(id=name, ctx=ast.Load()) if NAMES.get(name) in bound:
            yield "name", ast.Name(NAMES[name], ast.Load())
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in ATTRIBUTES:
            yield "name", with_(attr=ATTRIBUTES[name])


def _end_of_slice(part: ast.Slice) -> ast.Slice | None:
    """All but the first in place of all but the last, and the other way round."""
    match part:
        case ast.Slice(lower=ast.Constant(value=1), upper=None, step=None):
            return ast.Slice(None, ast.UnaryOp(ast.USub(), ast.Constant(1)))
        case ast.Slice(
            lower=None, upper=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)), step=None
        ):
            return ast.Slice(ast.Constant(1), None)
    return None


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("np", ast.Load()), name, ast.Load()), [*arguments], [])


# A copy of the reference with a fault, as a backend.

COPY = "disinhib_with_a_fault"
SHARED = {
    f"{COPY}.refimpl.configuration": disinhib.refimpl.configuration,
    f"{COPY}.refimpl.continuous": disinhib.refimpl.continuous,
    f"{COPY}.backends.backend": disinhib.backends.backend,
    f"{COPY}.backends.front": disinhib.backends.front,
}


def faulty_backend(fault: Fault) -> type:
    """Make the class of a backend that computes by a copy of the reference with one fault.

    Only one copy is there at a time.
    """
    for package in ("", ".refimpl", ".backends", ".backends.numpy"):
        _module(f"{COPY}{package}").__path__ = []
    sys.modules |= SHARED
    for chapter in CHAPTERS:
        code = _compiled(chapter, fault) if fault.chapter == chapter else _right(chapter)
        exec(code, vars(_module(f"{COPY}.refimpl.{chapter}")))
    exec(_right("__init__"), vars(sys.modules[f"{COPY}.refimpl"]))
    backend = _module(f"{COPY}.backends.numpy.backend")
    exec(Path(disinhib.backends.numpy.backend.__file__).read_bytes(), vars(backend))
    kind: type = backend.NumpyBackend
    return kind


def _module(name: str) -> ModuleType:
    sys.modules[name] = module = ModuleType(name)
    is_package = name.endswith((COPY, ".refimpl", ".backends", ".numpy"))
    module.__package__ = name if is_package else name.rpartition(".")[0]
    return module


@functools.cache
def _right(chapter: str) -> object:
    return _compiled(chapter, RIGHT)


def _compiled(chapter: str, fault: Fault) -> object:
    """A chapter's code with a fault; the forms are the right reference's."""
    source = chapter_source(chapter)
    source = source[: fault.first] + fault.instead.encode() + source[fault.last :]
    tree = ast.parse(source)
    for i, node in enumerate(tree.body):
        if isinstance(node, ast.ClassDef) and node.name in FORMS.get(chapter, ()):
            names = [ast.alias(node.name)]
            tree.body[i] = ast.ImportFrom(f"disinhib.refimpl.{chapter}", names, 0)
    return compile(ast.fix_missing_locations(tree), f"{chapter} with a fault", "exec")


# Judging.

MOST_TELLING = (
    "unequal-activations-linear-threshold",
    "exact-inverse-mse-weak-averaged",
    "exact-inverse-softmax-cross-entropy-weak",
    "linear-threshold-fixed-softmax-cross-entropy-clipped",
    "plain-descent-running-mean",
    "unequal-activations-backprop",
    "without-weights",
    "without-biases",
    "changing-slopes",
    "labels-of-less-than-1",
    "unstable-fixed-point",
    "linear-threshold-mse-readout-free",
    "saturated-linear-threshold",
    "near-silent",
    "strong-gain",
    "without-gain",
)
"""Cheap ones that between them catch nearly all that is caught; the others come after."""
WITH_PATHS = ("circuit", "integration", "end_state")
"""Chapters that a recorded path runs through, and that integrate. The others are judged without
paths, which are slow and would say what they say without a fault."""
WITHOUT_RULES = ("feedback", "fixed_point", "integration", "end_state")
"""Chapters that know nothing of rules: of the options' grid they are judged by one rule's cases."""
WITHOUT_LEAK = "without-leak"
REAL_IMAGES = "fashion-mnist-3x256-exact-inverse.h5"
INTEGRATED = ("linear-threshold-mse-readout-free", "depth-1")
"""Judged by integration as well, one step of each."""
PATHS = ("unequal-activations", "stiff-time-constants", "strong-gain-fast-controller")
"""Cases of which the recorded path is judged."""
MOST_SILENCE = 1800
"""Seconds without a result after which a process is taken to hang in what no signal stops."""


@dataclass(frozen=True)
class Judgement:
    """One trace to judge by, and the way to the end states."""

    trace: str
    method: str = "fixed-point"
    with_path: bool = False
    settled: str = "published"  # when an integration has come to its end

    @property
    def most_seconds(self) -> float:
        """Of the processor's time; the right reference needs less than an eighth."""
        if self.method == "euler":
            return 120
        is_quick = self.method == "fixed-point" and not self.with_path
        return 4 if is_quick and self.trace != WITHOUT_LEAK and self.trace != REAL_IMAGES else 20


def judgements(fault: Fault, quick: bool = False) -> list[Judgement]:
    """What a fault is judged by, in order; the first that fails catches it."""
    telling, more = _judgements(fault.chapter)
    if fault.line.startswith("EULER"):
        # Too slow to be asked for what does not concern it.
        telling = [Judgement(INTEGRATED[1], "euler")]
    return telling if quick else telling + more


@functools.cache
def _judgements(chapter: str) -> tuple[list[Judgement], list[Judgement]]:
    shipped = sorted(path.name for path in find_traces(shipped_directory())[0])
    # That of real images takes as long as all others.
    shipped.sort(key=lambda name: name == REAL_IMAGES)
    names = [*MOST_TELLING, *(case.name for case in standard_cases()), *shipped]
    if chapter in WITHOUT_RULES:
        other = tuple(f"{rule}-{loss}" for rule in RULES[1:] for loss in LOSSES)
        names = [n for n in names if n in MOST_TELLING or not n.startswith(other)]
    listed = [Judgement(name) for name in dict.fromkeys(names) if name != WITHOUT_LEAK]
    n = len(MOST_TELLING) if chapter not in ("integration", "end_state") else 1
    telling, more = listed[:n], listed[n:]
    if chapter in WITH_PATHS:
        paths = [Judgement(name, with_path=True) for name in PATHS]
        integrated = [Judgement(name, "tsit5") for name in INTEGRATED]
        telling += [paths[0], Judgement(WITHOUT_LEAK), integrated[0]]
        if chapter == "end_state":
            # Where some end states need a fresh matrix, and are counted as such; and as whoever
            # trains by integration has it.
            telling += [Judgement("changing-slopes"), Judgement(WITHOUT_LEAK, settled="distance")]
        more = [*more[:-1], *paths[1:], integrated[1], more[-1]]
    elif chapter != "fixed_point":
        # Without a leak nothing is found by fixed point.
        more.append(Judgement(WITHOUT_LEAK))
    return telling, more


DRAWN, N_DRAWS, MOST_SECONDS_OF_DRAWS = (120, 100, 10), 30, 10
"""So many numbers tell a variance from one that is 2 % larger."""


MOST_SECONDS_OF_PROMISES = 80
"""The right reference needs a tenth of it."""


class OutOfTime(BaseException):
    """The processor's time for one trace is over."""


class Caught(BaseException):
    """A stage failed."""


class Judge:
    """Judges faults; what rounding may do to a trace is measured once, and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._traces: dict[str, object] = {}
        self._effects: dict[tuple, object] = {}
        self._kept: Path | None = None
        for measures in ("rounding_effects", "loss_effects", "run_effects"):
            if hasattr(conformance, measures):
                setattr(conformance, measures, self._once(getattr(conformance, measures)))
        conformance.usual_mistake = _stop_at_a_failure
        signal.signal(signal.SIGVTALRM, _stop_out_of_time)

    def judged(self, fault: Fault, quick: bool) -> dict:
        """Judge a fault by one trace after the other until it is caught."""
        began = time.process_time()
        caught, judged_by = self._caught_by_its_draws(fault), 0
        for judgement in judgements(fault, quick) if not caught else []:
            caught, judged_by = self._caught_by(fault, judgement), judged_by + 1
            if caught:
                break
        caught = caught or self._caught_by_its_promises(fault)
        seconds = round(time.process_time() - began, 3)
        return {"fault": fault.key, "caught": caught, "judged by": judged_by, "seconds": seconds}

    def _caught_by_its_draws(self, fault: Fault) -> str:
        """What networks begin with, judged as a port's is."""
        if fault.chapter != "circuit":
            return ""
        signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS_OF_DRAWS)
        try:
            faulty_backend(fault)
            draw = sys.modules[f"{COPY}.refimpl"].initial_parameters
            draws = [named_arrays(draw(DRAWN, np.random.default_rng(n))) for n in range(N_DRAWS)]
        except OutOfTime:
            return "initialisation: out of time"
        except Exception as problem:
            return f"initialisation: {type(problem).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        together = {
            f"initialisation/{name}": np.stack([one[name] for one in draws]) for name in draws[0]
        }
        result = judge_initialisation(DRAWN, together)
        return "" if result.passed else f"initialisation: {result.problem}"

    def _caught_by_its_promises(self, fault: Fault) -> str:
        """What is asked of a backend beside a trace; the reference has the reference's steps."""
        signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS_OF_PROMISES)
        try:
            with np.errstate(all="ignore"):
                kind = faulty_backend(fault)
                for result in judge_promises(kind, np.dtype("float64"), has_its_own_way=False):
                    if not result.passed:
                        return f"promises: {result.stage}"
        except OutOfTime:
            return "promises: out of time"
        except Exception as problem:
            return f"promises: {type(problem).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return ""

    def _caught_by(self, fault: Fault, judgement: Judgement) -> str:
        trace = self._trace(judgement)
        where = f"{judgement.trace}, {judgement.method}"
        signal.setitimer(signal.ITIMER_VIRTUAL, judgement.most_seconds)
        try:
            with np.errstate(all="ignore"):
                kind = faulty_backend(fault)
                results = conform(trace, kind, np.dtype("float64"), judgement.method)
        except Caught as failed:
            return f"{where}: {failed}"
        except OutOfTime:
            return f"{where}: out of time"
        except Exception as problem:
            return f"{where}: {type(problem).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        failed = [result.stage for result in results if not result.passed]
        return f"{where}: {failed[0]}" if failed else ""

    def _trace(self, judgement: Judgement) -> object:
        name = judgement.trace
        if name not in self._traces:
            self._traces[name] = self._recorded(name)
        trace = self._traces[name]
        if not judgement.with_path:
            trace = replace(trace, trajectory=None)
        if judgement.method != "fixed-point" or name == WITHOUT_LEAK:
            trace = first_step(trace)
        if judgement.settled != trace.solver.settled:
            trace = replace(trace, solver=replace(trace.solver, settled=judgement.settled))
        # Effects are found again by what they are of.
        return replace(
            trace, path=Path(f"{judgement.trace} {judgement.method} {judgement.settled}")
        )

    def _recorded(self, name: str) -> object:
        shipped = shipped_directory() / name
        if shipped.exists():
            return read_trace(shipped)
        kept = self.folder / f"{name}.trace"
        if not kept.exists():
            case = next(case for case in standard_cases() if case.name == name)
            _write_whole(kept, record_standard_case(case))
        return pickle.loads(kept.read_bytes())

    def _once(self, measure: Callable) -> Callable:
        """What rounding may do depends on no candidate."""

        @functools.wraps(measure)
        def measured(*arguments: object) -> object:
            words = (getattr(a, "name", getattr(a, "path", a)) for a in arguments)
            key = "; ".join(str(word) for word in (measure.__name__, *words))
            if key not in self._effects:
                kept = self.folder / f"{key.replace('/', '-')}.effects"
                if not kept.exists():
                    # Measuring is not the fault's time.
                    left, _ = signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                    _write_whole(kept, measure(*arguments))
                    signal.setitimer(signal.ITIMER_VIRTUAL, left)
                self._effects[key] = pickle.loads(kept.read_bytes())
            return self._effects[key]

        return measured


def first_step(trace):
    """A trace of its first step alone."""
    return replace(
        trace,
        inputs=trace.inputs[:1],
        targets=trace.targets[:1],
        steps=trace.steps[:1],
        open_loop_loss=trace.open_loop_loss[:1],
        closed_loop_loss=None if trace.closed_loop_loss is None else trace.closed_loop_loss[:1],
        final_parameters=trace.steps[0].parameters_after,
    )


def _write_whole(path: Path, value: object) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(pickle.dumps(value))
    part.rename(path)


def _stop_at_a_failure(stage, *_: object) -> str:
    """In the place of the search for a hint, which is made for a stage that failed."""
    raise Caught(stage.name)


def _stop_out_of_time(*_: object) -> None:
    raise OutOfTime


# Many faults, in a process that may be lost.


def judge_in_processes(
    faults: Sequence[Fault], folder: Path, quick: bool = False
) -> dict[str, dict]:
    """Judge faults, or only try quickly, and give results by their keys.

    Those that the folder has already are not judged again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.jsonl"
    while left := [fault.key for fault in faults if fault.key not in read_results(results)]:
        (folder / "todo.json").write_text(json.dumps({"faults": left, "quick": quick}))
        worker = subprocess.Popen([sys.executable, __file__, str(folder)], env=_one_thread())
        n_before = len(read_results(results))
        while _returncode(worker) is None:
            n_now = len(read_results(results))
            if n_now == n_before:
                break
            n_before = n_now
        if worker.poll() is None:
            worker.kill()
            worker.wait()
        elif worker.returncode == 0:
            continue
        doing = (folder / "doing").read_text()
        line = {"fault": doing, "caught": "lost its process", "judged by": 0, "seconds": 0.0}
        with results.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    done = read_results(results)
    return {fault.key: done[fault.key] for fault in faults}


def _returncode(worker: subprocess.Popen) -> int | None:
    try:
        return worker.wait(timeout=MOST_SILENCE)
    except subprocess.TimeoutExpired:
        return None


def _one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def read_results(path: Path) -> dict[str, dict]:
    """Results so far, by the faults' keys."""
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    return {line["fault"]: line for line in map(json.loads, lines)}


def main(folder: Path) -> None:
    """Judge what is to be done, and write as it comes."""
    by_key = {fault.key: fault for fault in (RIGHT, *all_faults())}
    judge, todo = Judge(folder), json.loads((folder / "todo.json").read_text())
    for key in todo["faults"]:
        (folder / "doing").write_text(key)
        line = json.dumps(judge.judged(by_key[key], todo["quick"]), ensure_ascii=False)
        with (folder / "results.jsonl").open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
