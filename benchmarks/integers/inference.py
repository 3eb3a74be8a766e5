"""Networks trained in float32, run in integers: `python benchmarks/integers/inference.py STUDIES`.

STUDIES has the runs of `float32.toml`. Writes results/inference.csv: test accuracy by rule, seed
and the one thing in which the arithmetic differs from the preset int16.
"""

import csv
import sys
from pathlib import Path

from disinhib.experiments.trained import load

RESULTS = Path(__file__).parent / "results"
POINTS = [
    *(("weight", bits, {"weight": f"{bits}.{bits - 3}", "bias": f"{bits}.{bits - 3}"})
      for bits in (3, 4, 5, 6, 7, 8, 10, 12, 16)),
    *(("states", bits, {"potential": f"{bits}.{bits - 5}", "rate": f"{bits}.{bits - 4}",
                        "table_bits": min(8, bits - 2)})
      for bits in (6, 7, 8, 10, 12, 14, 16)),
    *(("table_bits", bits, {"table_bits": bits}) for bits in (2, 3, 4, 5, 6, 8, 10)),
    *(("ticks", n, {"ticks": n}) for n in (5, 10, 15, 25, 50, 100)),
]  # fmt: skip
"""Axis, value, settings. A trained weight may be above 2: a bit more before the point."""


def main(studies):
    """Evaluate every run at every point."""
    rows = []
    for run in sorted((studies / "float32" / "runs").iterdir()):
        trained = load(run)
        if trained.configuration.optimizer.name != "sgd":
            continue
        rule, seed = trained.configuration.rule, trained.configuration.seed
        rows.append([rule, seed, "float32", "", trained.evaluate("test").accuracy])
        for axis, value, settings in POINTS:
            if rule == "backprop" and axis == "ticks":
                continue
            found = load(run, arithmetic=settings).evaluate("test")
            rows.append([rule, seed, axis, value, found.accuracy])
    with (RESULTS / "inference.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["rule", "seed", "axis", "value", "test_accuracy"], *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
