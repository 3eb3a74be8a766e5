"""Figure 3 of the paper and its isolated neuron against the published curves."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from disinhib.experiments.paper.plasticity_curves import LinearThreshold, circuit, isolated

GOLDEN = Path(__file__).parent.parent / "golden" / "plasticity.h5"
RULES = {"exact": None, "fit_1": LinearThreshold(1.5, 1.5), "fit_2": LinearThreshold(0.9, 1.8)}
TARGETS = {"target_None": None, "target_3.0": 3.0, "target_4.0": 4.0}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("target", TARGETS)
def test_curves_of_the_circuit(rule, target):
    with h5py.File(GOLDEN) as file:
        golden = {k: v[()] for k, v in file["rossbroich2023"][rule][target].items()}
    curve = circuit(golden["x"], TARGETS[target], RULES[rule])
    assert golden.keys() == {"x", "dw", "u_E", "u_I"}
    np.testing.assert_allclose(curve.dw, golden["dw"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(curve.state["u_E"], golden["u_E"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(curve.state["u_I"], golden["u_I"], rtol=0, atol=1e-10)


def test_curves_of_the_isolated_neuron():
    with h5py.File(GOLDEN) as file:
        group = file["rossbroich2023/isolated"]
        curves = {name: (item["x"][()], item["dw"][()]) for name, item in group.items()}
    assert len(curves) == 4
    for (name, (x, dw)), r_I in zip(sorted(curves.items()), np.linspace(0.01, 2, 4), strict=True):
        assert float(name.removeprefix("r_I_")) == pytest.approx(r_I, abs=1e-4)
        curve = isolated(x, r_I, LinearThreshold())
        np.testing.assert_allclose(curve.dw, dw, rtol=0, atol=1e-10)
