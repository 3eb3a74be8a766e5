"""Conformance results as JUnit XML, which every CI system reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from .conformance_report import TraceReport, explanation
from .terminal import visible


def write_junit(path: str | os.PathLike[str], reports: Sequence[TraceReport]) -> None:
    """Write a test suite a trace and a test case a stage.

    Parameters
    ----------
    path : str or path
        File to write.
    reports : sequence of TraceReport
        One a trace.
    """
    path = Path(path)
    root = ElementTree.Element("testsuites", name="disinhib conformance")
    for report in reports:
        # XML has no control characters, however written.
        name, candidate = visible(Path(report.trace).stem), visible(report.candidate)
        failures = sum(not result.passed for result in report.results)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(report.results) + len(report.not_given)),
            failures=str(failures),
            errors="0",
            skipped=str(len(report.not_given)),
        )
        for result in report.results:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{name}.{candidate}", name=result.stage
            )
            if not result.passed:
                message = visible(
                    f"{result.worst} uses {result.used:.3g} of its allowance "
                    f"{result.tolerance:.2e} ({result.origin})"
                )
                failure = ElementTree.SubElement(case, "failure", message=message)
                first = report.first_deviation is result
                lines = explanation(report) if first else [result.hint]
                failure.text = "\n".join(visible(line) for line in lines)
        for stage, n in report.not_given.items():
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"{name}.{candidate}",
                name=f"{stage}, not given",
            )
            ElementTree.SubElement(case, "skipped", message=f"{n} arrays not given")
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
