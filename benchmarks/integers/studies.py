"""Write the studies of the model in integers: `python benchmarks/integers/studies.py`.

Each case differs from the preset int16 in one thing. `disinhib batch run` trains them.
"""

from pathlib import Path

import tomli_w

HERE = Path(__file__).parent
BASE = {
    "dataset": "digits",
    "hidden": [64],
    "epochs": 20,
    "batch_size": 50,
    "schedule": {"name": "cosine"},
}
SGD = {"exact-inverse": 2.0, "linear-threshold": 2.0, "backprop": 1.0}
"""Learning rate of each rule: the best of 0.3, 1, 2, 3 and 10 in float32 at seed 0."""
SEEDS = [0, 1, 2, 3, 4]
FASHION = {
    "dataset": "fashion_mnist",
    "hidden": [256],
    "epochs": 10,
    "batch_size": 100,
    "schedule": {"name": "cosine"},
}
FASHION_SGD = {"exact-inverse": 2.0, "linear-threshold": 2.0, "backprop": 0.3}
"""The best of 0.1, 0.3, 1, 2 and 4 in float32, three epochs, seed 0."""


def case(rule, rates=SGD, **arithmetic):
    """One table of a study."""
    return {"rule": rule, "optimizer.learning_rate": rates[rule]} | {
        f"arithmetic.{name}": value for name, value in arithmetic.items()
    }


def fashion_cases():
    """Chosen points, of 50 ticks, with which the digits do; one of 100, and two of finer steps."""
    points = [
        case(rule, FASHION_SGD, weight=form, bias=form, ticks=50)
        for rule in FASHION_SGD
        for form in ("16.13", "8.6")
    ]
    exact = {"weight": "16.13", "bias": "16.13"}
    fine = {"delta": "24.22", "gradient": "24.24"}
    states = {"potential": "22.17", "rate": "20.16", "integral": "20.18"}
    points += [
        case("exact-inverse", FASHION_SGD, **exact, ticks=100),
        case("exact-inverse", FASHION_SGD, **exact, ticks=50, **fine),
        case("exact-inverse", FASHION_SGD, **exact, ticks=50, **fine, **states),
    ]
    return points


def smallest_cases():
    """All that single studies found to be enough, at once; then what is left in 8 bits, too."""
    eight = {"input": "8.7", "error": "8.6", "slope": "8.6", "feedback": "8.7", "mantissa": "8.6",
             "sensitivity": "8.6"}  # fmt: skip
    found = []
    for rule in SGD:
        tables = 8 if rule == "linear-threshold" else 5
        few = {"weight": "6.4", "bias": "6.4", "ticks": 50, "table_bits": tables}
        narrow = {**few, **eight, "tangent": "16.11"}
        ways = [few, narrow, {**narrow, "normalization": "fixed"}, {**narrow, "weight": "8.6"}]
        found += [case(rule, **way) for way in (ways if rule != "backprop" else ways[:2])]
    return found


def cases():
    """All of them, a list for each question."""
    circuit = ("exact-inverse", "linear-threshold")
    return {
        "weights": [
            case(rule, weight=f"{bits}.{bits - 2}", bias=f"{bits}.{bits - 2}", update_rounding=way)
            for rule in SGD
            for way in ("stochastic", "nearest-even")
            for bits in (4, 5, 6, 7, 8, 10, 12, 16)
        ],
        "states": [
            case(
                rule,
                potential=f"{bits}.{bits - 5}",
                rate=f"{bits}.{bits - 4}",
                integral=f"{bits}.{bits - 2}",
                table_bits=min(8, bits - 2),
            )
            for rule in SGD
            for bits in (8, 10, 12, 14, 16, 20, 24)
        ],
        "tables": [case(rule, table_bits=bits) for rule in SGD for bits in (4, 5, 6, 8, 10, 12)],
        "ticks": [case(rule, ticks=n) for rule in circuit for n in (25, 50, 100, 200, 400)],
        "rounding": [
            case(rule, rounding=way)
            for rule in SGD
            for way in ("floor", "truncate", "nearest-even", "nearest-away", "stochastic")
        ],
        "smallest": smallest_cases(),
        "normalization": [
            case(rule, normalization=way)
            for rule in circuit
            for way in ("table", "power-of-two", "fixed")
        ],
    }


def write(name, base, table, seeds=SEEDS):
    """One study."""
    study = {"base": BASE | base, "vary": {"seed": seeds}, "case": table}
    (HERE / f"{name}.toml").write_text(tomli_w.dumps(study), encoding="utf-8")


def main():
    """Write all studies beside this file."""
    for name, table in cases().items():
        write(name, {"backend": "integer"}, table)
    float32 = [{"rule": rule, "optimizer.name": "sgd", "optimizer.learning_rate": rate}
               for rule, rate in SGD.items()]  # fmt: skip
    float32 += [{"rule": rule, "optimizer.name": "adam", "optimizer.learning_rate": 0.001}
                for rule in SGD]  # fmt: skip
    # The norm that is left out, as normalization "fixed" leaves it out.
    float32 += [{"rule": rule, "optimizer.name": "sgd", "optimizer.learning_rate": SGD[rule],
                 "feedback.normalize": False}
                for rule in ("exact-inverse", "linear-threshold")]  # fmt: skip
    write("float32", {"backend": "numba"}, float32)
    write("fashion", FASHION | {"backend": "integer"}, fashion_cases(), seeds=[0])
    fashion32 = [{"rule": rule, "optimizer.name": "sgd", "optimizer.learning_rate": rate}
                 for rule, rate in FASHION_SGD.items()]  # fmt: skip
    fashion32 += [{"rule": rule, "optimizer.name": "adam", "optimizer.learning_rate": 0.001}
                  for rule in FASHION_SGD]  # fmt: skip
    write("fashion-float32", FASHION | {"backend": "numba"}, fashion32, seeds=[0])


if __name__ == "__main__":
    main()
