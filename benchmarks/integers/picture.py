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
TICKS, FEW_TICKS = (25, 50, 100, 200, 400), (5, 10, 25, 50, 100)
AXES = {"weights": "weight", "states": "states", "tables": "table_bits", "ticks": "ticks"}
"""Of results/inference.csv, by the study that varies the same."""


def collect(studies):
    """Take over what runs came to, without what is this machine's."""
    for directory in sorted(path for path in studies.iterdir() if path.is_dir()):
        if not (directory / "study.toml").exists():
            continue
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
    """A panel a question, a colour a rule, float32 dotted; learnt in integers, and only run."""
    figure = Figure(figsize=(16, 7), layout="constrained")
    learnt, run = figure.subplots(2, len(PANELS), sharey="row")
    floats = [row for row in read("float32") if row["optimizer.name"] == "sgd"]
    floats = [row for row in floats if row["feedback.normalize"] != "False"]
    inference = read("inference")
    for above, below, (name, key, label) in zip(learnt, run, PANELS, strict=True):
        for rule, colour in COLOURS.items():
            ((mean, _),) = accuracies([r for r in floats if r["rule"] == rule], "rule").values()
            rows = [row for row in read(name) if row["rule"] == rule]
            ways = sorted({row.get("arithmetic.update_rounding", "") for row in rows}, reverse=True)
            for way in ways:
                own = [row for row in rows if row.get("arithmetic.update_rounding", "") == way]
                style = "--" if way == "nearest-even" else "-"
                words = f"{rule}{f', updates {way}' if way else ''}"
                curve(above, accuracies(own, key), color=colour, linestyle=style, label=words)
            own = [r for r in inference if r["rule"] == rule and r["axis"] == AXES[name]]
            curve(below, accuracies(own, "value"), color=colour, linestyle="-", label=rule)
            for axes in (above, below):
                axes.axhline(mean, color=colour, linewidth=0.8, linestyle=":")
        for axes in (above, below):
            axes.set_xlabel(label)
            axes.grid(alpha=0.3)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=6, loc="lower right")
        if name == "ticks":
            for axes, numbers in ((above, TICKS), (below, FEW_TICKS)):
                axes.set_xscale("log")
                axes.set_xticks(numbers, list(map(str, numbers)))
                axes.minorticks_off()
    learnt[0].set_ylabel("learnt in integers\ntest accuracy, %")
    run[0].set_ylabel("learnt in float32, run in integers\ntest accuracy, %")
    for axes in (learnt[0], run[0]):
        axes.set_ylim(0, 95)
    figure.savefig(path, dpi=100)


def curve(axes, found, **style):
    """Mean and standard deviation by value."""
    if found:
        x = [float(value.split(".")[0]) for value in found]
        means, deviations = zip(*found.values(), strict=True)
        axes.errorbar(x, means, deviations, marker="o", markersize=3, **style)


if __name__ == "__main__":
    RESULTS.mkdir(exist_ok=True)
    if len(sys.argv) > 1:
        collect(Path(sys.argv[1]))
    draw(HERE.parents[1] / "docs" / "pictures" / "integers.png")
