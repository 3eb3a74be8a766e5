"""Draw accuracy against bits: `python benchmarks/integers/picture.py [STUDIES]`.

With STUDIES, a directory of the studies that `disinhib batch run` trained, first take over what
came of them into `results/`.
"""

import csv
import statistics
import sys
from pathlib import Path

from matplotlib.figure import Figure

from disinhib.experiments.batch import batch_table

HERE = Path(__file__).parent
RESULTS = HERE / "results"
LEFT_OUT = ("run", "epochs", "seconds", "why", "best_epoch")
COLOURS = {"exact-inverse": "C0", "linear-threshold": "C1", "backprop": "C2"}
PANELS = (
    ("weights", "arithmetic.weight", "bits of a weight"),
    ("states", "arithmetic.potential", "bits of potentials, rates and z"),
    ("tables", "arithmetic.table_bits", "address bits of tables"),
    ("ticks", "arithmetic.ticks", "ticks of each loop"),
)


def collect(studies):
    """Take over what runs came to, without what is this machine's."""
    for directory in sorted(path for path in studies.iterdir() if path.is_dir()):
        rows = [row for row in batch_table(directory) if row["state"] == "done"]
        names = [name for name in rows[0] if name not in LEFT_OUT and "best_" not in name]
        with (RESULTS / f"{directory.name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def read(name):
    """Rows of a study; none where it has not been trained."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def accuracies(rows, key):
    """Mean and standard deviation over seeds, in percent, by the value of a setting."""
    found = {}
    for row in rows:
        found.setdefault(row[key], []).append(100 * float(row["test_accuracy"]))
    return {value: (statistics.mean(a), statistics.stdev(a)) for value, a in found.items()
            if len(a) > 1}  # fmt: skip


def draw(path):
    """A panel for each question, a colour for each rule; float32 as lines across."""
    panels = [panel for panel in PANELS if read(panel[0])]
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    floats = [row for row in read("float32") if row["optimizer.name"] == "sgd"]
    for axes, (name, key, label) in zip(every, panels, strict=True):
        for rule, colour in COLOURS.items():
            ((mean, _),) = accuracies([r for r in floats if r["rule"] == rule], "rule").values()
            axes.axhline(mean, color=colour, linewidth=0.8, linestyle=":")
            rows = [row for row in read(name) if row["rule"] == rule]
            ways = sorted({row.get("arithmetic.update_rounding", "") for row in rows}, reverse=True)
            for way in ways:
                own = [row for row in rows if row.get("arithmetic.update_rounding", "") == way]
                found = accuracies(own, key)
                x = [float(value.split(".")[0]) for value in found]
                style = "--" if way == "nearest-even" else "-"
                axes.errorbar(x, [m for m, _ in found.values()], [s for _, s in found.values()],
                              color=colour, linestyle=style, marker="o", markersize=3,
                              label=f"{rule}{f', updates {way}' if way else ''}")  # fmt: skip
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, loc="lower right")
    every[0].set_ylabel("test accuracy, %")
    every[0].set_ylim(0, 95)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    RESULTS.mkdir(exist_ok=True)
    if len(sys.argv) > 1:
        collect(Path(sys.argv[1]))
    draw(HERE.parents[1] / "docs" / "pictures" / "integers.png")
