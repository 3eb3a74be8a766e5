"""How far the linear threshold misreads its own error signal, as published and as tuned.

    python benchmarks/misreading.py docs/tables [--data-dir DIR] [--epochs 20]

Trains Fashion-MNIST, three hidden layers, once with the published settings and once with those of
`tuned.json` of that folder, and looks inside before the first epoch and after each; what is looked
at is told in experiments/paper/probes.py. The learning rate stays where it begins. Writes
`misreading.json` of that folder. Some seven minutes; float64, on the CPU alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_tables import WHY, commit, configured, with_and_without

from disinhib.datasets import load_dataset
from disinhib.experiments.paper.probes import Course, fastest_cpu_backend, learning_course

DATASET, SEED, RULE = "fashion_mnist", 0, "linear-threshold"
NAMES = ("published", "tuned")


def rows_of(course: Course) -> list[dict[str, Any]]:
    """One a look: accuracy, and layer by layer misreading, work and angles; five digits."""
    looks = zip(course.steps, course.test_accuracy, course.probes, strict=True)
    return [
        {
            "step": int(step),
            "test": round(float(test), 6),
            "misreading": short(one.misreading[RULE]),
            "work": short(one.work),
            "angle": short(one.angle_to_gradient),
            "angle_to_exact": short(one.angle_to_exact[RULE]),
        }
        for step, test, one in looks
    ]


def short(values: Any) -> list[float]:
    """Five digits."""
    return [float(f"{value:.5g}") for value in values]


def write(path: Path, about: Mapping[str, Any], courses: Mapping[str, Any]) -> None:
    """A line a look."""
    text = json.dumps(dict(about))[:-1] + ', "courses": {'
    for i, (name, rows) in enumerate(courses.items()):
        looks = ",\n".join(map(json.dumps, rows))
        text += f"{',' * (i > 0)}\n{json.dumps(name)}: [\n{looks}\n]"
    path.write_text(text + "}}\n", encoding="utf-8")


def main() -> None:
    """Train, look and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with tuned.json")
    parser.add_argument("--data-dir", type=Path, help="with a folder for each dataset")
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    given.backend = "numba"
    data = load_dataset(DATASET, given.data_dir and given.data_dir / DATASET)
    tuned = json.loads((given.folder / "tuned.json").read_text(encoding="utf-8"))[WHY]
    settings = with_and_without(tuned)
    n_inputs = data.train.images.shape[1]
    courses = {}
    for name in NAMES:
        one = configured({**settings[f"why: {name}"], "dataset": DATASET}, given, seed=SEED)
        network = one.network(n_inputs, data.n_classes)
        between = len(data.train.labels) // one.batch_size
        courses[name] = rows_of(
            learning_course(network, data, SEED, given.epochs, between, one.batch_size)
        )
    by = fastest_cpu_backend().describe()
    about = {
        "commit": commit(),
        "computed_by": f"{by.name} {by.version}, CPU, one thread",
        "dtype": "float64",
        "dataset": DATASET,
        "seed": SEED,
    }
    write(given.folder / "misreading.json", about, courses)


if __name__ == "__main__":
    main()
