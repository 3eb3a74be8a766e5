"""Usual mistakes in stages that were not given: what comes of them in a stage that was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from ..judge import Arrays, Place, Stage
from .catalogue import USUAL_MISTAKES
from .ignored import in_words
from .mistake import Result, Row, Setting, Words, run_reference

MOST_LEFT_OUT = 4
"""Places before a stage, beyond which a hint takes many seconds."""


def mistakes_before(left: Mapping[int, Sequence[Place]]) -> list[Row]:
    """Rows of all that was left out before a stage, by the stage's step; made in all of its steps.

    Of mistakes whose words have numbers of what was found there, none was.
    """
    if any(len(places) > MOST_LEFT_OUT for places in left.values()):
        return []
    stages = dict.fromkeys(stage for places in left.values() for stage, _ in places)
    return [
        (_words(stage, hint), partial(_carried_on, stage, result, left))
        for stage in stages
        for hint, result in USUAL_MISTAKES.get(stage, [])
        if isinstance(hint, str) or getattr(hint, "func", None) is in_words
    ]


def _words(stage: Stage, hint: str | Words) -> str | Words:
    where = f" (in {stage.name}, not given)"
    if isinstance(hint, str):
        return f"{hint}{where}"
    return lambda settings: f"{hint(settings)}{where}"


def _carried_on(
    mistaken: Stage, result: Result, left: Mapping[int, Sequence[Place]], setting: Setting
) -> Arrays | None:
    """What the stage gives if one before it has a mistake, and what lies between is right."""
    trace, is_made = setting.trace, False
    for stage, step in left[setting.step]:
        here = Setting(stage, trace, step, setting.solver, {}, left=left[setting.step])
        wrong = result(here) if stage is mistaken else run_reference(here, trace)
        if wrong is None or not all(np.all(np.isfinite(array)) for array in wrong.values()):
            return None
        is_made = is_made or stage is mistaken
        trace = stage.put(trace, step, wrong)
    if not is_made:
        return setting.right
    return run_reference(setting, trace)
